"""Classification: which species sings in a recording."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from birdlab.errors import BirdlabError
from birdlab.losses import SpeciesCrossEntropy
from birdlab.metrics import CoverageCurve, ReliabilityCurve, SpeciesScores, species_temperature
from birdlab.models.classifier import head_of
from birdlab.tasks.base import Batch, Task, Tested
from birdlab.thresholds import SURE, lowest_reaching

_PRIOR_WIDTH = 32
_SINGLE = ("accuracy", "balanced_accuracy", "macro_f1", "average_precision", "roc_auc")
_MULTI = ("micro_f1", "row_f1", "average_precision", "roc_auc")


class ClassificationTask(Task):
    """Train and score a network that returns logits [B, K] of K species for stacks of mel levels.

    Where recordings have one species, the `CoverageCurve` of validation data is kept with the weights: on it
    is chosen how sure a name must be.

    Args:
        args, settings: see `Task`.
        names: of the species, in the order of the logits.
        front_end: levels in dB [B, S, M, T] to the network's input.
        multilabel: recordings hold several species: `SpeciesScores` scores them otherwise.
        prior: place and date of a recording add to the logits, through a layer of 32 that starts from adding
            nothing.
        encoder_rate_factor: of the optimizer's rate for all layers but the last, for weights that are
            trained already.

    Raises:
        BirdlabError: if the names are not known, or the rate is negative.
        ValueError: if the network has other than K outputs.
    """

    def __init__(
        self,
        *args: Any,
        names: Sequence[str] | None,
        front_end: nn.Module,
        multilabel: bool = False,
        prior: bool = False,
        encoder_rate_factor: float = 1.0,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        if not names:
            raise BirdlabError("task.names has no value: birdlab.train takes it from the data set.")
        if not encoder_rate_factor >= 0:
            raise BirdlabError(f"task.module.encoder_rate_factor={encoder_rate_factor}: give 0 or more.")
        outputs = head_of(self.net).out_features
        if outputs != len(names):
            raise ValueError(
                f"the network has {outputs} outputs, and there are {len(names)} species: "
                "set model.classes=${task.classes}"
            )
        if multilabel and isinstance(self.loss, SpeciesCrossEntropy):
            raise BirdlabError(
                "data.multilabel=true needs a loss that takes several species at once: set loss=species_bce."
            )
        self.names = tuple(names)
        self.front_end = front_end
        self.multilabel = multilabel
        self.encoder_rate_factor = encoder_rate_factor
        self.prior = _prior(len(names)) if prior else None
        self.scored = _MULTI if multilabel else _SINGLE
        self.logged = {"train/loss": "min", "val/loss": "min"} | {
            f"val/{name}": "max" for name in self.scored
        }
        self.val_scores = SpeciesScores(len(names), multilabel=multilabel)
        self.test_scores = SpeciesScores(len(names), multilabel=multilabel)
        self._test_ids: list[str] = []

    def inputs(self, batch: Batch) -> Tensor:
        """See `Task.inputs`."""
        made: Tensor = self.front_end(batch["stack"])
        return made

    def logits(self, batch: Batch) -> Tensor:
        """Logits [B, K] of a batch."""
        logits: Tensor = self(self.inputs(batch))
        return logits if self.prior is None else logits + self.prior(batch["prior"])

    @torch.inference_mode()
    def probabilities(self, batch: Batch) -> Tensor:
        """Probabilities [B, K], of one species or, in multi-label mode, of each by itself."""
        return self.normalised(self.logits(batch).float())

    def normalised(self, logits: Tensor) -> Tensor:
        """Probabilities [..., K], as they are reported, from logits."""
        logits = logits / self.temperature.to(logits.device)
        return logits.sigmoid() if self.multilabel else logits.softmax(dim=-1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self.logits(batch), batch["label"])
        self.train_loss.update(loss.detach())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch, for `FiniteLoss` to look at."""
        logits = self.logits(batch)
        loss: Tensor = self.loss(logits, batch["label"])
        self.val_loss.update(loss, len(logits))
        self.val_scores.update(logits, batch["label"])
        return loss

    def on_validation_epoch_end(self) -> None:
        scores = self.val_scores.compute()
        logits, truth = self.val_scores.logits_and_truth()
        temperature = species_temperature(logits, truth, multilabel=self.multilabel)
        if not self.trainer.sanity_checking:
            self.temperature.fill_(temperature)
            if not self.multilabel:
                self.validated = self._coverage(logits, truth).lists()
        self.log_dict(
            {"val/loss": self.val_loss.compute(), "val/temperature": temperature}
            | {f"val/{name}": scores[name] for name in self.scored}
        )
        for metric in (self.val_loss, self.val_scores):
            metric.reset()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.logits(batch)
        self.test_loss.update(self.loss(logits, batch["label"]), len(logits))
        self.test_scores.update(logits, batch["label"])
        self._test_ids += batch["id"]

    def on_test_epoch_end(self) -> None:
        logits, truth = self.test_scores.logits_and_truth()
        # What it would report at a temperature of 1 is what it reports of logits that undo its own.
        self.reliability = self.reliability_of(logits, truth)
        self.unscaled_reliability = self.reliability_of(logits * float(self.temperature), truth)
        scores = self.test_scores.compute() | {"loss": self.test_loss.compute()} | self.calibration_errors()
        confidence = lowest_reaching(SURE, validated_accuracy(self.validated))
        if confidence is not None and not self.multilabel:
            share, accuracy = self._coverage(logits, truth).at(confidence)
            # Both are of all recordings: those of the folds of a cross-validation can be put together.
            scores |= {"sure": share, "sure_right": share * accuracy if share else 0.0}
        ids, self._test_ids = self.gathered(self._test_ids), []
        self.tested = Tested(
            scores,
            self._rows(ids, logits, truth),
            temperature=float(self.temperature),
            confidence=confidence,
        )
        self.log_dict({f"test/{name}": value for name, value in scores.items()})
        for metric in (self.test_loss, self.test_scores):
            metric.reset()

    def reliability_of(self, logits: Tensor, truth: Tensor) -> ReliabilityCurve:
        """How often the likeliest species (in multi-label mode each) is right, by its probability."""
        said = self.normalised(logits)
        if self.multilabel:
            return ReliabilityCurve.of(said, truth > 0)
        return ReliabilityCurve.of(*_likeliest(said, truth))

    def _coverage(self, logits: Tensor, truth: Tensor) -> CoverageCurve:
        return CoverageCurve.of(*_likeliest(self.normalised(logits), truth))

    def make_optimizer(self) -> Optimizer:
        """The last layer at the optimizer's rate, the others at ``encoder_rate_factor`` of it."""
        encoder = set(encoder_parameters(self.net))
        others = [weight for weight in self.parameters() if weight not in encoder]
        # The first group's rate is the one that is logged.
        optimizer = self.optimizer([{"params": others}, {"params": list(encoder_parameters(self.net))}])
        optimizer.param_groups[1]["lr"] *= self.encoder_rate_factor
        return optimizer

    def configure_optimizers(self) -> Any:
        configured = super().configure_optimizers()
        optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
        head, encoder = (group["lr"] for group in optimizer.param_groups)
        if not math.isclose(encoder, self.encoder_rate_factor * head):
            raise BirdlabError(
                f"task.module.encoder_rate_factor={self.encoder_rate_factor}: this scheduler knows one rate "
                "only. Take another one, such as scheduler=cosine."
            )
        return configured

    def _rows(self, ids: Sequence[str], logits: Tensor, truth: Tensor) -> list[dict[str, Any]]:
        """What was predicted for each recording, for ``scores.csv``."""
        rows = []
        for id, probability, share in zip(ids, self.normalised(logits), truth, strict=True):
            said = probability_columns(self.names, probability)
            if self.multilabel:
                label, predicted = (
                    joined_names(self.names, there) for there in (share > 0, probability > 0.5)
                )
            else:
                label, predicted = self.names[int(share.argmax())], self.names[int(probability.argmax())]
            rows.append({"id": id, "label": label, "predicted": predicted, **said})
        return rows


