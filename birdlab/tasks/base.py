"""What both tasks share: the optimizer and its schedule, randomness, plain checkpoints."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanMetric

from birdlab.errors import BirdlabError
from birdlab.metrics import MeanLoss, ReliabilityCurve
from birdlab.models.weights import load_strictly
from birdlab.precision import MEMORY_FORMATS, MemoryFormat, keep_depthwise_exact

Batch = dict[str, Any]
Scores = dict[str, float]
Row = TypeVar("Row")


@dataclass(frozen=True)
class Tested:
    """What a test found, on all ranks together.

    Attributes:
        scores: at the fixed threshold, if the task has one.
        samples: a row for each sample: its ``id``, and what was predicted or scored.
        tuned: scores at the threshold that validation data chose, where there is such a choice.
        threshold: that threshold, as a scaled probability.
        temperature: by which logits are divided where probabilities are reported.
        confidence: from which on `SURE` of the names are right on validation data; None where there is no
            such, or no single name.
    """

    scores: Scores
    samples: list[dict[str, Any]]
    tuned: Scores | None = None
    threshold: float | None = None
    temperature: float = 1.0
    confidence: float | None = None


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
        memory_format: of images and convolution weights.
        seed: of dropout and whatever else the network draws.
    """

    logged: Mapping[str, str]
    """Metrics by name, each with the mode (``min`` or ``max``) that is better."""

    tested: Tested
    """What the last test found; what is logged of it is rounded to float32."""

    temperature: Tensor
    """Logits are divided by it where probabilities are reported; fitted on validation data, and kept with the
    weights. Losses and scores don't know it."""

    validated: dict[str, list[float]]
    """What the last validation found that later choices need, as lists of equal length; saved with the
    weights, and taken over with them by `load_checkpoint`."""

    reliability: ReliabilityCurve
    """Of the last test, of probabilities as they are reported."""

    unscaled_reliability: ReliabilityCurve
    """The same before the temperature."""

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Any], Optimizer],
        scheduler: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        memory_format: MemoryFormat = "contiguous",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.torch_memory_format = MEMORY_FORMATS[memory_format]
        self.net = net.to(memory_format=self.torch_memory_format)
        keep_depthwise_exact(self.net)
        self.loss = loss
        self.register_buffer("temperature", torch.tensor(1.0))
        self.validated = {}
        self._just_validated = False
        optimizer([nn.Parameter(torch.zeros(1))])  # so that a setting out of range shows now
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.settings = dict(settings or {})
        self.seed = seed
        # "disable": looking for NaN would wait for the device at every step; `FiniteLoss` looks, rarely.
        self.train_loss = MeanMetric(nan_strategy="disable")
        self.val_loss, self.test_loss = MeanLoss(), MeanLoss()

    def forward(self, image: Tensor) -> Tensor:
        """Logits for the network's input [B, C, F, T], see `inputs`."""
        return self.net(image.contiguous(memory_format=self.torch_memory_format))  # type: ignore[no-any-return]

    @abstractmethod
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""

    @abstractmethod
    def inputs(self, batch: Batch) -> Tensor:
        """What the network sees of a batch: float [B, C, F, T]."""

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # With accumulated gradients several batches belong to one step of the optimizer.
        parts = self.trainer.accumulate_grad_batches
        part = self.global_step * parts + batch_idx % parts
        seed = hash((self.seed, self.global_rank, part)) & 0x7FFF_FFFF_FFFF_FFFF
        # Not torch.manual_seed, which looks at every backend there might be and takes .3 ms a step.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer()
        if not self.scheduler:
            return optimizer
        schedule = dict(self.scheduler)
        steps_argument = schedule.pop("steps_argument", None)
        make = schedule.pop("scheduler")
        filled = {}
        if steps_argument:
            by_step = schedule.get("interval") == "step"
            length = self.trainer.estimated_stepping_batches if by_step else self.trainer.max_epochs
            if length in (None, -1, math.inf):
                raise BirdlabError(
                    f"trainer.max_epochs={self.trainer.max_epochs}: this schedule is as long as the "
                    "training, which must have an end. Give a number, or set scheduler=none."
                )
            filled[steps_argument] = int(length)
        scheduler = make(optimizer, **filled)
        if isinstance(scheduler, ReduceLROnPlateau) and schedule.get("interval") == "step":
            raise BirdlabError(
                "scheduler.interval=step: whether a score got better is seen once an epoch; set epoch."
            )
        # Lightning would ask for the score after every epoch; `on_train_epoch_end` looks for it.
        schedule |= {"scheduler": scheduler, "reduce_on_plateau": False}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def make_optimizer(self) -> Optimizer:
        """One rate for all parameters."""
        return self.optimizer(self.parameters())

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
            # There is none before the first validation, and an old one where not every epoch is validated.
            due = self._just_validated and (self.current_epoch + 1) % config.frequency == 0
            if isinstance(config.scheduler, ReduceLROnPlateau) and metric is not None and due:
                config.scheduler.step(float(metric))
        self._just_validated = False

    def on_validation_end(self) -> None:
        self._just_validated = not self.trainer.sanity_checking

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["birdlab"] = {"config": self.settings, "validation": self.validated}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = self._with_temperatures(checkpoint["state_dict"])

    def gathered(self, rows: list[Row]) -> list[Row]:
        """The lists of all ranks, rank after rank, as torchmetrics gathers what it keeps."""
        if not (dist.is_available() and dist.is_initialized()):
            return rows
        parts: list[list[Row]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(parts, rows)
        return [one for part in parts for one in part]

    def load_weights(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Take over the weights of a checkpoint.

        Raises:
            BirdlabError: lists what is missing and what is too much.
        """
        load_strictly(self, self._with_temperatures(state), origin)

    def _with_temperatures(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights by name; checkpoints from before there was a temperature report what the network says."""
        own = (name for name, _ in self.named_buffers(recurse=False) if name.endswith("temperature"))
        return {name: torch.tensor(1.0) for name in own} | dict(state)

    def load_checkpoint(self, content: Mapping[str, Any], origin: str) -> None:
        """Take over weights, see `load_weights`, and what validation found of them."""
        self.load_weights(content["state_dict"], origin)
        self.validated = content.get("birdlab", {}).get("validation") or {}

    def calibration_errors(self) -> Scores:
        """Of the last test, as it is reported, and what it would be without the temperature."""
        return {
            "calibration_error": self.reliability.error,
            "calibration_error_unscaled": self.unscaled_reliability.error,
        }
