"""Comparisons of methods: by hand, against scipy's tests in their special cases, and by simulation."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from birdlab import significance
from birdlab.significance import Estimate, compare, compare_statistics, estimate, estimate_statistic, holm


def test_examples() -> None:
    assert doctest.testmod(significance).failed == 0


def test_holm_by_hand() -> None:
    # m = 4: .005 x 4, .01 x 3 = .03, .03 x 2 = .06, and .04 x 1 is not below .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(p <= q <= min(1, len(values) * p) + 1e-12 for p, q in zip(values, adjusted, strict=True))
    by_raw = [q for _, q in sorted(zip(values, adjusted, strict=True))]
    assert by_raw == sorted(by_raw)


def test_without_noise_between_seeds_it_is_the_paired_t_test() -> None:
    draw = np.random.default_rng(0)
    base = draw.normal(size=200)
    one, other = np.tile(base + draw.normal(0.1, 0.5, 200), (2, 1)), np.tile(base, (2, 1))
    expected = stats.ttest_rel(one[0], other[0])
    found = compare(one, other, range(200), resamples=40_000)
    assert found.difference == pytest.approx(one[0].mean() - other[0].mean())
    assert found.p == pytest.approx(expected.pvalue, rel=0.1)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=2e-3)


def test_without_noise_between_recordings_it_is_welchs_test() -> None:
    one, other = np.array([0.50, 0.52, 0.57]), np.array([0.44, 0.49, 0.50, 0.45])
    expected = stats.ttest_ind(one, other, equal_var=False)
    found = compare(np.tile(one[:, None], 30), np.tile(other[:, None], 30), range(30), resamples=100_000)
    # By hand: means .53 and .47; variances .0013 / 3 and .00086667 / 4, standard error .02549, t = 2.3534.
    assert found.difference == pytest.approx(0.06)
    assert found.p == pytest.approx(expected.pvalue, rel=0.03)
    assert (found.high - found.low) / 2 == pytest.approx(0.025495 * stats.t.ppf(0.975, expected.df), rel=0.02)


def test_windows_of_one_recording_are_one_observation() -> None:
    draw = np.random.default_rng(1)
    one = np.repeat(draw.normal(0.03, 0.1, (2, 20)), 10, axis=1)
    other = np.zeros((2, 200))
    recordings = np.repeat(np.arange(20), 10).tolist()
    together = compare(one, other, recordings)
    apart = compare(one, other, range(200))
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    once = compare(one[:, ::10], other[:, ::10], range(20))
    assert (together.low, together.high, together.p) == pytest.approx((once.low, once.high, once.p))


def test_recordings_are_paired() -> None:
    draw = np.random.default_rng(2)
    hard = draw.normal(0.5, 0.3, 100)
    one = hard + 0.02 + draw.normal(0, 0.01, (3, 100))
    other = hard + draw.normal(0, 0.01, (3, 100))
    assert compare(one, other, range(100)).p < 1e-3
    assert compare(one, other[:, draw.permutation(100)], range(100)).p > 0.3


@given(st.integers(0, 1000))
def test_exchanging_the_methods_turns_the_sign(seed: int) -> None:
    draw = np.random.default_rng(seed)
    one, other = draw.random((3, 12)), draw.random((3, 12))
    there, back = (compare(*pair, range(12), resamples=500) for pair in ((one, other), (other, one)))
    assert there.difference == -back.difference
    assert there.low < there.difference < there.high
    assert there.p == pytest.approx(back.p, abs=0.15)


def test_one_seed_or_one_recording_supports_nothing() -> None:
    better = np.array([[0.9, 0.8, 0.9]])
    for one, recordings in ((better, "abc"), (np.tile(better, (2, 1)), "aaa")):
        found = compare(one, np.zeros((2, 3)), recordings)
        assert found.difference == pytest.approx(0.8667, abs=1e-4)
        assert np.isnan([found.p, found.low, found.high]).all()


def test_identical_scores_have_no_difference() -> None:
    scores = np.tile([0.1, 0.2, 0.3], (2, 1))
    assert compare(scores, scores, "abc").p == 1
    assert compare(scores + 0.1, scores, "abc").p == 0


def test_scores_of_other_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\) don't fit 3 samples"):
        compare(np.zeros((2, 3)), np.zeros((2, 4)), "abc")


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_identical_methods_are_called_different_less_often_than_alpha(seeds: int) -> None:
    """Both methods have the same mean; seeds, recordings and their interplay vary as much as each other."""
    draw = np.random.default_rng(seeds)
    trials, false_alarms = 400, 0
    for _ in range(trials):
        hard = draw.normal(0, 0.1, 40)
        one, other = (
            hard
            + draw.normal(0, 0.02, (seeds, 1))
            + draw.normal(0, 0.05, 40)
            + draw.normal(0, 0.05, (seeds, 40))
            for _ in range(2)
        )
        false_alarms += compare(one, other, range(40), resamples=400).p < 0.05
    # 3 standard deviations of the binomial above .05 would be .083.
    assert false_alarms / trials <= 0.05


def test_a_difference_that_is_there_is_found() -> None:
    draw = np.random.default_rng(0)
    found = 0
    for _ in range(50):
        hard = draw.normal(0, 0.1, 100)
        one, other = (
            hard + mean + draw.normal(0, 0.01, (3, 1)) + draw.normal(0, 0.05, (3, 100))
            for mean in (0.05, 0.0)
        )
        found += compare(one, other, range(100), resamples=400).p < 0.05
    assert found >= 45


def test_the_interval_of_one_seed_is_student_s() -> None:
    """Of a mean, where each sample is a recording; but the bootstrap has n for n - 1."""
    values = np.random.default_rng(0).normal(0.5, 0.1, 40)
    found = estimate(values, range(40))
    assert found.mean == pytest.approx(values.mean())
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.002)


def test_the_interval_of_a_share_ends_within_0_and_1() -> None:
    near = estimate([0.7, 1.0, 1.0, 1.0], range(4))
    assert near.high > 1
    assert near.of_share() == Estimate(near.mean, near.low, 1.0)
    assert estimate([0.3, 0.0, 0.0, 0.0], range(4)).of_share().low == 0
    assert np.isnan(estimate([0.1, 0.2], ["a", "a"]).of_share().low)


def test_seeds_that_disagree_and_recordings_in_common_widen_the_interval() -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(0.5, 0.1, 40)

    def width(scores: object, groups: object) -> float:
        found = estimate(scores, groups)  # type: ignore[arg-type]
        return found.high - found.low

    alone = width(values, range(40))
    assert width([values + shift for shift in (-0.1, 0, 0.1)], range(40)) > 2 * alone
    assert width(np.repeat(values, 2), np.repeat(range(40), 2)) == pytest.approx(alone, rel=0.02)
    assert width(np.full(5, 0.5), range(5)) == 0
    assert np.isnan(estimate([0.1, 0.2], ["a", "a"]).low)
    with pytest.raises(ValueError, match="don't fit"):
        estimate([0.1, 0.2], ["a"])


def test_any_statistic_is_resampled_as_means_are() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0.6, 0.1, (3, 60)), rng.normal(0.5, 0.1, (3, 60))
    recordings = [index // 2 for index in range(60)]
    first, second = (
        [lambda places, row=row: float(row[places].mean()) for row in scores] for scores in (one, other)
    )
    expected, found = compare(one, other, recordings), compare_statistics(first, second, recordings)
    assert found.difference == pytest.approx(expected.difference)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.003)
    alone, estimated = estimate(one, recordings), estimate_statistic(first, recordings)
    assert estimated.mean == pytest.approx(alone.mean)
    assert (estimated.low, estimated.high) == pytest.approx((alone.low, alone.high), abs=0.003)
    assert np.isnan(compare_statistics(first[:1], second, recordings).p)
    assert np.isnan(estimate_statistic(first, [0] * 60).low)
