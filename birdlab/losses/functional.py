"""The mathematics of the segmentation losses.

Every function takes foreground logits and a truth of equal shape [B, ...] (spectrograms: [B, F, T]) that
holds 0 and 1 in any dtype. All computing is done in float32 outside autocast (in float64 for float64
logits): in float16 the sum over the pixels of one image overflows.

Overlap losses rest on soft counts over the pixels of a sample, with p = sigmoid(logit) and y the truth:

    TP = Σ p y        FN = Σ (1 - p) y        FP = Σ p (1 - y)

Weights are named after what they weigh: the literature's alpha, beta and gamma contradict each other.
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Literal, ParamSpec

import torch
from torch import Tensor
from torch.nn import functional as F

Reduction = Literal["mean", "sum", "none"]
"""The mean or the sum over pixels (or, for overlap losses, samples), or all values."""
Sums = Literal["sample", "batch"]
"""Whether overlap is counted over each sample, or over the batch as if it were one large sample."""
Empty = Literal["keep", "skip"]
"""What a sample without foreground in its truth does.

``keep`` leaves it to the formula: false alarms cost something if ``smooth > 0``; with ``smooth = 0`` the
sample costs 1, and has no gradient, unless nothing at all is predicted. ``skip`` takes it out of the mean and
the sum (unreduced, it is 0); where all are empty the loss is 0.
"""

SMALLEST_ERROR = 1e-6
"""1 - TI counts as at least this much: the gradient of x^0.75 is infinite at 0."""

P = ParamSpec("P")
Loss = Callable[Concatenate[Tensor, Tensor, P], Tensor]


def _in_float32(loss: Loss[P]) -> Loss[P]:
    """Check the shapes, and compute a loss in float32 (float64 for float64 logits) outside autocast."""

    @wraps(loss)
    def wrapped(logits: Tensor, truth: Tensor, /, *args: P.args, **settings: P.kwargs) -> Tensor:
        if logits.shape != truth.shape:
            # They might broadcast, and train towards nonsense.
            raise ValueError(f"Logits {tuple(logits.shape)} and truth {tuple(truth.shape)} differ in shape.")
        dtype = torch.promote_types(logits.dtype, torch.float32)
        with torch.autocast(logits.device.type, enabled=False):
            return loss(logits.to(dtype), truth.to(dtype), *args, **settings)

    return wrapped


@_in_float32
def binary_cross_entropy(
    logits: Tensor, truth: Tensor, *, positive_weight: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Binary cross-entropy: -(w y ln p + (1 - y) ln(1 - p)) of each pixel.

    Args:
        logits: foreground logits [B, ...].
        truth: 0 and 1, of equal shape.
        positive_weight: w, of foreground pixels; above 1 it buys recall with precision.
        reduction: over pixels.

    Returns:
        A scalar, or [B, ...] for ``reduction="none"``.
    """
    weight = None
    if positive_weight != 1:
        # Filled on the device; torch.tensor(positive_weight) would be a copy that the device waits for.
        weight = torch.full((), positive_weight, dtype=logits.dtype, device=logits.device)
    return F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weight, reduction=reduction)


@_in_float32
def focal_loss(
    logits: Tensor,
    truth: Tensor,
    *,
    exponent: float = 2.0,
    foreground_share: float | None = 0.25,
    reduction: Reduction = "mean",
) -> Tensor:
    """Focal loss: -a (1 - q)^exponent ln q of each pixel, q being the probability of its true class.

    Lin et al., "Focal loss for dense object detection", ICCV 2017. They divide the sum by the number of
    foreground boxes; ``mean`` divides by the number of pixels.

    Args:
        logits: foreground logits [B, ...].
        truth: 0 and 1, of equal shape.
        exponent: the greater, the less a pixel counts that is right already (their gamma, 2); 0 leaves
            cross-entropy.
        foreground_share: a of foreground pixels, 1 - a being that of background pixels (their alpha, .25);
            None weighs both 1.
        reduction: over pixels.

    Returns:
        A scalar, or [B, ...] for ``reduction="none"``.
    """
    # With z the logit of the true class, -ln q = softplus(-z) and -ln(1 - q) = z + softplus(-z): so written,
    # neither the logarithm nor the power ever sees a 0.
    true_logits = logits * (2 * truth - 1)
    cross_entropy = F.softplus(-true_logits)
    losses = cross_entropy * torch.exp(-exponent * (true_logits + cross_entropy))
    if foreground_share is not None:
        losses = losses * (1 - foreground_share + (2 * foreground_share - 1) * truth)
    return _reduce(losses, reduction)


