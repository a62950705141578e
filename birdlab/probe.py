"""``python -m birdlab.probe BACKBONE... KEY=VALUE...``: a linear head on embeddings of recordings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from birdlab import config
from birdlab.build import build_source
from birdlab.data.cache import default_directory
from birdlab.data.species import SpeciesSource
from birdlab.errors import BirdlabError, command
from birdlab.figures.probing import few_recordings
from birdlab.figures.style import save
from birdlab.files import write_csv
from birdlab.options import Trust
from birdlab.probing.backbone import Backbone, Embeddings
from birdlab.probing.curve import Fold, Point, folds_of, learning_curve, summary, unheard
from birdlab.probing.embeddings import embedded
from birdlab.probing.kept_head import SUFFIX, KeptHead
from birdlab.probing.origin import Origin

FILES = ("results.csv", "summary.csv", "learning_curve.png")


@dataclass(frozen=True)
class Embedded:
    """Recordings as backbones hear them.

    Attributes:
        species: K names.
        folds: of the recordings.
        embeddings: of each recording by id, by the backbone's name.
    """

    species: tuple[str, ...]
    folds: Sequence[Fold]
    embeddings: Mapping[str, Mapping[str, Embeddings]]


def embed(cfg: DictConfig, backbones: Mapping[str, Backbone]) -> Embedded:
    """Embed all recordings by all backbones; prints the licences of their weights.

    No recording is tested that one of the backbones was trained on: all are tested on the same ones.

    Args:
        cfg: of the root ``probe``: the data set.
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
    samples = {sample.id: sample for fold in folds for sample in fold.everything}
    directory = Path(cfg.loader.cache_dir).expanduser() if cfg.loader.cache_dir else default_directory()
    embeddings = {}
    for name, backbone in backbones.items():
        if backbone.licence:
            Console(stderr=True).print(f"{name}: {backbone.licence}", highlight=False, soft_wrap=True)
        embeddings[name] = embedded(backbone, list(samples.values()), directory)
    return Embedded(tuple(source.names), folds, embeddings)


def probe(cfg: DictConfig, recordings: Embedded) -> dict[str, list[Point]]:
    """The learning curve of a head on each backbone's embeddings.

    Args:
        cfg: of the root ``probe``: numbers of recordings, draws.
        recordings: to learn from and to name.
    """
    how = (len(recordings.species), list(cfg.recordings), cfg.draws, cfg.seed)
    return {
        name: list(learning_curve(recordings.folds, embeddings, *how))
        for name, embeddings in recordings.embeddings.items()
    }


def opened(words: Sequence[str], config_dir: Path | None = None) -> tuple[DictConfig, dict[str, Origin]]:
    """What the words of the command line mean: the config, and where the backbones come from, by name.

    Args:
        words: names of configs in conf/backbone and run directories; and settings KEY=VALUE.
        config_dir: a folder of the user's own configs.

    Raises:
        BirdlabError: for words that are neither.
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
    origins = {}
    for name in dict.fromkeys(names):
        if Path(name).is_dir():
            origins[Path(name).resolve().name] = Origin.of_run(Path(name))
        elif name in choices(config_dir):
            cfg = _composed([f"backbone={name}", *settings], config_dir)
            title = " ".join([name, *(word.lstrip("+").removeprefix("backbone.") for word in own)])
            origins[title] = Origin.of_settings(cfg)
        else:
            raise BirdlabError(
                f"{name}: there is no such backbone, nor run directory; there are "
                f"{', '.join(choices(config_dir))}."
            )
    if len(origins) < len(set(names)):
        raise BirdlabError("Two of the run directories have the same name: probe them one at a time.")
    return _composed([word for word in settings if word not in own], config_dir), origins


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
    left_out = sum(len(fold.left_out) for fold in folds)
    if left_out:
        tested = sum(len(fold.test) for fold in folds)
        Console(stderr=True).print(
            f"{left_out} of {left_out + tested} recordings were trained on by a run that is probed: they "
            "aren't tested, with any backbone.",
            style="yellow",
            highlight=False,
        )


def _check_head(head: Path, origins: Mapping[str, Origin]) -> None:
    if len(origins) > 1:
        raise BirdlabError(f"--head {head}: of which backbone? Give one at a time.")
    if head.suffix != SUFFIX:
        raise BirdlabError(f"--head {head}: give a file whose name ends in {SUFFIX}.")


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
    head: Annotated[
        Path | None,
        typer.Option(
            help="Also keep a head, fitted to all recordings, in this .npz file: birdlab.predict takes it."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    trust: Trust = False,
) -> None:
    """Score a linear head on embeddings in cross-validation, with few recordings of each species and all."""
    with command():
        there = [file for file in (*(output / name for name in FILES), head) if file and file.exists()]
        if there and not overwrite:
            raise BirdlabError(
                f"{there[0]} exists already. Choose another --output or --head, or add --overwrite."
            )
        cfg, origins = opened(words or [], config_dir)
        if head is not None:
            _check_head(head, origins)
        # What was typed is trusted; what a run asks for isn't.
        backbones = {name: origin.open(trust=trust or origin.run is None) for name, origin in origins.items()}
        recordings = embed(cfg, backbones)
        curves = probe(cfg, recordings)
        Console().print(table_of(curves))
        results, summaries, figure = (output / name for name in FILES)
        rows = [{"backbone": name} | point.row() for name, points in curves.items() for point in points]
        write_csv(results, rows)
        write_csv(
            summaries, [{"backbone": n} | row for n, points in curves.items() for row in summary(points)]
        )
        save(few_recordings(curves), figure)
        if head is not None:
            for name, origin in origins.items():
                fitted = (backbones[name], recordings.folds, recordings.embeddings[name], recordings.species)
                KeptHead.fit(*fitted).write(head, origin)
        for path in filter(None, (results, summaries, figure, head)):
            Console().print(escape(str(path)), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    app()
