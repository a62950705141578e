"""``python -m birdlab.evaluate RUN``: score a finished run on any split or data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from lightning import Callback, Trainer
from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.console import Console
from rich.table import Table

from birdlab import config
from birdlab.audio.spectrogram import Spectrogram
from birdlab.baselines import EnergyThreshold, hand_coarsened, through_network_size
from birdlab.build import build_data, build_task, build_trainer
from birdlab.data.segmentation import SegmentationData
from birdlab.data.source import SPLITS, Split
from birdlab.errors import BirdlabError, command
from birdlab.files import write_json
from birdlab.metrics import SegmentationScores
from birdlab.run import Run
from birdlab.tasks import SegmentationTask, Task
from birdlab.tasks.segmentation import foreground_logits, to_native

Scores = dict[str, float]

FRONT_END = ("image_size", "channels", "sample_rate", "sides", "window_s", "hop_s")
"""What a network was made for, whatever data set it is scored on."""

REFERENCES = ("energy threshold", "do nothing", "ceiling of resizing", "hand-coarsened truth")

SHOWN = {
    "iou": "IoU",
    "iou_pooled": "pooled",
    "iou_two_class": "2-class",
    "dice": "Dice",
    "precision": "prec.",
    "recall": "recall",
    "accuracy": "acc.",
}
"""Columns of the printed table."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a network and of what it must be compared with, on one split, at native resolution.

    Attributes:
        network: at a threshold of .5.
        network_tuned: at the threshold that the run's validation data chose.
        references: by name, each at its own validation-tuned threshold where it has one.
        threshold: of ``network_tuned``.
        samples: a row for each sample, as in ``scores.csv``: ``id`` and ``group``, its scores at
            ``threshold``, seconds of a call (``call_s``: `call_columns`), and what the source knows of it
            (`Source.facts`).
    """

    split: Split
    network: Scores
    network_tuned: Scores
    references: Mapping[str, Scores]
    threshold: float
    samples: Sequence[Mapping[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as in ``metrics.json``."""
        return {
            "threshold": self.threshold,
            self.split: self.network,
            f"{self.split}_tuned": self.network_tuned,
            "references": dict(self.references),
        }

    def table(self) -> Table:
        title = f"Scores on the {self.split} split, at the resolution of the masks"
        table = Table(title=title, title_style="bold", box=box.SIMPLE_HEAD, padding=0)
        table.add_column("", no_wrap=True)
        for heading in SHOWN.values():
            table.add_column(heading, justify="right", no_wrap=True)
        rows = {
            "network at .50": self.network,
            f"network at {self.threshold:.2f} (validation)".replace("0.", "."): self.network_tuned,
        }
        for name, scores in (rows | dict(self.references)).items():
            table.add_row(name, *(f"{scores[key]:.3f}" for key in SHOWN))
        return table


def evaluate(
    task: SegmentationTask,
    data: SegmentationData,
    trainer: Trainer,
    split: Split = "test",
    validation: SegmentationData | None = None,
) -> Evaluation:
    """Score the network as it stands, and the references, on one split.

    Args:
        task: with the weights to score.
        data: the data set.
        trainer: runs the network.
        split: of ``data``.
        validation: whose validation split chooses the threshold of the energy threshold; ``data`` by default.
    """
    data.tested = split
    trainer.test(task, datamodule=data, verbose=False)
    return Evaluation(
        split=split,
        network=task.tested["test"],
        network_tuned=task.tested["test_tuned"],
        references=reference_scores(data, split, validation or data),
        threshold=float(task.threshold),
        samples=sample_table(task, data, split),
    )


def sample_table(task: Task, data: SegmentationData, split: Split) -> list[dict[str, Any]]:
    """The rows of the samples that were tested, in the order of the split, whatever rank tested which."""
    rows = {row["id"]: row for row in task.tested_samples}
    column_s = Spectrogram.hop / data.source.sample_rate
    table = []
    for sample in data.splits[split]:
        if sample.id not in rows:
            continue
        row = {"id": sample.id, "group": sample.group} | rows[sample.id]
        if "call_columns" in row:
            row["call_s"] = row.pop("call_columns") * column_s
        table.append(row | data.source.facts(sample))
    return table


