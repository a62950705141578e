"""What both tasks share: the optimizer and its schedule, randomness, plain checkpoints."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanMetric

from birdlab.models.weights import load_strictly

Batch = dict[str, Any]
MemoryFormat = Literal["contiguous", "channels_last"]


class Task(LightningModule):
    """A network, its loss and its optimizer; subclasses say how scores are computed.

    Randomness is a function of (seed, step) and never stored: a resumed run draws what an uninterrupted one
    would have drawn.

    Args:
        net: images [B, C, F, T] to logits.
        loss: logits and truth to a scalar.
        optimizer: parameters to an optimizer.
        scheduler: Lightning's dictionary (``scheduler`` a partial, ``interval``, ``frequency``, ``monitor``)
            plus ``steps_argument``, the name of the argument that is filled with the number of steps or
            epochs of the training; None keeps the rate.
        settings: the run's resolved config as plain containers; it travels inside the checkpoint.
        channels: of the network's input; the grey image is repeated.
        memory_format: of images and convolution weights.
        seed: of dropout and whatever else the network draws.
    """

    logged: ClassVar[Mapping[str, str]]
    """Metrics by name, each with the mode (``min`` or ``max``) that is better."""

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        channels: int = 1,
        memory_format: MemoryFormat = "contiguous",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.torch_memory_format = {
            "contiguous": torch.contiguous_format,
            "channels_last": torch.channels_last,
        }[memory_format]
        self.net = net.to(memory_format=self.torch_memory_format)
        self.loss = loss
        optimizer([nn.Parameter(torch.zeros(1))])  # so that a setting out of range shows now
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.settings = dict(settings or {})
        self.channels = channels
        self.seed = seed
        # "disable": looking for NaN would wait for the device at every step; `FiniteLoss` looks, rarely.
        self.train_loss, self.val_loss, self.test_loss = (
            MeanMetric(nan_strategy="disable") for _ in range(3)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits for images [B, C, F, T] in 0..1."""
        return self.net(image.contiguous(memory_format=self.torch_memory_format))  # type: ignore[no-any-return]

    @abstractmethod
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""

    def as_input(self, image: Tensor) -> Tensor:
        """What the network sees of grey bytes [B, F, T], as images travel: float [B, C, F, T] in 0..1."""
        return image.unsqueeze(1).expand(-1, self.channels, -1, -1) / 255

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        seed = hash((self.seed, self.global_rank, self.global_step)) & 0x7FFF_FFFF_FFFF_FFFF
        # Not torch.manual_seed, which looks at every backend there might be and takes .3 ms a step.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        if not self.scheduler:
            return optimizer
        schedule = dict(self.scheduler)
        steps_argument = schedule.pop("steps_argument", None)
        make = schedule.pop("scheduler")
        filled = {}
        if steps_argument:
            by_step = schedule.get("interval") == "step"
            filled[steps_argument] = (
                int(self.trainer.estimated_stepping_batches) if by_step else self.trainer.max_epochs
            )
        return {"optimizer": optimizer, "lr_scheduler": schedule | {"scheduler": make(optimizer, **filled)}}

    def lr_scheduler_step(self, scheduler: LRScheduler | ReduceLROnPlateau, metric: Any) -> None:
        # Lightning steps plateau schedulers after the checkpoint is written, so that a resumed run would miss
        # a step; on_train_epoch_end does it before.
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def on_train_epoch_end(self) -> None:
        epoch = {
            "train/loss": float(self.train_loss.compute()),
            "train/rate": float(self.trainer.optimizers[0].param_groups[0]["lr"]),
        }
        self.train_loss.reset()
        self.log_dict(epoch, logger=False)
        # Lightning hands its own to the loggers after the checkpoint is written: a run that is killed in
        # between would go on from the next epoch, and this one's would be lost.
        for logger in self.loggers:
            logger.log_metrics(epoch | {"epoch": self.current_epoch}, step=self.global_step - 1)
            logger.save()
        for config in self.trainer.lr_scheduler_configs:
            metric = self.trainer.callback_metrics.get(str(config.monitor))
            # There is none yet if the training ends before its first validation, as with trainer.max_steps.
            if isinstance(config.scheduler, ReduceLROnPlateau) and metric is not None:
                config.scheduler.step(float(metric))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["birdlab"] = {"config": self.settings}

    def load_weights(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Take over the weights of a checkpoint.

        Raises:
            BirdlabError: lists what is missing and what is too much.
        """
        load_strictly(self, state, origin)
