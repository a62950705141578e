"""Reliability, temperatures and abstention: by hand, and as torchmetrics has it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_calibration_error

from birdlab.metrics import (
    CoverageCurve,
    LogitHistogram,
    Reliability,
    ReliabilityCurve,
    scaled,
    species_temperature,
)


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
    with pytest.raises(ValueError, match="Reliability has nothing"):
        Reliability().curve()


def as_histogram(logits: torch.Tensor, truth: torch.Tensor) -> LogitHistogram:
    histogram = LogitHistogram()
    histogram.update(logits, truth)
    return histogram


def test_temperature_by_hand() -> None:
    """Where three of four are right, the probability must be 3/4, the logit ln 3: a third of what it is."""
    logits, right = torch.full((4,), 3 * math.log(3)), torch.tensor([1, 1, 1, 0])
    two_classes = torch.stack([torch.zeros(4), logits], dim=1)
    truth = torch.stack([1 - right, right], dim=1).float()
    assert species_temperature(two_classes, truth) == pytest.approx(3, rel=1e-4)
    assert species_temperature(logits[:, None], right[:, None].float(), multilabel=True) == pytest.approx(3)
    assert as_histogram(logits, right).compute() == pytest.approx(3, rel=0.01)


@given(st.floats(0.3, 8), st.integers(0, 100))
def test_logits_times_a_number_have_that_number_s_temperature(factor: float, seed: int) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(200, 4, dtype=torch.float64) * 2
    truth = torch.nn.functional.one_hot(torch.multinomial(logits.softmax(1), 1)[:, 0], 4).double()
    once, scaled_up = species_temperature(logits, truth), species_temperature(factor * logits, truth)
    assert scaled_up == pytest.approx(factor * once, rel=1e-3)
    pixels = as_histogram(logits, truth).compute()
    assert pixels == pytest.approx(species_temperature(logits, truth, multilabel=True), rel=2e-3)


def test_scaling_on_one_half_mends_the_other() -> None:
    torch.manual_seed(0)
    calibrated = torch.randn(2, 20_000) * 2 - 2
    truth = torch.rand(2, 20_000) < calibrated.sigmoid()
    logits = 3 * calibrated
    temperature = as_histogram(logits[0], truth[0]).compute()
    before, after = Reliability(), Reliability()
    before.update(logits[1], truth[1])
    after.update(logits[1] / temperature, truth[1])
    assert after.compute() < 0.1 * before.compute()


@pytest.mark.parametrize("logits", [[-3.0, 3.0], [3.0, -3.0], [0.0, 0.0]])
def test_without_mistakes_or_anything_right_there_is_no_temperature(logits: list[float]) -> None:
    assert as_histogram(torch.tensor(logits), torch.tensor([0, 1])).compute() == 1


def test_logits_of_any_size_are_counted() -> None:
    logits = torch.tensor([float("inf"), -float("inf"), 1e30, float("nan"), 1e-9])
    assert as_histogram(logits, torch.tensor([1, 0, 1, 0, 1])).gathered().sum() == 5


@given(st.floats(0.02, 0.98), st.floats(0.02, 0.98), st.floats(0.5, 20))
def test_scaled_probabilities_keep_their_order(one: float, other: float, temperature: float) -> None:
    assert scaled(0.5, temperature) == 0.5
    assert scaled(one, 1) == one
    assert (scaled(one, temperature) < scaled(other, temperature)) == (one < other) or one == pytest.approx(
        other
    )
    assert scaled(scaled(one, temperature), 1 / temperature) == pytest.approx(one, rel=1e-6)


def test_precision_and_recall_of_all_pixels_at_each_threshold() -> None:
    """Four pixels, one of them false, with probabilities .2, .4 (false), .6 and .8; twice as sure before."""
    logits = 2 * torch.tensor([0.2, 0.4, 0.6, 0.8]).logit()
    both = as_histogram(logits, torch.tensor([1, 0, 1, 1])).precision_and_recall(temperature=2.0)
    at = [both["threshold"].index(threshold) for threshold in (0.1, 0.3, 0.5, 0.7, 0.9, 0.9999)]
    assert [both["precision"][index] for index in at] == [3 / 4, 2 / 3, 1, 1, 0, 0]
    assert [both["recall"][index] for index in at] == [1, 2 / 3, 2 / 3, 1 / 3, 0, 0]
    assert both["threshold"] == sorted(set(both["threshold"]))


def test_coverage_by_hand() -> None:
    curve = CoverageCurve.of(torch.tensor([0.5, 0.9, 0.9, 0.7]), torch.tensor([0, 1, 0, 1]))
    assert curve.confidence.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert curve.coverage.tolist() == [0.5, 0.75, 1]
    assert curve.accuracy.tolist() == pytest.approx([1 / 2, 2 / 3, 2 / 4])
    assert curve.at(0.6) == pytest.approx((0.75, 2 / 3))
    assert curve.at(0.95)[0] == 0
    assert math.isnan(curve.at(0.95)[1])


def test_confidences_have_a_curve_as_pixels_do() -> None:
    curve = ReliabilityCurve.of(torch.tensor([0.1, 0.2, 0.9]), torch.tensor([0, 1, 1]), bins=2)
    assert curve.count.tolist() == [2, 1]
    assert curve.error == pytest.approx((2 * 0.35 + 0.1) / 3)
