"""Averages of the weights of many steps, which score better than those of any one of them."""

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from torch import Tensor

from birdlab.errors import BirdlabError


class AveragedWeights(WeightAveraging):
    """Validate, keep and test an exponential moving average of the network's weights.

    The average follows closely at first, with a decay of (1 + n) / (10 + n) after n steps, so that it forgets
    the random weights it began with however short the training is.

    Args:
        decay: what is kept of the average at each step; .995 is an average over the last 200 or so.

    Raises:
        BirdlabError: for a decay that isn't between 0 and 1.
    """

    def __init__(self, decay: float = 0.995) -> None:
        if not 0 <= decay < 1:
            raise BirdlabError(f"callbacks.average.decay={decay}: give a number from 0 to below 1.")

        def average(averages: list[Tensor], current: list[Tensor], steps: Tensor) -> None:
            keep = min(decay, (1 + int(steps)) / (10 + int(steps)))
            for one, other in zip(averages, current, strict=True):
                if one.is_floating_point():
                    one.lerp_(other, 1 - keep)
                else:
                    one.copy_(other)

        super().__init__(multi_avg_fn=average)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse checkpoints that Lightning would write without asking for the average.

        Raises:
            BirdlabError: names the setting.
        """
        super().setup(trainer, pl_module, stage)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.save_weights_only:
                raise BirdlabError(
                    "callbacks.average: a checkpoint of weights only would hold those of the last step. Set "
                    "callbacks.best.save_weights_only=false."
                )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The average lies where the network does, which only now is on its device."""
        assert self._average_model is not None
        self._average_model.to(pl_module.device)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The average stays until everybody has looked at it."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Back to the last step's weights, but for what was chosen for the average, such as a threshold."""
        if self._average_model is None:
            return
        self._swap_models(pl_module)
        chosen = dict(self._average_model.module.named_buffers())
        for name, buffer in pl_module.named_buffers():
            if not name.startswith("net."):
                buffer.copy_(chosen[name])
