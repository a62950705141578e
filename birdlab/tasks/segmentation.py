"""Segmentation: which pixels of a spectrogram are bird."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from birdlab.metrics import LegacyIoU, SegmentationScores
from birdlab.tasks.base import Batch, Task


class SegmentationTask(Task):
    """Train and score a network that returns logits [B, K, F, T] for K = 1 (bird) or K = 2 classes.

    Validation scores are at the network's size and end in ``_resized``; test scores are at the size of the
    native masks. The threshold that validation data ask for is kept with the weights.
    """

    logged: ClassVar[Mapping[str, str]] = {
        "train/loss": "min",
        "val/loss": "min",
        "val/iou_resized": "max",
        "val/iou_best_resized": "max",
        "val/iou_pooled_resized": "max",
        "val/dice_resized": "max",
        "val/legacy_iou": "max",
    }

    threshold: Tensor
    tested: dict[str, dict[str, float]]
    """Scores of the last test, at .5 and at the chosen threshold; what is logged is rounded to float32."""

    validated: dict[str, list[float]]
    """Precision and recall at each of `THRESHOLDS` in the last validation; saved with the weights."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.validated = {}
        self.register_buffer("threshold", torch.tensor(0.5))
        self.val_scores = SegmentationScores()
        self.test_scores = SegmentationScores()
        self.val_legacy_iou, self.test_legacy_iou = LegacyIoU(), LegacyIoU()

    def logits(self, image: Tensor) -> Tensor:
        """Logits [B, F, T] of bird against background for grey images uint8 [B, F, T]."""
        return foreground_logits(self(self.as_input(image)))

    @torch.inference_mode()
    def probabilities(self, batch: Batch) -> Tensor:
        """Probabilities [B, F, T] of bird at the network's size."""
        return self.logits(batch["image"]).float().sigmoid()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self.logits(batch["image"]), batch["mask"])
        self.train_loss.update(loss.detach())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.logits(batch["image"])
        self.val_loss.update(self.loss(logits, batch["mask"]), len(logits))
        self.val_scores.update(logits, batch["mask"])
        self.val_legacy_iou.update(logits, batch["mask"])

    def on_validation_epoch_end(self) -> None:
        chosen = self.val_scores.best_threshold()
        at_half, at_chosen = self.val_scores.scores(0.5), self.val_scores.scores(chosen)
        if not self.trainer.sanity_checking:
            self.threshold.fill_(chosen)
            self.validated = self.val_scores.precision_and_recall()
        self.log_dict(
            {
                "val/loss": self.val_loss.compute(),
                "val/threshold": chosen,
                "val/iou_resized": at_half["iou"],
                "val/iou_best_resized": at_chosen["iou"],
                "val/iou_pooled_resized": at_half["iou_pooled"],
                "val/dice_resized": at_half["dice"],
                "val/legacy_iou": self.val_legacy_iou.compute(),
            }
        )
        for metric in (self.val_loss, self.val_scores, self.val_legacy_iou):
            metric.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["birdlab"]["validation"] = self.validated

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.logits(batch["image"])
        self.test_loss.update(self.loss(logits, batch["mask"]), len(logits))
        self.test_legacy_iou.update(logits, batch["mask"])
        self.test_scores.update(to_native(logits, batch["native_mask"]), batch["native_mask"])

    def on_test_epoch_end(self) -> None:
        at_half = self.test_scores.scores(0.5)
        at_half |= {
            "loss": float(self.test_loss.compute()),
            "legacy_iou": float(self.test_legacy_iou.compute()),
        }
        self.tested = {"test": at_half, "test_tuned": self.test_scores.scores(float(self.threshold))}
        for stage, scores in self.tested.items():
            self.log_dict({f"{stage}/{name}": value for name, value in scores.items()})
        for metric in (self.test_loss, self.test_scores, self.test_legacy_iou):
            metric.reset()


def foreground_logits(logits: Tensor) -> Tensor:
    """Logits [B, F, T] of bird against background from a network's [B, K, F, T], K = 1 or 2.

    For two classes the difference of the logits is softmax exactly: softmax(z)_1 = sigmoid(z_1 - z_0).
    """
    if logits.shape[1] == 1:
        return logits[:, 0]
    if logits.shape[1] == 2:
        return logits[:, 1] - logits[:, 0]
    raise ValueError(f"A segmentation network returns 1 or 2 channels of logits, not {logits.shape[1]}.")


def to_native(logits: Tensor, native_masks: Sequence[Tensor]) -> list[Tensor]:
    """Logits [B, F, T] resized bilinearly to the size of each native mask [F_i, T_i]."""
    return [
        F.interpolate(one[None, None].float(), size=mask.shape, mode="bilinear", align_corners=False)[0, 0]
        for one, mask in zip(logits, native_masks, strict=True)
    ]