def validated_accuracy(validated: Mapping[str, Sequence[float]]) -> dict[float, float]:
    """The accuracy that validation data gave names, by the least confidence; see `Task.validated`."""
    return dict(zip(validated.get("confidence", ()), validated.get("accuracy", ()), strict=True))


def _likeliest(said: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """How likely the likeliest species of each recording is [N], and whether it is the true one, bool [N]."""
    confidence, predicted = said.max(dim=1)
    return confidence, predicted == truth.argmax(dim=1)


def joined_names(names: Sequence[str], there: Tensor) -> str:
    """Those of K species that are there, bool [K], as one cell of a CSV file."""
    return " ".join(name for name, yes in zip(names, there, strict=True) if yes) or "nocall"


def probability_columns(names: Sequence[str], probabilities: Tensor) -> dict[str, float]:
    """Probabilities [K] as cells of a CSV file, ``p_NAME`` each.

    Six digits, however small: among the species of one collection the smallest ones count.
    """
    return {f"p_{name}": float(f"{float(p):.6g}") for name, p in zip(names, probabilities, strict=True)}


def encoder_parameters(net: nn.Module) -> list[nn.Parameter]:
    """The parameters of all layers but the last, in order."""
    head = set(head_of(net).parameters())
    return [weight for weight in net.parameters() if weight not in head]


def _prior(classes: int) -> nn.Module:
    last = nn.Linear(_PRIOR_WIDTH, classes)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(4, _PRIOR_WIDTH), nn.ReLU(), last)
