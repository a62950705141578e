"""Both tasks at once: which pixels are bird, and who is heard."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from birdlab.errors import BirdlabError
from birdlab.metrics import ReliabilityCurve, SpeciesScores, species_temperature
from birdlab.metrics.classification import hits_and_errors
from birdlab.models.two_heads import TwoHeads
from birdlab.tasks.base import Batch
from birdlab.tasks.classification import joined_names, probability_columns
from birdlab.tasks.segmentation import SegmentationTask, foreground_logits, truth

_SCORED = ("average_precision", "roc_auc", "micro_f1")


class MultitaskTask(SegmentationTask):
    """A `SegmentationTask` whose network also says who is heard in a window; there may be several, or nobody.

    Scores of that begin with ``callers_``; see `SpeciesScores` for several species.

    Args:
        args, settings: see `SegmentationTask`. The network is a `TwoHeads`.
        names: of who may be heard, in the order of the logits.
        mask_weight: of the loss of the mask; 0 learns the names alone.
        callers_weight: of the names' binary cross-entropy; 0 learns the mask alone.

    Raises:
        BirdlabError: if the names are not known, a weight is negative or both are 0, or the network has one
            head only.
    """

    net: TwoHeads
    callers_temperature: Tensor
    """By which the logits of who is heard are divided where probabilities are reported; see `temperature`."""

    def __init__(
        self,
        *args: Any,
        names: Sequence[str] | None,
        mask_weight: float = 1.0,
        callers_weight: float = 0.5,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        if not names:
            raise BirdlabError("task.names has no value: birdlab.train takes it from the data set.")
        weights = {"mask_weight": mask_weight, "callers_weight": callers_weight}
        for name, weight in weights.items():
            if not weight >= 0:
                raise BirdlabError(f"task.module.{name}={weight}: give 0 or more.")
        if not any(weights.values()):
            raise BirdlabError(
                "task.module.mask_weight and callers_weight are both 0: there is nothing to learn."
            )
        if not isinstance(self.net, TwoHeads):
            raise BirdlabError(
                f"task=multitask: {type(self.net).__name__} has one head; set model=two_heads."
            )
        self.names = tuple(names)
        self.mask_weight, self.callers_weight = mask_weight, callers_weight
        self.logged = {**self.logged, **{f"val/callers_{name}": "max" for name in _SCORED}}
        self.register_buffer("callers_temperature", torch.tensor(1.0))
        self.val_callers = SpeciesScores(len(names), multilabel=True)
        self.test_callers = SpeciesScores(len(names), multilabel=True)
        self._test_ids: list[str] = []

    def both(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits of bird [B, F, T] and of who is heard [B, K], from one pass."""
        mask, callers = self.net.both(self.inputs(batch).contiguous(memory_format=self.torch_memory_format))
        return foreground_logits(mask), callers

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        mask, callers = self.both(batch)
        # A weight of 0 keeps its part in the graph: parallel training waits for every parameter's gradient.
        loss: Tensor = self.mask_weight * self.loss(mask, truth(batch))
        loss = loss + self.callers_weight * F.binary_cross_entropy_with_logits(callers, batch["label"])
        self.train_loss.update(loss.detach())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """See `SegmentationTask.validation_step`; the loss is the mask's."""
        mask, callers = self.both(batch)
        self.val_callers.update(callers, batch["label"])
        return self.count_validation(mask, batch)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        scores = self.val_callers.compute()
        if not self.trainer.sanity_checking:
            logits, truth = self.val_callers.logits_and_truth()
            self.callers_temperature.fill_(species_temperature(logits, truth, multilabel=True))
        self.log_dict({f"val/callers_{name}": scores[name] for name in _SCORED})
        self.val_callers.reset()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        mask, callers = self.both(batch)
        self.test_callers.update(callers, batch["label"])
        self._test_ids += batch["id"]
        self.count_test(mask, batch)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        logits, truth = self.test_callers.logits_and_truth()
        probabilities = (logits.float() / self.callers_temperature.to(logits.device)).sigmoid()
        scores = self.test_callers.compute()
        scores["calibration_error"] = ReliabilityCurve.of(probabilities, truth > 0).error
        named = {f"callers_{name}": scores[name] for name in (*_SCORED, "calibration_error")}
        ids, self._test_ids = self.gathered(self._test_ids), []
        said = {row["id"]: row for row in self._said(ids, logits, probabilities, truth)}
        self.tested = replace(
            self.tested,
            # The threshold is the mask's: at either, the names are the same.
            scores=self.tested.scores | named,
            tuned=(self.tested.tuned or {}) | named,
            samples=[row | said[row["id"]] for row in self.tested.samples],
        )
        self.log_dict({f"{block}/{name}": named[name] for block in ("test", "test_tuned") for name in named})
        self.test_callers.reset()

    def _said(
        self, ids: Sequence[str], logits: Tensor, probabilities: Tensor, truth: Tensor
    ) -> list[dict[str, Any]]:
        """Who is heard in each window and who is said to be, for ``scores.csv``; and how many of these are
        right, or wrong, from which micro F1 follows for any choice of windows."""
        counts = (count.tolist() for count in hits_and_errors(logits, truth))
        return [
            {"id": id, "label": joined_names(self.names, there > 0)}
            | probability_columns(self.names, probability)
            | {"callers_right": right, "callers_wrong": wrong}
            for id, probability, there, right, wrong in zip(ids, probabilities, truth, *counts, strict=True)
        ]
