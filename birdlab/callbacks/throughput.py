"""How many samples a second are trained on, noted in the run's provenance."""

import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from birdlab.run import Run


class Throughput(Callback):
    """``samples_per_s`` in ``provenance.json``: over all ranks, loading included, validation left out.

    The first epoch counts only if there is no other: compiling and choosing kernels fall into it.
    """

    def __init__(self) -> None:
        self._epochs: list[tuple[int, float]] = []
        self._samples = 0
        self._seconds = 0.0
        self._since: float | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._samples, self._seconds = 0, 0.0
        self._since = time.monotonic()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._since is None:  # there was a validation within the epoch
            self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._samples += len(batch["id"]) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # FiniteLoss, which comes before, has waited for the device.
        self._stop()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()
        self._epochs.append((self._samples, self._seconds))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        counted = self._epochs[1:] or self._epochs
        samples, seconds = (sum(part) for part in zip(*counted, strict=True)) if counted else (0, 0.0)
        if seconds:
            Run(Path(trainer.default_root_dir)).note(samples_per_s=round(samples / seconds, 2))

    def _stop(self) -> None:
        if self._since is not None:
            self._seconds += time.monotonic() - self._since
            self._since = None
