"""A line for each finished epoch, and a bar for the one that runs."""

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich import get_console

_REFRESHES = 2
"""A second: drawing the bar takes the interpreter away from training for a few milliseconds each time."""


class Progress(RichProgressBar):
    """Lightning's bar with the loss and the score, above it one line for each finished epoch.

    Where output is no terminal (a file, a cluster's log) there are only the lines.

    Args:
        score: the logged validation metric that is shown.
    """

    def __init__(self, score: str = "val/iou_resized") -> None:
        super().__init__(refresh_rate=_REFRESHES)
        self.score = score
        self._shown = {"loss": ""}  # first the loss, then the score
        self._loss_read = 0.0
        self._epoch_started: float | None = None
        if not get_console().is_terminal:
            self._refresh_rate = 0

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands beside the bar: the newest loss, and the score of the last validation.

        Lightning asks at each step, and reading either waits for the device: they are read rarely, elsewhere.
        """
        return self._shown

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if trainer.is_global_zero:
            _print(_row("epoch", "train loss", "val loss", _label(self.score), "rate", "seconds"))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if self.is_enabled and now - self._loss_read > 1 / _REFRESHES:
            self._shown["loss"] = f"{float(outputs['loss']):.4f}"
            self._loss_read = now
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = trainer.callback_metrics.get(self.score)
        if score is not None:
            self._shown[_label(self.score)] = f"{float(score):.3f}"
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print_finished(trainer, trainer.current_epoch - 1)
        super().on_train_epoch_start(trainer, pl_module)
        self._epoch_started = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print_finished(trainer, trainer.current_epoch - 1)
        super().on_train_end(trainer, pl_module)

    def _print_finished(self, trainer: Trainer, epoch: int) -> None:
        """The line of an epoch, printed late: at its own end the training loss is not logged yet."""
        if self._epoch_started is None or not trainer.is_global_zero:
            return
        seconds = time.monotonic() - self._epoch_started
        self._epoch_started = None
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epochs = trainer.max_epochs or -1  # -1: as many as time or steps allow
        last = f"/{epochs - 1}" if epochs > 0 else ""
        values = ("train/loss", ".4f"), ("val/loss", ".4f"), (self.score, ".3f"), ("train/rate", ".3g")
        shown = [format(logged[name], form) if name in logged else "" for name, form in values]
        _print(_row(f"{epoch}{last}", *shown, f"{seconds:.1f}"))


def _label(metric: str) -> str:
    return metric.replace("val/", "val ").replace("_resized", "").replace("iou", "IoU").replace("_", " ")


def _row(*cells: str) -> str:
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, (7, 10, 9, 12, 8, 8), strict=True))


def _print(line: str) -> None:
    get_console().print(line, highlight=False, markup=False, soft_wrap=True)
