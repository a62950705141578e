"""The one definition of every segmentation score, used by tasks, evaluation, baselines and reports alike.

A pixel is predicted to be foreground if its probability exceeds the threshold (`foreground`). All scores are
functions of four counts: TP, FP, FN and TN pixels of an image.

| score                 | of an image                                  | of a data set                       |
|-----------------------|----------------------------------------------|-------------------------------------|
| `iou`                 | TP / (TP + FP + FN)                          | mean over images                    |
| `iou_present`         | `iou`                                        | mean over images with foreground    |
| `iou_pooled`          |                                              | `iou` of the counts of all images   |
| `iou_two_class`       | mean of `iou` of foreground and background   | mean over images                    |
| `dice`                | 2 TP / (2 TP + FP + FN)                      | mean over images                    |
| `precision`           | TP / (TP + FP)                               | mean over images                    |
| `recall`              | TP / (TP + FN)                               | mean over images                    |
| `accuracy`            | (TP + TN) / pixels                           | mean over images                    |
| `over_segmentation`   | FP / (TP + FN)                               | mean over images with foreground    |
| `under_segmentation`  | FN / (TP + FN)                               | mean over images with foreground    |
| `false_positive_area` | FP / pixels                                  | mean over images without foreground |
| `absent_unmarked`     | 1 if FP = 0, else 0                          | mean over images without foreground |
| `legacy_iou`          | `iou_two_class` of the counts of one *batch* | mean over batches                   |

Where a denominator is 0 a score is 1 if truth and prediction are both empty, and 0 otherwise; so one false
alarm on an image without birds costs it its whole IoU, and `iou` is a mean of two things: how well birds are
marked, which is `iou_present`, and how often nothing is where there are none, `absent_unmarked`. What is of
images with foreground is NaN for one without, and the other way round; means leave those out, and are NaN if
nothing is left.

Most published code on BirdSoundsDenoising calls `legacy_iou` IoU: the background alone scores over .9 in it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from birdlab.errors import BirdlabError
from birdlab.metrics.rows import Rows

THRESHOLDS = tuple(k / 100 for k in range(1, 100))
"""The thresholds at which `SegmentationScores` can score, and from which it chooses."""


def threshold_logit(threshold: float) -> float:
    """The logit that a foreground pixel's logit exceeds, rounded to float32.

    Raises:
        BirdlabError: if the threshold isn't between 0 and 1.
    """
    if not 0 < threshold < 1:
        raise BirdlabError(f"threshold = {threshold!r}: must be between 0 and 1.")
    return torch.tensor(math.log(threshold / (1 - threshold)), dtype=torch.float32).item()


def foreground(logits: Tensor, threshold: float = 0.5) -> Tensor:
    """Where the probability of foreground exceeds a threshold.

    Logits are compared in float32: the probabilities of one logit may differ in their last digit between
    devices, and even within a tensor.

    Args:
        logits: of foreground, any shape and floating dtype.
        threshold: a probability.

    Returns:
        bool, of the logits' shape.
    """
    return logits.float() > threshold_logit(threshold)


_LIMITS = tuple(map(threshold_logit, THRESHOLDS))


@dataclass(frozen=True)
class Counts:
    """Pixels of each image by what was predicted and what is true: int64 tensors of one shape, such as [N].

    Attributes:
        tp: foreground predicted as such.
        fp: background predicted as foreground.
        fn: foreground predicted as background.
        tn: background predicted as such.
    """

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor

    @classmethod
    def of(cls, prediction: Tensor, truth: Tensor) -> "Counts":
        """Counts [...] of prediction and truth [..., F, T]; what isn't 0 is foreground."""
        if prediction.shape != truth.shape:
            raise ValueError(
                f"Prediction {tuple(prediction.shape)} and truth {tuple(truth.shape)} differ in shape."
            )
        prediction, truth = prediction != 0, truth != 0
        tp = (prediction & truth).count_nonzero(dim=(-2, -1))
        predicted, true = prediction.count_nonzero(dim=(-2, -1)), truth.count_nonzero(dim=(-2, -1))
        pixels = truth.shape[-2] * truth.shape[-1]
        return cls(tp=tp, fp=predicted - tp, fn=true - tp, tn=pixels - predicted - true + tp)

    @property
    def true_area(self) -> Tensor:
        """Foreground pixels of the truth."""
        return self.tp + self.fn

    @property
    def predicted_area(self) -> Tensor:
        """Foreground pixels of the prediction."""
        return self.tp + self.fp

    @property
    def pixels(self) -> Tensor:
        """All pixels."""
        return self.tp + self.fp + self.fn + self.tn

    def pooled(self) -> "Counts":
        """The counts of all images as one [1]."""
        return Counts(*(count.sum().reshape(1) for count in (self.tp, self.fp, self.fn, self.tn)))

    def of_background(self) -> "Counts":
        """The counts with foreground and background exchanged."""
        return Counts(tp=self.tn, fp=self.fn, fn=self.fp, tn=self.tp)


