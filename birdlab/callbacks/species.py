"""The figures of a study of species, in the run directory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from birdlab import figures
from birdlab.loggers import read_history
from birdlab.metrics.classification import confusion_matrix
from birdlab.tasks import ClassificationTask


class SpeciesFigures(Callback):
    """When testing ends, ``learning_curves`` and ``confusion``, as PNG and PDF in ``figures/``.

    Args:
        score: the logged metric that says which epoch is the best.
        mode: whether its largest (``max``) or smallest (``min``) value is.
    """

    def __init__(self, score: str = "val/accuracy", mode: str = "max") -> None:
        self.score = score
        self.mode = mode

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, ClassificationTask)
        folder = Path(trainer.default_root_dir)
        made = {}
        if history := read_history(folder / "metrics.csv"):
            made["learning_curves"] = figures.learning_curves(history, score=self.score, mode=self.mode)
        if not pl_module.multilabel:
            counts = confusion(pl_module.tested.samples, pl_module.names)
            made["confusion"] = figures.confusion_matrix(counts.numpy(), pl_module.names)
        for name, figure in made.items():
            figures.save_for_paper(figure, folder / "figures" / name)


def confusion(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> torch.Tensor:
    """Recordings by true and predicted species, int64 [K, K], from rows as in ``scores.csv``."""
    index = {name: number for number, name in enumerate(names)}
    predicted, true = (
        torch.tensor([index[row[column]] for row in rows]) for column in ("predicted", "label")
    )
    return confusion_matrix(predicted, true, len(names))
