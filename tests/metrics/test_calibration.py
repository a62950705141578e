"""Reliability: by hand, and as torchmetrics has it."""

import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from birdlab.metrics import Reliability


def test_curve_by_hand() -> None:
    reliability = Reliability(bins=4)
    probabilities = torch.tensor([[0.1, 0.2, 0.25], [0.3, 0.9, 1.0]], dtype=torch.float64)
    reliability.update(probabilities.logit(), torch.tensor([[0, 1, 0], [1, 1, 0]]))
    curve = reliability.curve()
    assert curve.count.tolist() == [2, 2, 0, 2]
    assert curve.probability[[0, 1, 3]].tolist() == pytest.approx([0.15, 0.275, 0.95], abs=1e-6)
    assert curve.frequency[[0, 1, 3]].tolist() == [0.5, 0.5, 0.5]
    assert curve.probability[2].isnan()
    assert reliability.compute() == pytest.approx((2 * 0.35 + 2 * 0.225 + 2 * 0.45) / 6, abs=1e-6)


@pytest.mark.parametrize("bins", [5, 20])
def test_error_is_that_of_torchmetrics(bins: int) -> None:
    torch.manual_seed(0)
    logits, reliability = 3 * torch.randn(3, 40, 50) - 3, Reliability(bins)
    truth = torch.rand(3, 40, 50) < (logits.sigmoid() ** 2)
    for one, mask in zip(logits, truth, strict=True):
        reliability.update(one, mask)
    expected = binary_calibration_error(logits.sigmoid().flatten(), truth.int().flatten(), n_bins=bins)
    assert reliability.compute() == pytest.approx(expected.item(), abs=2e-6)


def test_certain_and_right_is_without_error_and_certain_and_wrong_is_all_error() -> None:
    truth = torch.tensor([[0, 1]])
    for sign, error in ((1, 0.0), (-1, 1.0)):
        reliability = Reliability()
        reliability.update(sign * torch.tensor([[-1e4, 1e4]]), truth)
        assert reliability.compute() == error


def test_without_images_there_is_no_curve() -> None:
    with pytest.raises(ValueError, match="Reliability has no images"):
        Reliability().curve()
