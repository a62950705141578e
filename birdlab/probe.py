"""``python -m birdlab.probe BACKBONE... KEY=VALUE...``: a linear head on embeddings of recordings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from birdlab import config
from birdlab.build import build_backbone, build_source
from birdlab.data.cache import default_directory
from birdlab.data.species import SpeciesSource
from birdlab.errors import BirdlabError, command
from birdlab.figures.probing import few_recordings
from birdlab.figures.style import save
from birdlab.files import write_csv
from birdlab.options import Trust
from birdlab.probing.backbone import Backbone
from birdlab.probing.curve import Fold, Point, folds_of, learning_curve, summary, unheard
from birdlab.probing.embeddings import embedded
from birdlab.probing.runs import of_run

FILES = ("results.csv", "summary.csv", "learning_curve.png")


def probe(cfg: DictConfig, backbones: Mapping[str, Backbone]) -> dict[str, list[Point]]:
    """The learning curve of a head on each backbone's embeddings.

    No recording is tested that one of the backbones was trained on: all are tested on the same ones.

    Args:
        cfg: of the root ``probe``: data set, numbers of recordings, draws.
        backbones: by the name that tables give them.

    Raises:
        BirdlabError: for data that hold no species, settings out of range, and whatever is wrong with files.
    """
    _check(cfg)
    source = build_source(cfg)
    if not isinstance(source, SpeciesSource):
        raise BirdlabError(
            f"{type(source).__name__} has no species: set data=birdclef or data=synthetic_species."
        )
    folds = unheard(folds_of(source), {name for backbone in backbones.values() for name in backbone.heard})
    _say_what_is_left_out(folds)
    samples = {sample.id: sample for fold in folds for sample in (*fold.train, *fold.test)}
    directory = Path(cfg.loader.cache_dir).expanduser() if cfg.loader.cache_dir else default_directory()
    curves = {}
    for name, backbone in backbones.items():
        if backbone.licence:
            Console(stderr=True).print(f"{name}: {backbone.licence}", highlight=False, soft_wrap=True)
        embeddings = embedded(backbone, source, list(samples.values()), directory)
        points = learning_curve(
            folds, embeddings, len(source.names), list(cfg.recordings), cfg.draws, cfg.seed
        )
        curves[name] = list(points)
    return curves


def opened(
    words: Sequence[str], config_dir: Path | None = None, *, trust: bool = False
) -> tuple[DictConfig, dict[str, Backbone]]:
    """What the words of the command line mean: the config, and the backbones by name.

    Args:
        words: names of configs in conf/backbone and run directories; and settings KEY=VALUE.
        config_dir: a folder of the user's own configs.
        trust: build what birdlab doesn't ship, too, where a run asks for it.

    Raises:
        BirdlabError: for words that are neither, and whatever can't be built.
    """
    names = [word for word in words if "=" not in word or Path(word).is_dir()]
    settings = [word for word in words if word not in names]
    if not names:
        raise BirdlabError(
            f"Name one backbone at least: {', '.join(choices(config_dir))}, or a run directory."
        )
    own = [word for word in settings if word.startswith(("backbone.", "+backbone."))]
    if own and len(names) > 1:
        raise BirdlabError(f"{own[0]}: of which backbone? Give one at a time, each to its own --output.")
    for word in settings:
        if word.startswith("backbone="):
            raise BirdlabError(f"{word}: backbones come without a key: {word.removeprefix('backbone=')} ...")
    backbones = {}
    for name in dict.fromkeys(names):
        if Path(name).is_dir():
            backbones[Path(name).resolve().name] = of_run(Path(name), trust=trust)
        elif name in choices(config_dir):
            cfg = _composed([f"backbone={name}", *settings], config_dir)
            backbones[" ".join([name, *(word.lstrip("+").removeprefix("backbone.") for word in own)])] = (
                build_backbone(cfg)
            )
        else:
            raise BirdlabError(
                f"{name}: there is no such backbone, nor run directory; there are "
                f"{', '.join(choices(config_dir))}."
            )
    if len(backbones) < len(set(names)):
        raise BirdlabError("Two of the run directories have the same name: probe them one at a time.")
    return _composed([word for word in settings if word not in own], config_dir), backbones


def choices(config_dir: Path | None = None) -> list[str]:
    """The names of the backbones that there are configs for."""
    folders = [config.CONF] if config_dir is None else [config.CONF, config_dir]
    return sorted({file.stem for folder in folders for file in (folder / "backbone").glob("[!_]*.yaml")})


def table_of(curves: Mapping[str, Sequence[Point]]) -> Table:
    """Macro-F1 by backbone and number of recordings, and the other scores with all of them."""
    table = Table(
        title="Macro F1 by training recordings of each species; other scores with all of them",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    counts = [row["recordings"] for row in summary(next(iter(curves.values())))]
    others = {"accuracy": "acc.", "average_precision": "mean AP", "roc_auc": "ROC-AUC"}
    table.add_column("", overflow="fold")  # a name may hold many settings
    for heading in (*map(str, counts), *others.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, points in curves.items():
        rows = summary(points)
        table.add_row(
            name,
            *(f"{row['macro_f1']:.3f}" for row in rows),
            *(f"{rows[-1][other]:.3f}" for other in others),
        )
    return table


def _composed(words: Sequence[str], config_dir: Path | None) -> DictConfig:
    cfg = config.compose_unchecked(words, config_dir, root="probe")
    config.check_keys(cfg)
    return cfg


def _say_what_is_left_out(folds: Sequence[Fold]) -> None:
    left_out = sum(fold.left_out for fold in folds)
    if left_out:
        tested = sum(len(fold.test) for fold in folds)
        Console(stderr=True).print(
            f"{left_out} of {left_out + tested} recordings were trained on by a run that is probed: heads "
            "learn from them, but they aren't tested, with any backbone.",
            style="yellow",
            highlight=False,
        )


def _check(cfg: DictConfig) -> None:
    counts = {"draws": [cfg.draws], "recordings": list(cfg.recordings or [])}
    for key, values in counts.items():
        if not all(isinstance(value, int) and value >= 1 for value in values):
            raise BirdlabError(f"{key}={cfg[key]}: give whole numbers, at least 1.")


app = typer.Typer(add_completion=False)


@app.command()
def main(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BACKBONE... KEY=VALUE...",
            help=f"{', '.join(choices())} or a run directory; and settings: data=birdclef data.root=DIR",
        ),
    ] = None,
    config_dir: Annotated[Path | None, typer.Option(help="A folder of your own configs.")] = None,
    output: Annotated[Path, typer.Option(help="The folder for tables and the figure.")] = Path(
        "outputs/probe"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    trust: Trust = False,
) -> None:
    """Score a linear head on embeddings in cross-validation, with few recordings of each species and all."""
    with command():
        there = [output / name for name in FILES if (output / name).exists()]
        if there and not overwrite:
            raise BirdlabError(
                f"{there[0]} exists already. Choose another folder with --output or add --overwrite."
            )
        curves = probe(*opened(words or [], config_dir, trust=trust))
        results, summaries, figure = (output / name for name in FILES)
        rows = [{"backbone": name} | point.row() for name, points in curves.items() for point in points]
        write_csv(results, rows)
        write_csv(
            summaries, [{"backbone": n} | row for n, points in curves.items() for row in summary(points)]
        )
        save(few_recordings(curves), figure)
        Console().print(table_of(curves))
        for path in (results, summaries, figure):
            Console().print(str(path), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    app()
