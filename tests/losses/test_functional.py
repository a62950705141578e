"""The losses against hand-worked numbers, their formulas written out, other libraries, and hard cases."""

import math
from collections.abc import Callable

import pytest
import torch
from monai.losses import DiceLoss as MonaiDice
from monai.losses import TverskyLoss as MonaiTversky
from segmentation_models_pytorch.losses import DiceLoss as SmpDice
from segmentation_models_pytorch.losses import FocalLoss as SmpFocal
from segmentation_models_pytorch.losses import LovaszLoss as SmpLovasz
from segmentation_models_pytorch.losses import TverskyLoss as SmpTversky
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from birdlab.losses.functional import (
    binary_cross_entropy,
    dice_loss,
    focal_loss,
    focal_tversky_loss,
    lovasz_hinge_loss,
    tversky_index,
    tversky_loss,
)

PIXEL_LOSSES = [binary_cross_entropy, focal_loss]
OVERLAP_LOSSES = [dice_loss, tversky_loss, focal_tversky_loss, lovasz_hinge_loss]
LOSSES = PIXEL_LOSSES + OVERLAP_LOSSES


def random_batch(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3, 5, 7, generator=random, dtype=torch.float64)
    truth = torch.rand(3, 5, 7, generator=random) < 0.3
    return logits.to(dtype), truth.to(torch.uint8)


def certain(prediction: Tensor) -> Tensor:
    """Logits whose probabilities are exactly 0 and 1."""
    return 2e4 * prediction - 1e4


class TestHandWorked:
    """TP 3, FN 1, FP 2, and two true negatives, in a sample of 2 x 4."""

    truth = torch.tensor([[[1, 1, 1, 1], [0, 0, 0, 0]]])
    logits = certain(torch.tensor([[[1.0, 1, 1, 0], [1, 1, 0, 0]]]))

    def test_tversky(self) -> None:
        # 3 / (3 + .7 + .6)
        index = tversky_index(self.logits, self.truth, fn_weight=0.7, fp_weight=0.3, smooth=0)
        assert index.tolist() == pytest.approx([0.697674], abs=5e-7)
        loss = tversky_loss(self.logits, self.truth, fn_weight=0.7, fp_weight=0.3, smooth=0)
        assert loss.item() == pytest.approx(0.302326, abs=5e-7)

    @pytest.mark.parametrize(("exponent", "expected"), [(0.75, 0.407715), (4 / 3, 0.202908)])
    def test_focal_tversky(self, exponent: float, expected: float) -> None:
        loss = focal_tversky_loss(self.logits, self.truth, exponent=exponent, smooth=0)
        assert loss.item() == pytest.approx(expected, abs=1e-6)

    def test_smoothing_counts_pixels(self) -> None:
        # (3 + 2) / (3 + .7 + .6 + 2)
        assert tversky_index(self.logits, self.truth, smooth=2).item() == pytest.approx(5 / 6.3)
        # (2 · 3 + 2) / (5 + 4 + 2): the usual Dice smoothing
        assert dice_loss(self.logits, self.truth, smooth=2).item() == pytest.approx(1 - 8 / 11)

    def test_dice_and_iou_are_tversky_indices(self) -> None:
        dice = tversky_index(self.logits, self.truth, fn_weight=0.5, fp_weight=0.5, smooth=0)
        iou = tversky_index(self.logits, self.truth, fn_weight=1, fp_weight=1, smooth=0)
        assert dice.item() == pytest.approx(6 / 9)
        assert iou.item() == pytest.approx(3 / 6)

    def test_lovasz_hinge_of_equal_errors_is_one_minus_iou(self) -> None:
        # All wrong pixels have a hinge error of 2, all right ones of 0.
        assert lovasz_hinge_loss(self.logits / 1e4, self.truth).item() == pytest.approx(2 * (1 - 3 / 6))

    def test_lovasz_hinge_weighs_errors_in_falling_order(self) -> None:
        # Errors 3 (false alarm), 2 (miss), .5 (hit): 1 - IoU becomes 1 - 2/3, 1 - 1/3, 1 - 0/3.
        logits, truth = torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[0, 1, 1]])
        assert lovasz_hinge_loss(logits, truth).item() == pytest.approx((3 + 2 + 0.5) / 3)

    def test_pixel_losses(self) -> None:
        logits, truth = torch.tensor([[math.log(3), math.log(3)]]), torch.tensor([[1, 0]])  # p = 3/4
        entropies = [-math.log(3 / 4), -math.log(1 / 4)]
        weighted = binary_cross_entropy(logits, truth, positive_weight=5, reduction="none")
        assert weighted[0].tolist() == pytest.approx([5 * entropies[0], entropies[1]])
        focal = focal_loss(logits, truth, exponent=2, foreground_share=0.25, reduction="none")
        expected = [0.25 * (1 / 4) ** 2 * entropies[0], 0.75 * (3 / 4) ** 2 * entropies[1]]
        assert focal[0].tolist() == pytest.approx(expected)