def reference_scores(data: SegmentationData, split: Split, validation: SegmentationData) -> dict[str, Scores]:
    """What every network stands beside: nothing, an energy threshold, and the ceilings.

    The energy threshold sees what the network sees, and its threshold is chosen on validation data in the
    same way.
    """
    energy = EnergyThreshold()
    on_validation = SegmentationScores()
    for batch in validation.val_dataloader():
        on_validation.update(foreground_logits(energy(_images(batch))), batch["mask"])
    threshold = on_validation.best_threshold()

    scores = {name: SegmentationScores() for name in REFERENCES}
    size = data.source.image_size
    for batch in data.native_dataloader(split):
        native = batch["native_mask"]
        scores["energy threshold"].update(
            to_native(foreground_logits(energy(_images(batch))), native), native
        )
        scores["do nothing"].update([_as_logits(torch.zeros_like(mask)) for mask in native], native)
        scores["ceiling of resizing"].update(
            [_as_logits(through_network_size(mask, size)) for mask in native], native
        )
        scores["hand-coarsened truth"].update([_as_logits(hand_coarsened(mask)) for mask in native], native)
    return {
        name: score.scores(threshold if name == "energy threshold" else 0.5) for name, score in scores.items()
    }


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
    own = build_data(cfg)
    if overrides is not None:
        cfg.data = overrides
    data, task = build_data(cfg), build_task(cfg, pretrained=False)
    checkpoint = run.checkpoint(run.best)
    task.load_weights(checkpoint["state_dict"], str(run.best))
    validation = data if data.splits["val"] else own
    trainer = build_trainer(cfg, run, logger=False, callbacks=list(callbacks))
    return evaluate(task, data, trainer, split, validation)


def data_config(run: Run, name: str | None, settings: list[str], *, trust: bool) -> DictConfig | None:
    """The data config NAME with ``key=value`` settings on top; without NAME the run's own with them.

    Paths may hold anything: values aren't read by Hydra's grammar. What the network was made
    for stays the run's.
    """
    if name is None and not settings:
        return None
    own: DictConfig = run.config(trust=trust).data
    chosen = own
    if name is not None:
        known = sorted(path.stem for path in (config.CONF / "data").glob("[!_]*.yaml"))
        if name not in known:
            raise BirdlabError(f"--data {name}: there is no such data set; there are {', '.join(known)}.")
        # Resolved apart from the run's config, whose `scale` would cap this data set, too.
        composed = OmegaConf.to_container(config.compose_unchecked([f"data={name}"]).data, resolve=True)
        chosen = DictConfig(composed)
        chosen.update({key: own[key] for key in FRONT_END if own[key] is not None})
    for setting in settings:
        key, separator, value = setting.partition("=")
        key = key.removeprefix("data.")
        if not separator or key not in set(chosen.keys()):  # `in` leaves out what has no value yet
            raise BirdlabError(
                f"{setting!r} sets nothing that this data set has. Write KEY=VALUE with one of "
                f"{', '.join(str(known) for known in chosen if not str(known).startswith('_'))}."
            )
        OmegaConf.update(chosen, key, OmegaConf.from_dotlist([f"value={value}"]).value)
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
    output: Annotated[Path | None, typer.Option(help="Write the scores to this JSON file.")] = None,
    trust: Annotated[bool, typer.Option(help="Build what birdlab doesn't ship, too.")] = False,
) -> None:
    """Score a finished run, at .5 and at the threshold that its validation data chose."""
    with command():
        if split not in SPLITS:
            raise BirdlabError(f"--split {split}: there is no such split; there are {', '.join(SPLITS)}.")
        if output is not None and output.exists():
            raise BirdlabError(f"{output} exists already. Choose another name or move it away.")
        opened = Run.open(run)
        chosen = data_config(opened, data, settings or [], trust=trust)
        evaluation = evaluate_run(opened, chosen, split, trust=trust)
        Console().print(evaluation.table())
        if output is not None:
            write_json(output, evaluation.as_dict())


def _images(batch: Mapping[str, Any]) -> torch.Tensor:
    image: torch.Tensor = batch["image"]
    return image.unsqueeze(1) / 255


def _as_logits(mask: torch.Tensor) -> torch.Tensor:
    return mask.float() * 2 - 1


if __name__ == "__main__":
    app()
