"""The table of a run: one row an epoch."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from birdlab.files import write_text


class History(Logger):
    """``metrics.csv``: one row an epoch, always whole on disk.

    A resumed run goes on in the same file: from the epoch it resumes with, rows are dropped and written anew.
    Test scores stand in ``metrics.json`` and not here.

    Args:
        directory: the run directory.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.file = directory / "metrics.csv"
        self._rows = _read_rows(self.file)
        self._begun: set[int] = set()
        self._early: dict[str, float] = {}
        self._saved = True

    @property
    def name(self) -> str:
        """Of the kind of logger."""
        return "history"

    @property
    def version(self) -> None:
        """There is one history a run."""

    def log_hyperparams(self, *args: Any, **settings: Any) -> None:
        """Nothing: they are in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add to the row of ``metrics["epoch"]``; what comes without an epoch belongs to the next one."""
        values = {name: value for name, value in metrics.items() if not name.startswith("test")}
        epoch = values.pop("epoch", None)
        if epoch is None:
            self._early |= values
        elif values:
            row = self._row(int(epoch))
            # Lightning logs float32: as such 0.001 is written 0.001, and read back as the same number.
            row |= {name: str(np.float32(value)) for name, value in (self._early | values).items()}
            row["step"] = str(step)
            self._early = {}
            self._saved = False

    @rank_zero_only
    def save(self) -> None:
        """Write the file, if it is not as it should be already."""
        if self._saved:
            return
        names = sorted({name for row in self._rows.values() for name in row} - {"epoch", "step"})
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", "step", *names], lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows[epoch] for epoch in sorted(self._rows))
        write_text(self.file, text.getvalue())
        self._saved = True

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is not written yet."""
        self.save()

    def _row(self, epoch: int) -> dict[str, str]:
        if epoch not in self._begun:
            self._rows = {earlier: row for earlier, row in self._rows.items() if earlier < epoch}
            self._rows[epoch] = {"epoch": str(epoch)}
            self._begun.add(epoch)
        return self._rows[epoch]


def read_history(file: Path) -> list[dict[str, float]]:
    """The rows of a ``metrics.csv``, each with the metrics it has; none if there is no file."""
    return [
        {name: float(value) for name, value in row.items() if value}
        for _, row in sorted(_read_rows(file).items())
    ]


def _read_rows(file: Path) -> dict[int, dict[str, str]]:
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        return {
            int(row["epoch"]): {name: value for name, value in row.items() if value}
            for row in csv.DictReader(lines)
        }
