"""What a test found, beside what every network must be compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from lightning import Trainer
from rich import box
from rich.table import Table

from birdlab.data.module import SourceData
from birdlab.data.source import Split
from birdlab.tasks.base import Scores, Task, Tested

_TERMINAL = 80
"""Characters that a line of a terminal has at least."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a network and of what it must be compared with, on one split.

    Attributes:
        split: of which data.
        title: of the printed table.
        columns: its headings by the score's name; the first one is the main score.
        network: scores of the network, at a threshold of .5 where there is a threshold.
        references: by name, each at its own validation-tuned threshold where it has one.
        samples: a row for each sample, as in ``scores.csv``: ``id`` and ``group``, what was predicted or
            scored, and what the source knows of it (`Source.facts`).
        reference_samples: what each reference said of each sample, as in ``references.csv``: ``reference``,
            ``id`` and a probability of each species; empty where references have no probabilities.
        network_tuned: at the threshold that the run's validation data chose.
        threshold: of ``network_tuned``, as a scaled probability.
        temperature: by which logits were divided where probabilities are reported.
        confidence: see `Tested`.
    """

    split: Split
    title: str
    columns: Mapping[str, str]
    network: Scores
    references: Mapping[str, Scores]
    samples: Sequence[Mapping[str, Any]]
    reference_samples: Sequence[Mapping[str, Any]] = ()
    network_tuned: Scores | None = None
    threshold: float | None = None
    temperature: float = 1.0
    confidence: float | None = None

    @property
    def main(self) -> str:
        """The score by which runs are compared."""
        return next(iter(self.columns))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as in ``metrics.json``."""
        content = {
            "threshold": self.threshold,
            "temperature": self.temperature,
            "confidence": self.confidence,
            self.split: self.network,
            f"{self.split}_tuned": self.network_tuned,
            "references": dict(self.references),
        }
        return {name: value for name, value in content.items() if value is not None}

    def table(self) -> Table:
        """Network and references in rows and scores in columns; the other way round where scores are many."""
        rows = {"network" if self.network_tuned is None else "network at .50": self.network}
        if self.network_tuned is not None:
            rows[f"network at {self.threshold:.2f} (validation)".replace("0.", ".")] = self.network_tuned
        rows |= self.references
        cells = [
            ["", *self.columns.values()],
            *(
                [name, *(f"{scores[key]:.3f}" if key in scores else "" for key in self.columns)]
                for name, scores in rows.items()
            ),
        ]
        columns = list(zip(*cells, strict=True))
        wide = sum(1 + max(map(len, column)) for column in columns) > _TERMINAL
        if wide:
            cells = [list(column) for column in columns]
        table = Table(title=self.title, title_style="bold", box=box.SIMPLE_HEAD, padding=0)
        for place, heading in enumerate(cells[0]):
            table.add_column(heading, justify="right" if place else "left", no_wrap=not (wide and place))
        for row in cells[1:]:
            table.add_row(*row)
        return table


def score(task: Task, data: SourceData, trainer: Trainer, split: Split = "test") -> Tested:
    """Score the network as it stands on one split; in all ranks of a trainer together."""
    data.tested = split
    trainer.test(task, datamodule=data, verbose=False)
    return task.tested


@singledispatch
def compared(data: SourceData, tested: Tested, split: Split, own: SourceData | None) -> Evaluation:
    """What a test found, beside the references of its task.

    Args:
        data: the data set that was tested; its class says which task it is.
        tested: what was found.
        split: which one was tested.
        own: the data set that the network was trained on. References are fitted on ``data`` where it has
            training or validation samples, as whoever has such data would, and else on this. None leaves out
            those that would be.
    """
    raise NotImplementedError(type(data).__name__)


def sample_table(data: SourceData, tested: Tested, split: Split) -> list[dict[str, Any]]:
    """The rows of the samples that were tested, in the order of the split, whatever rank tested which."""
    rows = {row["id"]: row for row in tested.samples}
    return [
        {"id": sample.id, "group": sample.group} | rows[sample.id] | data.source.facts(sample)
        for sample in data.splits[split]
        if sample.id in rows
    ]