def iou(counts: Counts) -> Tensor:
    """Intersection over union of the foreground, float64."""
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn, counts)


def iou_present(counts: Counts) -> Tensor:
    """`iou` of an image with foreground, float64; NaN without."""
    return iou(counts).where(counts.true_area > 0, math.nan)


def iou_two_class(counts: Counts) -> Tensor:
    """Mean of the IoU of foreground and background, float64."""
    return (iou(counts) + iou(counts.of_background())) / 2


def dice(counts: Counts) -> Tensor:
    """Dice coefficient, also called F1, float64."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, counts)


def precision(counts: Counts) -> Tensor:
    """Share of the predicted foreground that is true, float64."""
    return _ratio(counts.tp, counts.predicted_area, counts)


def recall(counts: Counts) -> Tensor:
    """Share of the true foreground that is predicted, float64."""
    return _ratio(counts.tp, counts.true_area, counts)


def accuracy(counts: Counts) -> Tensor:
    """Share of all pixels that is right, float64."""
    return (counts.tp + counts.tn).double() / counts.pixels


def over_segmentation(counts: Counts) -> Tensor:
    """False alarms by the area of the truth, float64; NaN without foreground."""
    return _share(counts.fp, counts.true_area, counts.true_area > 0)


def under_segmentation(counts: Counts) -> Tensor:
    """Missed foreground by the area of the truth, float64; NaN without foreground."""
    return _share(counts.fn, counts.true_area, counts.true_area > 0)


def false_positive_area(counts: Counts) -> Tensor:
    """Share of an image without foreground that is predicted to be some, float64; NaN with foreground."""
    return _share(counts.fp, counts.pixels, counts.true_area == 0)


def absent_unmarked(counts: Counts) -> Tensor:
    """Whether nothing is predicted in an image without foreground, float64; NaN with foreground."""
    return (counts.fp == 0).double().where(counts.true_area == 0, math.nan)


PER_IMAGE: Mapping[str, Callable[[Counts], Tensor]] = {
    score.__name__: score
    for score in (
        iou,
        iou_present,
        iou_two_class,
        dice,
        precision,
        recall,
        accuracy,
        over_segmentation,
        under_segmentation,
        false_positive_area,
        absent_unmarked,
    )
}
"""The scores of an image by name; those of a data set are their means."""


def summarise(counts: Counts) -> dict[str, float]:
    """The scores of a data set from the counts [N] of its images.

    Returns:
        Every score of the module's table but `legacy_iou`, and the numbers of ``images`` and ``empty_images``
        (without foreground).
    """
    means = {name: score(counts).nanmean().item() for name, score in PER_IMAGE.items()}
    return means | {
        "iou_pooled": iou(counts.pooled()).item(),
        "images": len(counts.tp),
        "empty_images": int((counts.true_area == 0).sum()),
    }


class SegmentationScores(Rows):
    """Scores of a data set at any of `THRESHOLDS`, from one pass over its images.

    Nothing is averaged before the end: neither the batch size nor the number of processes changes a score. (A
    distributed sampler that repeats samples, so that each process has as many, does.) What is kept is
    `level_counts`, 1.6 kB an image.
    """

    def __init__(self) -> None:
        super().__init__(2, len(THRESHOLDS) + 1)

    def update(self, logits: Tensor | Sequence[Tensor], truth: Tensor | Sequence[Tensor]) -> None:
        """Count the pixels of some images.

        Args:
            logits: of foreground, [B, F, T] or a list of [F_i, T_i]; any floating dtype, NaN is background.
            truth: of the same shapes; what isn't 0 is foreground.
        """
        if isinstance(logits, Tensor) and isinstance(truth, Tensor):
            self.rows.append(level_counts(logits, truth))
        else:
            for image_logits, image_truth in zip(logits, truth, strict=True):
                self.rows.append(level_counts(image_logits[None], image_truth[None]))

    def compute(self) -> dict[str, float]:
        """The scores of the data set at a threshold of .5."""
        return self.scores()

    def scores(self, threshold: float = 0.5) -> dict[str, float]:
        """The scores of the data set: `summarise`."""
        return summarise(self.counts(threshold))

    def per_image(self, threshold: float = 0.5) -> dict[str, Tensor]:
        """The scores of each image by name, float64 [N], in the order of updates, process after process."""
        counts = self.counts(threshold)
        return {name: score(counts) for name, score in PER_IMAGE.items()}

    def counts(self, threshold: float = 0.5) -> Counts:
        """The counts [N] of all images.

        Raises:
            BirdlabError: if the threshold isn't one of `THRESHOLDS`.
        """
        index = round(100 * threshold) - 1
        # The tolerance is for thresholds that have been float32.
        if not 0 <= index < len(THRESHOLDS) or abs(THRESHOLDS[index] - threshold) > 1e-6:
            raise BirdlabError(f"threshold = {threshold!r}: there are scores at 0.01, 0.02, ..., 0.99.")
        counts = _by_threshold(self.gathered())
        return Counts(tp=counts.tp[index], fp=counts.fp[index], fn=counts.fn[index], tn=counts.tn[index])

    def iou_by_threshold(self) -> list[float]:
        """The mean IoU at each of `THRESHOLDS`."""
        means: list[float] = iou(_by_threshold(self.gathered())).mean(dim=1).tolist()
        return means

    def best_threshold(self) -> float:
        """The threshold of the highest mean IoU; among equals the one nearest to .5."""
        means = self.iou_by_threshold()
        middle = THRESHOLDS.index(0.5)
        best = max(range(len(THRESHOLDS)), key=lambda index: (means[index], -abs(index - middle)))
        return THRESHOLDS[best]


class LegacyIoU(Rows):
    """Two-class IoU at .5 of each batch as a whole, averaged over batches, as published code computes it.

    It depends on the batch size and the order of the images: only for comparing with such numbers.
    """

    def __init__(self) -> None:
        super().__init__(4)

    def update(self, logits: Tensor, truth: Tensor) -> None:
        """Count the pixels of one batch of foreground logits and truth [B, F, T]."""
        batch = Counts.of(foreground(logits), truth).pooled()
        self.rows.append(torch.stack([batch.tp, batch.fp, batch.fn, batch.tn], dim=1))

    def compute(self) -> float:
        """The score in 0..1."""
        return iou_two_class(Counts(*self.gathered().unbind(1))).mean().item()


def level_counts(logits: Tensor, truth: Tensor) -> Tensor:
    """How many pixels of each image and class exceed how many of `THRESHOLDS`.

    Args:
        logits: of foreground [B, F, T].
        truth: [B, F, T]; what isn't 0 is foreground.

    Returns:
        int64 [B, 2, 100]: ``[i, c, n]`` is the number of pixels of image i and class c whose probability
        exceeds n thresholds, which are the lowest n.
    """
    if logits.shape != truth.shape:
        raise ValueError(f"Logits {tuple(logits.shape)} and truth {tuple(truth.shape)} differ in shape.")
    values = logits.float().flatten()
    # Searching all thresholds for every pixel would take five times as long. Its probability says which one
    # is nearest (here rounding doesn't matter), and that one's logit decides, exactly as in `foreground`.
    nearest = values.sigmoid().mul_(100).sub_(0.5).int().clamp_(0, len(THRESHOLDS) - 1)
    limits = torch.tensor(_LIMITS, device=values.device)
    level = nearest + (values > limits.index_select(0, nearest))

    images, classes, levels = len(logits), 2, len(THRESHOLDS) + 1
    image = torch.arange(images, dtype=torch.int32, device=values.device).view(-1, 1, 1)
    cell = (image * classes + (truth != 0)).flatten().mul_(levels).add_(level)
    return cell.bincount(minlength=images * classes * levels).view(images, classes, levels)


def _by_threshold(levels: Tensor) -> Counts:
    """Counts [99, N] at each of `THRESHOLDS`, from level counts [N, 2, 100]."""
    # above[l] is the number of pixels that exceed at least l thresholds.
    above = levels.flip(-1).cumsum(-1).flip(-1)
    background, true = above.permute(1, 2, 0)
    return Counts(tp=true[1:], fp=background[1:], fn=true[0] - true[1:], tn=background[0] - background[1:])


def _ratio(numerator: Tensor, denominator: Tensor, counts: Counts) -> Tensor:
    both_empty = counts.tp + counts.fp + counts.fn == 0
    return torch.where(denominator > 0, numerator.double() / denominator.clamp_min(1), both_empty.double())


def _share(part: Tensor, whole: Tensor, exists: Tensor) -> Tensor:
    return torch.where(exists, part.double() / whole.clamp_min(1), math.nan)
