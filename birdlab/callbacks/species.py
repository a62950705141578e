"""The figures of a study of species, in the run directory."""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from birdlab import figures
from birdlab.analysis import confusion, coverage
from birdlab.callbacks.errors import reliability_table
from birdlab.files import write_csv
from birdlab.loggers import read_history
from birdlab.tasks import ClassificationTask


class SpeciesFigures(Callback):
    """When testing ends, the figures of the run, as PNG and PDF in ``figures/``.

    ``learning_curves``; ``calibration``, whether probabilities mean what they say; and, where a recording has
    one species, ``confusion``, and in ``coverage`` what is gained by naming only what the network is sure of.
    ``calibration.csv`` and ``coverage.csv`` hold the numbers that are drawn.

    Args:
        score: the logged metric that says which epoch is the best.
        mode: whether its largest (``max``) or smallest (``min``) value is.
    """

    suits = ClassificationTask

    def __init__(self, score: str = "val/accuracy", mode: str = "max") -> None:
        self.score = score
        self.mode = mode

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, ClassificationTask)
        folder, task = Path(trainer.default_root_dir), pl_module
        unscaled = task.unscaled_reliability if float(task.temperature) != 1 else None
        counted = "probabilities" if task.multilabel else "recordings"
        made = {"calibration": figures.reliability_diagram(task.reliability, unscaled, counted)}
        tables = {"calibration": reliability_table(task.reliability, counted)}
        if history := read_history(folder / "metrics.csv"):
            made["learning_curves"] = figures.learning_curves(history, score=self.score, mode=self.mode)
        if not task.multilabel:
            counts = confusion(task.tested.samples, task.names)
            made["confusion"] = figures.confusion_matrix(counts.numpy(), task.names)
            curve = coverage(task.tested.samples)
            made["coverage"] = figures.accuracy_by_coverage(curve)
            columns = curve.lists()
            tables["coverage"] = [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
        for name, figure in made.items():
            figures.save_for_paper(figure, folder / "figures" / name)
        for name, rows in tables.items():
            write_csv(folder / "figures" / f"{name}.csv", rows)
