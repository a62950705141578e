"""``python -m birdlab.evaluate RUN``: score a finished run on any split or data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from lightning import Callback, Trainer
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from birdlab import config
from birdlab.bird_free import score_bird_free
from birdlab.build import build_data, build_task, build_trainer
from birdlab.data.module import SourceData
from birdlab.data.source import PICTURE_KEYS, SPLITS, STACK_KEYS, Split
from birdlab.devices import use_one
from birdlab.errors import BirdlabError, command
from birdlab.evaluation import Evaluation, compared, score
from birdlab.files import write_json
from birdlab.options import Trust
from birdlab.process import quieten
from birdlab.run import Run
from birdlab.tasks import Task
from birdlab.trained_on import trained_on

FRONT_END = (*dict.fromkeys([*PICTURE_KEYS, *STACK_KEYS]), "hop_s", "segment_s", "multilabel", "prior")
"""What a network was made for, whatever data set it is scored on."""


def evaluate(
    task: Task, data: SourceData, trainer: Trainer, split: Split = "test", own: SourceData | None = None
) -> Evaluation:
    """Score the network as it stands, and the references, on one split.

    Args:
        task: with the weights to score.
        data: the data set.
        trainer: runs the network.
        split: of ``data``.
        own: what the network was trained on, where that is another one. References are fitted on ``data``
            where it has something left to fit them on, which is the harder comparison, and else on this.
            None if that isn't there: those that must be fitted are left out, then.
    """
    return compared(data, score(task, data, trainer, split), split, own)


def evaluate_run(
    run: Run,
    overrides: Mapping[str, Any] | None = None,
    split: Split = "test",
    *,
    callbacks: Sequence[Callback] = (),
    trust: bool = False,
) -> Evaluation:
    """Rebuild a run from its directory and score its best epoch.

    Args:
        run: the run directory.
        overrides: a data config to use in place of the run's own.
        split: which one to score.
        callbacks: told when the test ends.
        trust: instantiate what birdlab doesn't ship, too.
    """
    cfg = run.config(trust=trust)
    cfg.task.datamodule.cache_dir = None  # where the run's author kept the cache says nothing here
    cfg.callbacks, cfg.logger = {}, {}
    use_one(cfg)
    own = build_data(cfg)
    if overrides is not None:
        cfg.data = overrides
    data, task = build_data(cfg), build_task(cfg, pretrained=False)
    config.check_species(cfg, data.settled())
    _say_what_was_seen(run, data, split)
    task.load_checkpoint(run.checkpoint(run.best), str(run.best))
    trainer = build_trainer(cfg, run, logger=False, callbacks=list(callbacks))
    fits_itself = overrides is None or all(data.splits[each] for each in ("train", "val"))
    return evaluate(task, data, trainer, split, data if fits_itself else _if_there(own))


def _if_there(own: SourceData) -> SourceData | None:
    """What a run was trained on, if it still is where it was; says so if not."""
    try:
        return own if own.splits else None
    except BirdlabError as error:
        Console(stderr=True).print(
            f"What the run was trained on can't be read, so nothing is fitted to it to compare with: {error}",
            style="yellow",
            highlight=False,
            markup=False,
        )
        return None


def _say_what_was_seen(run: Run, data: SourceData, split: Split) -> None:
    """Other data, or another split of the same, may hold what the network was trained on."""
    if split == "train":
        return
    before = trained_on(run, "train", *([] if split == "val" else ["val"]))
    tested = {sample.group for sample in data.splits[split]}
    if seen := sorted({sample.group for sample in data.splits[split] if sample.recordings() & before}):
        Console(stderr=True).print(
            f"{len(seen)} of {len(tested)} recordings have been trained on, e.g. {seen[0]}: these scores are "
            "too good.",
            style="yellow",
            highlight=False,
        )


def data_config(run: Run, name: str | None, settings: list[str], *, trust: bool) -> DictConfig | None:
    """The data config NAME with ``key=value`` settings on top; without NAME the run's own with them.

    Paths may hold anything: values aren't read by Hydra's grammar. What the network was made
    for stays the run's.
    """
    if name is None and not settings:
        return None
    cfg = run.config(trust=trust)
    own: DictConfig = cfg.data
    chosen = own
    if name is not None:
        known = sorted(path.stem for path in (config.CONF / "data").glob("[!_]*.yaml"))
        if name not in known:
            raise BirdlabError(f"--data {name}: there is no such data set; there are {', '.join(known)}.")
        # Resolved apart from the run's config, whose `scale` would cap this data set, too.
        composed = OmegaConf.to_container(config.compose_unchecked([f"data={name}"]).data, resolve=True)
        chosen = DictConfig(composed)
        if ("species" in chosen) != config.names_species(cfg):
            kind = "species" if "species" in chosen else "masks"
            raise BirdlabError(f"--data {name} is of {kind}, which {run.directory} wasn't trained for.")
        kept = [key for key in FRONT_END if own.get(key) is not None and key in chosen]
        if own.get("picture") == "level":
            kept.remove("sides")  # how this data set's masks were drawn
        chosen.update({key: own[key] for key in kept})
        if "species" in chosen and (names := cfg.task.get("names")):
            chosen.species = names
    for setting in settings:
        key, separator, value = setting.partition("=")
        key = key.removeprefix("data.")
        parent, _, last = key.rpartition(".")
        within = OmegaConf.select(chosen, parent) if parent else chosen
        # `in` leaves out what has no value yet.
        if not separator or not isinstance(within, DictConfig) or last not in set(within.keys()):
            raise BirdlabError(
                f"{setting!r} sets nothing that this data set has. Write KEY=VALUE with one of "
                f"{', '.join(str(known) for known in chosen if not str(known).startswith('_'))}."
            )
        plain = value.replace("${", r"\${")  # a folder may be called so, and nothing is looked up
        OmegaConf.update(chosen, key, OmegaConf.from_dotlist([f"value={plain}"]).value)
    missing = sorted(OmegaConf.missing_keys(chosen))
    if missing:
        raise BirdlabError(f"data.{missing[0]} has no value. Add data.{missing[0]}=... to the command.")
    return chosen


app = typer.Typer(add_completion=False)


@app.command()
def main(
    run: Annotated[Path, typer.Argument(help="The run directory.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings of the data set: data.root=DIR")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Another data set: a name from conf/data.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    bird_free: Annotated[
        Path | None,
        typer.Option(
            help="Instead: recordings without birds, and at which threshold how many are found in an hour."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the scores to this JSON file.")] = None,
    trust: Trust = False,
) -> None:
    """Score a finished run on a split of its own data set or of another one, or its false alarms."""
    with command():
        if split not in SPLITS:
            raise BirdlabError(f"--split {split}: there is no such split; there are {', '.join(SPLITS)}.")
        if output is not None and output.exists():
            raise BirdlabError(f"{output} exists already. Choose another name or move it away.")
        if bird_free is not None:
            if data is not None or settings or split != "test":
                raise BirdlabError("--bird-free takes no data set beside its folder: leave the others out.")
            score_bird_free(run, bird_free, output, trust=trust)
            return
        opened = Run.open(run)
        chosen = data_config(opened, data, settings or [], trust=trust)
        quieten()
        evaluation = evaluate_run(opened, chosen, split, trust=trust)
        Console().print(evaluation.table())
        if output is not None:
            write_json(output, evaluation.as_dict())


if __name__ == "__main__":
    app()
