"""Train the last layer alone, at first or all the time."""

import math

from lightning import Callback, LightningModule, Trainer

from birdlab.errors import BirdlabError
from birdlab.models.classifier import encoder_of
from birdlab.tasks import ClassificationTask
from birdlab.tasks.classification import encoder_parameters


class FrozenEncoder(Callback):
    """What starts from trained weights keeps them, and their statistics, for the first epochs or for all.

    The random last layer would spoil them first; and of few recordings they learn little that is true of
    others. What is frozen is a function of the epoch alone, so that a resumed run goes on as it was.

    Args:
        epochs: so many; None for all.

    Raises:
        BirdlabError: if that is no whole number from 0.
    """

    suits = ClassificationTask

    def __init__(self, epochs: int | None) -> None:
        if epochs is not None and (not isinstance(epochs, int) or epochs < 0):
            raise BirdlabError(
                f"callbacks.frozen.epochs={epochs}: give a whole number, 0 for none, or null for all."
            )
        self.epochs = math.inf if epochs is None else epochs

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1:
            raise BirdlabError(
                "callbacks.frozen: distributed training expects gradients of the same weights at every step. "
                "Set trainer.devices=1, or take task.module.encoder_rate_factor instead."
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ClassificationTask)
        frozen = trainer.current_epoch < self.epochs
        for weight in encoder_parameters(pl_module.net):
            weight.requires_grad_(not frozen)
            if frozen:
                weight.grad = None
        # Frozen batch norms use and keep the statistics they have. Lightning leaves modes as they are set.
        pl_module.net.train()
        if frozen:
            encoder_of(pl_module.net).eval()
        # But windows are drawn as ever.
        pl_module.net.training = True