@_in_float32
def tversky_index(
    logits: Tensor,
    truth: Tensor,
    *,
    fn_weight: float = 0.7,
    fp_weight: float = 0.3,
    smooth: float = 1.0,
    sums: Sums = "sample",
) -> Tensor:
    """Tversky index: TI = (TP + s) / (TP + fn_weight FN + fp_weight FP + s).

    Tversky, "Features of similarity", Psychological Review 1977; for segmentation Salehi et al., "Tversky
    loss function for image segmentation using 3D fully convolutional deep networks", MLMI 2017. Both weights
    1/2 give Dice, both 1 give IoU.

    Args:
        logits: foreground logits [B, ...].
        truth: 0 and 1, of equal shape.
        fn_weight: of missed foreground.
        fp_weight: of false alarms.
        smooth: s, in pixels.
        sums: over each ``sample`` or over the ``batch``.

    Returns:
        In 0..1, [B] or, for ``sums="batch"``, [1].
    """
    error, _ = _tversky_error(logits, truth, fn_weight, fp_weight, smooth, sums)
    return 1 - error


@_in_float32
def tversky_loss(
    logits: Tensor,
    truth: Tensor,
    *,
    fn_weight: float = 0.7,
    fp_weight: float = 0.3,
    smooth: float = 1.0,
    sums: Sums = "sample",
    empty: Empty = "keep",
    reduction: Reduction = "mean",
) -> Tensor:
    """Tversky loss: 1 - TI (Salehi et al., MLMI 2017); see `tversky_index`.

    Args:
        logits: foreground logits [B, ...].
        truth: 0 and 1, of equal shape.
        fn_weight: of missed foreground.
        fp_weight: of false alarms.
        smooth: s, in pixels.
        sums: over each ``sample`` or over the ``batch``.
        empty: ``keep`` or ``skip`` samples of empty truth.
        reduction: over samples.

    Returns:
        A scalar; for ``reduction="none"`` [B] or, for ``sums="batch"``, [1].
    """
    error, area = _tversky_error(logits, truth, fn_weight, fp_weight, smooth, sums)
    return _reduce(error, reduction, _counted(area, empty))


@_in_float32
def focal_tversky_loss(
    logits: Tensor,
    truth: Tensor,
    *,
    fn_weight: float = 0.7,
    fp_weight: float = 0.3,
    exponent: float = 0.75,
    smooth: float = 1.0,
    sums: Sums = "sample",
    empty: Empty = "keep",
    reduction: Reduction = "mean",
) -> Tensor:
    """Focal Tversky loss: (1 - TI)^exponent of each sample; see `tversky_index`.

    Abraham & Khan, "A novel focal Tversky loss function with improved attention U-Net for lesion
    segmentation", ISBI 2019; the exponent is their 1/γ with γ = 4/3. An exponent below 1 steepens the loss
    of samples that are nearly right, one above 1 flattens it. 1 - TI counts as at least 1e-6: at the default
    exponent a perfect sample costs 3.2e-5 and has no gradient.

    Args:
        logits: foreground logits [B, ...].
        truth: 0 and 1, of equal shape.
        fn_weight: of missed foreground.
        fp_weight: of false alarms.
        exponent: of each sample's error.
        smooth: s, in pixels.
        sums: over each ``sample`` or over the ``batch``.
        empty: ``keep`` or ``skip`` samples of empty truth.
        reduction: over samples.

    Returns:
        A scalar; for ``reduction="none"`` [B] or, for ``sums="batch"``, [1].
    """
    error, area = _tversky_error(logits, truth, fn_weight, fp_weight, smooth, sums)
    return _reduce(error.clamp_min(SMALLEST_ERROR) ** exponent, reduction, _counted(area, empty))