class TestReductionsAndEmptyTruth:
    """Two samples of 1 x 4: TP 1, FN 1, FP 1 in the first; empty truth and FP 2 in the second."""

    truth = torch.tensor([[[1, 1, 0, 0]], [[0, 0, 0, 0]]])
    logits = certain(torch.tensor([[[1.0, 0, 1, 0]], [[1, 1, 0, 0]]]))
    first, second = 1 - 2 / 3, 1 - 1 / 1.6
    """1 - (1 + 1) / (1 + .7 + .3 + 1) and 1 - 1 / (.3 · 2 + 1)"""

    def test_each_sample_counts_by_itself(self) -> None:
        losses = tversky_loss(self.logits, self.truth, reduction="none")
        assert losses.tolist() == pytest.approx([self.first, self.second])
        assert tversky_loss(self.logits, self.truth).item() == pytest.approx((self.first + self.second) / 2)
        total = tversky_loss(self.logits, self.truth, reduction="sum")
        assert total.item() == pytest.approx(self.first + self.second)

    def test_the_exponent_applies_to_each_sample(self) -> None:
        loss = focal_tversky_loss(self.logits, self.truth)
        assert loss.item() == pytest.approx((self.first**0.75 + self.second**0.75) / 2)

    def test_the_batch_as_one_sample(self) -> None:
        # TP 1, FN 1, FP 3
        loss = tversky_loss(self.logits, self.truth, sums="batch", reduction="none")
        assert loss.tolist() == pytest.approx([1 - 2 / (1 + 0.7 + 0.9 + 1)])

    def test_skipped_samples_leave_the_mean(self) -> None:
        assert tversky_loss(self.logits, self.truth, empty="skip").item() == pytest.approx(self.first)
        losses = tversky_loss(self.logits, self.truth, empty="skip", reduction="none")
        assert losses.tolist() == pytest.approx([self.first, 0])

    @pytest.mark.parametrize("sums", ["sample", "batch"])
    @pytest.mark.parametrize("loss", OVERLAP_LOSSES)
    def test_nothing_left_is_zero_and_has_no_gradient(self, loss: Callable[..., Tensor], sums: str) -> None:
        logits = self.logits[1:].clone().requires_grad_()
        value = loss(logits, self.truth[1:], sums=sums, empty="skip")
        value.backward()
        assert value.item() == 0
        assert logits.grad is not None
        assert not logits.grad.any()

    def test_without_smoothing_only_silence_is_right_about_silence(self) -> None:
        empty = torch.zeros(2, 1, 4)
        logits = certain(torch.tensor([[[0.0, 0, 0, 0]], [[0, 0, 0, 1]]]))
        assert tversky_loss(logits, empty, smooth=0, reduction="none").tolist() == [0, 1]

    @pytest.mark.parametrize("setting", ["sums", "empty", "reduction"])
    def test_unknown_choices_are_refused(self, setting: str) -> None:
        with pytest.raises(ValueError, match=f"{setting}='all'"):
            tversky_loss(self.logits, self.truth, **{setting: "all"})


