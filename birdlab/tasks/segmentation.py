"""Segmentation: which pixels of a spectrogram are bird."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from birdlab.data.masks import call_columns
from birdlab.metrics import (
    PER_IMAGE,
    Counts,
    LegacyIoU,
    LogitHistogram,
    Reliability,
    SegmentationScores,
    scaled,
)
from birdlab.tasks.base import Batch, Task, Tested


class SegmentationTask(Task):
    """Train and score a network that returns logits [B, K, F, T] for K = 1 (bird) or K = 2 classes.

    Validation scores are at the network's size and end in ``_resized``; test scores are at the size of the
    native masks. The threshold and the temperature that validation data ask for are kept with the weights,
    and so are precision and recall at others (`LogitHistogram.precision_and_recall`).

    Args:
        args, settings: see `Task`.
        channels: of the network's input; the grey image is repeated.
        front_end: makes the network's input [B, ``channels``, F, T] from images [B, F, T] in 0..1 instead.
    """

    logged: Mapping[str, str] = {
        "train/loss": "min",
        "val/loss": "min",
        "val/iou_resized": "max",
        "val/iou_best_resized": "max",
        "val/iou_pooled_resized": "max",
        "val/dice_resized": "max",
        "val/legacy_iou": "max",
    }

    threshold: Tensor
    """One of `THRESHOLDS`, of probabilities before the temperature, at which scores count; see
    `reported_threshold`."""

    def __init__(
        self, *args: Any, channels: int = 1, front_end: nn.Module | None = None, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.channels = channels
        self.front_end = front_end
        self.register_buffer("threshold", torch.tensor(0.5))
        self.val_scores = SegmentationScores()
        self.test_scores = SegmentationScores()
        self._test_rows: list[dict[str, Any]] = []
        self.val_logits = LogitHistogram()
        self.test_reliability, self.test_unscaled = Reliability(), Reliability()
        self.val_legacy_iou, self.test_legacy_iou = LegacyIoU(), LegacyIoU()

    def as_input(self, image: Tensor) -> Tensor:
        """What the network sees of grey bytes [B, F, T], as images travel: float [B, C, F, T]."""
        return self.of_picture(image / 255)

    def of_picture(self, picture: Tensor) -> Tensor:
        """What the network sees of images [B, F, T] in 0..1: float [B, C, F, T]."""
        if self.front_end is None:
            return picture.unsqueeze(1).expand(-1, self.channels, -1, -1)
        made: Tensor = self.front_end(picture)
        return made

    def inputs(self, batch: Batch) -> Tensor:
        """See `Task.inputs`."""
        return self.as_input(batch["image"])

    def logits(self, image: Tensor) -> Tensor:
        """Logits [B, F, T] of bird against background for grey images uint8 [B, F, T]."""
        return foreground_logits(self(self.as_input(image)))

    @torch.inference_mode()
    def probabilities(self, batch: Batch) -> Tensor:
        """Probabilities [B, F, T] of bird at the network's size, as they are reported."""
        return self.calibrated(self.logits(batch["image"]).float())

    def calibrated(self, logits: Tensor) -> Tensor:
        """Probabilities, as they are reported, of foreground logits of any shape."""
        return (logits / self.temperature.to(logits.device)).sigmoid()

    @property
    def reported_threshold(self) -> float:
        """Of probabilities as they are reported: exceeded where the network's own exceed ``threshold``."""
        return self.reported(round(float(self.threshold), 2))  # a multiple of 1/100, kept as float32

    def reported(self, probability: float) -> float:
        """A probability of the network, between 0 and 1, as it is reported."""
        return scaled(probability, float(self.temperature))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self.logits(batch["image"]), truth(batch))
        self.train_loss.update(loss.detach())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch, for `FiniteLoss` to look at."""
        return self.count_validation(self.logits(batch["image"]), batch)

    def count_validation(self, logits: Tensor, batch: Batch) -> Tensor:
        """Count what a network says [B, F, T] of a validation batch; returns the loss."""
        loss: Tensor = self.loss(logits, truth(batch))
        self.val_loss.update(loss, len(logits))
        self.val_scores.update(logits, batch["mask"])
        self.val_logits.update(logits, batch["mask"])
        self.val_legacy_iou.update(logits, batch["mask"])
        return loss

    def on_validation_epoch_end(self) -> None:
        chosen = self.val_scores.best_threshold()
        at_half, at_chosen = self.val_scores.scores(0.5), self.val_scores.scores(chosen)
        temperature = self.val_logits.compute()
        if not self.trainer.sanity_checking:
            self.threshold.fill_(chosen)
            self.temperature.fill_(temperature)
            self.validated = self.val_logits.precision_and_recall(temperature)
        self.log_dict(
            {
                "val/loss": self.val_loss.compute(),
                "val/threshold": chosen,
                "val/temperature": temperature,
                "val/iou_resized": at_half["iou"],
                "val/iou_best_resized": at_chosen["iou"],
                "val/iou_pooled_resized": at_half["iou_pooled"],
                "val/dice_resized": at_half["dice"],
                "val/legacy_iou": self.val_legacy_iou.compute(),
            }
        )
        for metric in (self.val_loss, self.val_scores, self.val_logits, self.val_legacy_iou):
            metric.reset()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.count_test(self.logits(batch["image"]), batch)

    def count_test(self, logits: Tensor, batch: Batch) -> None:
        """Count what a network says [B, F, T] of a test batch, at the size of the native masks."""
        self.test_loss.update(self.loss(logits, truth(batch)), len(logits))
        self.test_legacy_iou.update(logits, batch["mask"])
        for one, mask, id in zip(logits, batch["native_mask"], batch["id"], strict=True):
            (native,) = to_native(one[None], [mask])
            self.test_scores.update([native], [mask])
            self.test_reliability.update(native / self.temperature, mask)
            self.test_unscaled.update(native, mask)
            self._test_rows.append({"id": id, "call_columns": call_columns(mask)})

    def on_test_epoch_end(self) -> None:
        at_half = self.test_scores.scores(0.5)
        self.reliability = self.test_reliability.curve()
        self.unscaled_reliability = self.test_unscaled.curve()
        at_half |= self.calibration_errors() | {
            "loss": self.test_loss.compute(),
            "legacy_iou": self.test_legacy_iou.compute(),
        }
        chosen = float(self.threshold)
        rows, self._test_rows = self.gathered(self._test_rows), []
        self.tested = Tested(
            scores=at_half,
            samples=sample_rows(rows, self.test_scores.counts(chosen)),
            tuned=self.test_scores.scores(chosen),
            threshold=self.reported_threshold,
            temperature=float(self.temperature),
        )
        for stage, scores in {"test": self.tested.scores, "test_tuned": self.tested.tuned or {}}.items():
            self.log_dict({f"{stage}/{name}": value for name, value in scores.items()})
        for metric in (self.test_loss, self.test_scores, self.test_legacy_iou):
            metric.reset()
        for curve in (self.test_reliability, self.test_unscaled):
            curve.reset()


def sample_rows(samples: Sequence[Mapping[str, Any]], counts: Counts) -> list[dict[str, Any]]:
    """A row for each sample: its own, its scores, its pixels by what was predicted and what is true."""
    columns: dict[str, list[Any]] = {name: score(counts).tolist() for name, score in PER_IMAGE.items()} | {
        "true_positive": counts.tp.tolist(),
        "false_positive": counts.fp.tolist(),
        "false_negative": counts.fn.tolist(),
        "true_negative": counts.tn.tolist(),
        "foreground_share": (counts.true_area.double() / counts.pixels).tolist(),
    }
    return [
        {**sample, **{name: values[row] for name, values in columns.items()}}
        for row, sample in enumerate(samples)
    ]


def truth(batch: Batch) -> Tensor:
    """Where a batch has bird, bool [B, F, T]: every class but the background, as in scores.

    A mask may have more than one foreground class, or several pixel values that mean the same.
    """
    mask: Tensor = batch["mask"]
    return mask != 0


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
