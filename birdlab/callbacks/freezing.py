"""Train the last layer alone, at first or all the time."""

import math

from lightning import Callback, LightningModule, Trainer

from birdlab.errors import BirdlabError
from birdlab.tasks import ClassificationTask
from birdlab.tasks.classification import encoder_parameters


class FrozenEncoder(Callback):
    """All layers but the last keep their weights, and statistics, for the first epochs or for all.

    Meanwhile nothing is dropped out.

    Where they are trained already the random last layer would spoil them first; and of few recordings they
    learn little that is true of others. What is frozen is a function of the epoch alone, so that a resumed
    run goes on as it was.

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

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Before the ranks of a distributed training agree on whose gradients they exchange.

        Raises:
            BirdlabError: if there are several ranks, and it changes.
        """
        if trainer.world_size > 1 and 0 < self.epochs < math.inf:
            raise BirdlabError(
                f"callbacks.frozen.epochs={self.epochs}: distributed training expects gradients of the same "
                "weights at every step. Set trainer.devices=1, or frozen.epochs=0 and "
                "task.module.encoder_rate_factor instead."
            )
        if stage == "fit" and self.epochs == math.inf:
            assert isinstance(pl_module, ClassificationTask)
            _freeze(pl_module, frozen=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ClassificationTask)
        frozen = trainer.current_epoch < self.epochs
        _freeze(pl_module, frozen=frozen)
        # Frozen batch norms use and keep the statistics they have. Lightning leaves modes as they are set.
        pl_module.net.train(not frozen)
        # But windows are drawn as ever.
        pl_module.net.training = True


def _freeze(task: ClassificationTask, *, frozen: bool) -> None:
    for weight in encoder_parameters(task.net):
        weight.requires_grad_(not frozen)
        if frozen:
            weight.grad = None