class TestParity:
    """Where another library means the same, it says the same.

    Segmentation Models PyTorch (smp) sums over the batch, weighs false alarms with alpha and misses with
    beta, and raises the mean over classes to gamma: that is Focal Tversky for one class and ``sums="batch"``
    only. It sets the loss of empty truth to 0, as ``empty="skip"`` does; its Dice takes half our smoothing.
    MONAI too weighs false alarms with alpha.
    """

    logits, truth = random_batch()

    def test_cross_entropy(self) -> None:
        expected = F.binary_cross_entropy(self.logits.sigmoid(), self.truth.float())
        torch.testing.assert_close(binary_cross_entropy(self.logits, self.truth), expected)

    @pytest.mark.parametrize("exponent", [0.5, 2.0, 5.0])
    def test_focal(self, exponent: float) -> None:
        ours = focal_loss(self.logits, self.truth, exponent=exponent, foreground_share=0.3)
        theirs = sigmoid_focal_loss(
            self.logits, self.truth.float(), alpha=0.3, gamma=exponent, reduction="mean"
        )
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(
            ours, SmpFocal("binary", alpha=0.3, gamma=exponent)(self.logits, self.truth)
        )

    def test_tversky(self) -> None:
        ours = tversky_loss(self.logits, self.truth, fn_weight=0.8, fp_weight=0.4, smooth=0.5)
        theirs = MonaiTversky(sigmoid=True, alpha=0.4, beta=0.8, smooth_nr=0.5, smooth_dr=0.5)
        torch.testing.assert_close(ours, theirs(self.logits[:, None], self.truth[:, None]))

        ours = tversky_loss(self.logits, self.truth, fn_weight=0.8, fp_weight=0.4, smooth=0.5, sums="batch")
        theirs = SmpTversky("binary", alpha=0.4, beta=0.8, smooth=0.5)
        torch.testing.assert_close(ours, theirs(self.logits, self.truth))

    def test_focal_tversky(self) -> None:
        theirs = SmpTversky("binary", alpha=0.3, beta=0.7, gamma=0.75, smooth=1.0)(self.logits, self.truth)
        torch.testing.assert_close(focal_tversky_loss(self.logits, self.truth, sums="batch"), theirs)
        assert not torch.isclose(focal_tversky_loss(self.logits, self.truth), theirs)

    @pytest.mark.parametrize("sums", ["sample", "batch"])
    def test_dice(self, sums: str) -> None:
        ours = dice_loss(self.logits, self.truth, smooth=0.5, sums=sums)
        theirs = MonaiDice(sigmoid=True, smooth_nr=0.5, smooth_dr=0.5, batch=sums == "batch")
        torch.testing.assert_close(ours, theirs(self.logits[:, None], self.truth[:, None]))
        if sums == "batch":
            torch.testing.assert_close(ours, SmpDice("binary", smooth=0.25)(self.logits, self.truth))

    def test_empty_truth(self) -> None:
        empty = torch.zeros_like(self.truth)
        ours = dice_loss(self.logits, empty, sums="batch", empty="skip")
        torch.testing.assert_close(ours, SmpDice("binary", smooth=1.0)(self.logits, empty))

    @pytest.mark.parametrize("sums", ["sample", "batch"])
    def test_lovasz_hinge(self, sums: str) -> None:
        theirs = SmpLovasz("binary", per_image=sums == "sample")(self.logits, self.truth)
        torch.testing.assert_close(lovasz_hinge_loss(self.logits, self.truth, sums=sums), theirs)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_the_formula(loss: Callable[..., Tensor]) -> None:
    logits, truth = random_batch(torch.float64)
    assert torch.autograd.gradcheck(lambda z: loss(z, truth), logits.requires_grad_())


MASKS = {
    "empty": torch.zeros(2, 4, 4),
    "full": torch.ones(2, 4, 4),
    "half": torch.tensor([0.0, 1.0]).repeat(2, 4, 2),
    "one of two": torch.stack([torch.zeros(4, 4), torch.ones(4, 4)]),
}
PREDICTIONS = {
    "right": lambda truth: certain(truth),
    "wrong": lambda truth: certain(1 - truth),
    "background": lambda truth: torch.full_like(truth, -1e4),
    "foreground": lambda truth: torch.full_like(truth, 1e4),
    "unsure": lambda truth: torch.zeros_like(truth),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("mask", MASKS)
def test_values_and_gradients_are_finite(mask: str, prediction: str, dtype: torch.dtype) -> None:
    truth = MASKS[mask]
    for loss in LOSSES:
        for settings in [{}] if loss in PIXEL_LOSSES else [{}, {"sums": "batch"}, {"empty": "skip"}]:
            logits = PREDICTIONS[prediction](truth).to(dtype).requires_grad_()
            value = loss(logits, truth, **settings)
            value.backward()
            assert value.dtype == torch.float32
            assert value.isfinite()
            assert logits.grad is not None
            assert logits.grad.isfinite().all(), loss.__name__


@pytest.mark.parametrize("loss", [dice_loss, tversky_loss, focal_tversky_loss])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("mask", MASKS)
def test_gradients_are_finite_without_smoothing(
    mask: str, prediction: str, loss: Callable[..., Tensor]
) -> None:
    truth = MASKS[mask]
    logits = PREDICTIONS[prediction](truth).requires_grad_()
    value = loss(logits, truth, smooth=0)
    value.backward()
    assert 0 <= value <= 1
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", [dice_loss, tversky_loss, focal_tversky_loss, lovasz_hinge_loss])
def test_right_is_zero_and_wrong_is_more(loss: Callable[..., Tensor]) -> None:
    truth = MASKS["half"]
    # The floor of 1e-6 below the power of Focal Tversky is the one exception.
    assert loss(certain(truth), truth).item() == pytest.approx(0, abs=4e-5)
    assert loss(certain(1 - truth), truth) > 0.8


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_sums_do_not_overflow(loss: Callable[..., Tensor]) -> None:
    # 80 000 pixels of foreground: float16 ends at 65 504.
    logits, truth = torch.full((1, 200, 400), 1.5, dtype=torch.float16), torch.ones(1, 200, 400)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss(logits, truth)
    torch.testing.assert_close(half, loss(logits.float(), truth))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16], ids=str)
def test_truth_of_any_dtype(loss: Callable[..., Tensor], dtype: torch.dtype) -> None:
    logits, truth = random_batch()
    assert loss(logits, truth.to(dtype)) == loss(logits, truth.float())


@pytest.mark.parametrize("loss", LOSSES)
def test_shapes_that_would_broadcast_are_refused(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\) and truth \(2, 4, 4\)"):
        loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4))