def dice_loss(
    logits: Tensor,
    truth: Tensor,
    *,
    smooth: float = 1.0,
    sums: Sums = "sample",
    empty: Empty = "keep",
    reduction: Reduction = "mean",
) -> Tensor:
    """Soft Dice loss: 1 - (2 TP + s) / (2 TP + FN + FP + s) = 1 - (2 Σ p y + s) / (Σ p + Σ y + s).

    Milletari et al., "V-Net", 3DV 2016, but without squares in the denominator.

    Args:
        logits: foreground logits [B, ...].
        truth: 0 and 1, of equal shape.
        smooth: s, in pixels.
        sums: over each ``sample`` or over the ``batch``.
        empty: ``keep`` or ``skip`` samples of empty truth.
        reduction: over samples.

    Returns:
        A scalar; for ``reduction="none"`` [B] or, for ``sums="batch"``, [1].
    """
    halves = {"fn_weight": 0.5, "fp_weight": 0.5, "smooth": smooth / 2}
    return tversky_loss(logits, truth, **halves, sums=sums, empty=empty, reduction=reduction)


@_in_float32
def lovasz_hinge_loss(
    logits: Tensor,
    truth: Tensor,
    *,
    sums: Sums = "sample",
    empty: Empty = "keep",
    reduction: Reduction = "mean",
) -> Tensor:
    """Lovász hinge: 1 - IoU, extended from right and wrong pixels to their hinge errors.

    Berman et al., "The Lovász-Softmax loss", CVPR 2018. With the hinge errors m = 1 - z (2 y - 1) in falling
    order, each counts times what 1 - IoU gains when its pixel joins the wrong ones before it. Where the truth
    is empty, one wrong pixel is all it takes: the greatest error alone counts.

    Args:
        logits: foreground logits z [B, ...].
        truth: 0 and 1, of equal shape.
        sums: over each ``sample`` or over the ``batch``.
        empty: ``keep`` or ``skip`` samples of empty truth.
        reduction: over samples.

    Returns:
        A scalar; for ``reduction="none"`` [B] or, for ``sums="batch"``, [1].
    """
    logits, truth = _samples(logits, sums), _samples(truth, sums)
    errors, order = (1 - logits * (2 * truth - 1)).sort(dim=1, descending=True)
    area = truth.sum(dim=1, keepdim=True)
    truth = truth.gather(1, order)
    iou = (area - truth.cumsum(dim=1)) / (area + (1 - truth).cumsum(dim=1))
    gains = torch.diff(1 - iou, dim=1, prepend=torch.zeros_like(area))
    return _reduce((errors.relu() * gains).sum(dim=1), reduction, _counted(area[:, 0], empty))


def _tversky_error(
    logits: Tensor, truth: Tensor, fn_weight: float, fp_weight: float, smooth: float, sums: Sums
) -> tuple[Tensor, Tensor]:
    """1 - TI and the foreground area of each sample, both [B] or [1]."""
    truth = _samples(truth, sums)
    probability = _samples(logits, sums).sigmoid()
    area = truth.sum(dim=1)
    # FN and FP follow from three sums; counting them would be two more passes over the pixels each.
    tp = (probability * truth).sum(dim=1)
    error = fn_weight * (area - tp) + fp_weight * (probability.sum(dim=1) - tp)
    # 1 - TI in a form that keeps its digits near 0, and is 0 where truth and prediction are empty.
    return error / (tp + error + smooth).clamp_min(SMALLEST_ERROR), area


def _samples(values: Tensor, sums: Sums) -> Tensor:
    """[B, ...] as [samples, pixels]; overlap is counted along the second dimension."""
    if sums == "sample":
        return values.flatten(1)
    if sums == "batch":
        return values.reshape(1, -1)
    raise ValueError(f"sums={sums!r}: must be 'sample' or 'batch'.")


def _counted(area: Tensor, empty: Empty) -> Tensor | None:
    """Which samples count, by the area of their truth; None for all."""
    if empty == "keep":
        return None
    if empty == "skip":
        return area > 0
    raise ValueError(f"empty={empty!r}: must be 'keep' or 'skip'.")


def _reduce(losses: Tensor, reduction: Reduction, counted: Tensor | None = None) -> Tensor:
    if counted is not None:
        losses = losses * counted
    if reduction == "mean":
        return losses.mean() if counted is None else losses.sum() / counted.sum().clamp_min(1)
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f"reduction={reduction!r}: must be 'mean', 'sum' or 'none'.")
