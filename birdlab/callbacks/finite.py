"""Stop a training whose loss is no number, before it spoils the last good checkpoint."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from birdlab.errors import BirdlabError


class FiniteLoss(Callback):
    """Look at the losses on the CPU every step, on other devices every ``every`` steps.

    Reading a loss waits for the device, so elsewhere the losses of several steps are read at once; always
    before validation, and so before anything is saved.
    """

    def __init__(self, every: int = 16) -> None:
        self.every = every
        self._unread: list[tuple[int, Tensor, list[str]]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"].detach()
        self._unread.append((trainer.global_step, loss, batch["id"]))
        if loss.device.type == "cpu" or len(self._unread) >= self.every:
            self._read(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read(pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # The weights themselves may be spoiled by the last step of an epoch, whose own loss was fine.
        if isinstance(outputs, Tensor) and not trainer.sanity_checking:
            self._unread.append((trainer.global_step, outputs.detach(), batch["id"]))
            if outputs.device.type == "cpu" or len(self._unread) >= self.every:
                self._read(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read(pl_module)

    def _read(self, task: LightningModule) -> None:
        unread, self._unread = self._unread, []
        if not unread:
            return
        finite = torch.stack([loss for _, loss, _ in unread]).isfinite().tolist()
        for (step, loss, ids), good in zip(unread, finite, strict=True):
            if not good:
                rate = task.trainer.optimizers[0].param_groups[0]["lr"]
                raise BirdlabError(
                    f"The loss is {loss.item()} at step {step}, on the samples {', '.join(ids)}. The last "
                    "good epoch is kept in checkpoints/last.ckpt. Look at the samples with birdlab.preview, "
                    f"lower the rate (optimizer.lr={rate / 10:g}), clip gradients "
                    "(trainer.gradient_clip_val=1), or pin trainer.precision=32-true."
                )
