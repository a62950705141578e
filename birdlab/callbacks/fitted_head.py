"""Solve for the last layer before any step is taken."""

from collections.abc import Callable

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from birdlab.data.classification import ClassificationData
from birdlab.errors import BirdlabError
from birdlab.models.classifier import head_inputs, head_of
from birdlab.tasks import ClassificationTask

_ITERATIONS = 1000
_CONSTANT = 1e-6


class FittedHead(Callback):
    """The last layer starts as the best one for the features that it gets, not as a random one.

    A few recordings are a few dozen steps, which leave a random layer far from where they lead. But the best
    one is a convex problem's solution: the task's loss of all training recordings, as they are, and a penalty
    on the weights. What is trained from there spoils trained layers less, too: Kumar et al., "Fine-Tuning can
    Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022.

    Whatever the layer was before is forgotten, with ``start_from=RUN`` that run's, too; but a run that is
    resumed keeps what it has.

    Args:
        penalty: p of p/2 times the sum of squared weights, for features of unit variance. Where each species
            is there or not by itself, the loss is a mean over species, and so is this.

    Raises:
        BirdlabError: if that is not above 0: recordings that can be told apart have no best layer without.
    """

    suits = ClassificationTask

    def __init__(self, penalty: float = 0.03) -> None:
        if not penalty > 0:
            raise BirdlabError(f"callbacks.fitted.penalty={penalty}: give a number above 0.")
        self.penalty = penalty

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step:  # goes on from a checkpoint
            return
        assert isinstance(pl_module, ClassificationTask)
        features, labels = _training_recordings(trainer, pl_module)
        species = len(pl_module.names)
        penalty = self.penalty / species if pl_module.multilabel else self.penalty
        found = best_layer(features, labels, pl_module.loss, species, penalty)
        weight, bias = trainer.strategy.broadcast(found)  # to the last bit the same on all ranks
        head = head_of(pl_module.net)
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.copy_(bias)


def best_layer(
    features: Tensor, labels: Tensor, loss: Callable[[Tensor, Tensor], Tensor], outputs: int, penalty: float
) -> tuple[Tensor, Tensor]:
    """The linear layer of the least loss and penalty.

    Args:
        features: float32 [N, D]; those that are the same in all N rows get no weight.
        labels: [N] or [N, K], as the loss takes them.
        loss: of logits [N, K], a mean over rows and convex in them.
        outputs: K.
        penalty: see `FittedHead`.

    Returns:
        Weights [K, D] and biases [K] for the features as they are.
    """
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    deviation = deviation.masked_fill(deviation <= _CONSTANT * deviation.max(), torch.inf)
    standardised = (features - mean) / deviation
    with torch.enable_grad():
        weight = features.new_zeros(outputs, features.shape[1], requires_grad=True)
        bias = features.new_zeros(outputs, requires_grad=True)
        solver = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

        def objective() -> Tensor:
            solver.zero_grad()
            found = loss(standardised @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
            found.backward()  # type: ignore[no-untyped-call]
            return found

        solver.step(objective)  # type: ignore[no-untyped-call]
    weight = weight.detach() / deviation
    return weight, bias.detach() - weight @ mean


@torch.no_grad()
def _training_recordings(trainer: Trainer, task: ClassificationTask) -> tuple[Tensor, Tensor]:
    """What reaches the last layer of each training recording, float32 [N, D], and the labels."""
    data: ClassificationData = trainer.datamodule  # type: ignore[attr-defined]
    batches: list[tuple[Tensor, Tensor]] = []
    task.eval()
    for batch in data.in_order("train"):
        batch = task.transfer_batch_to_device(batch, task.device, 0)
        with trainer.precision_plugin.forward_context(), head_inputs(task.net) as seen:
            task.logits(batch)
        # Where windows vote with the mean of their logits, so does the mean of what makes them.
        features = seen[0].float().reshape(len(batch["label"]), -1, seen[0].shape[1]).mean(dim=1)
        batches.append((features.cpu(), batch["label"].cpu()))
    task.train()
    features, labels = (torch.cat(column) for column in zip(*task.gathered(batches), strict=True))
    return features.to(task.device), labels.to(task.device)
