"""Is one method better than another, on other recordings and with other seeds, too?

`compare` resamples both: recordings, the same for the two methods (they are scored on the same ones), and
the seeds of each. The bootstrap gives the standard error of the difference, and Student's t with the degrees
of freedom of Welch and Satterthwaite the p-value: a handful of seeds has too few resamples for percentiles,
which would call identical methods different far too often. Resampled rows and columns count their common
noise more than once (Owen, "The pigeonhole bootstrap", 2007), so the standard error is rather too large than
too small.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RESAMPLES = 4_000
"""They give a standard error to about 1 %."""
Statistic = Callable[[NDArray[np.intp]], float]
"""A score of so many samples, by their places; one may be there several times."""
Resampling = Callable[..., list[NDArray[np.float64]]]
"""`_resampled_means` or `_resampled_statistics` of methods: [resamples, seeds] each."""
_BLOCK = 4_000_000
"""Weights that are held at a time."""


@dataclass(frozen=True)
class Comparison:
    """A difference of two means over seeds and samples.

    Attributes:
        difference: of the first method from the second.
        low: lower end of its confidence interval.
        high: upper end.
        p: that of no difference, two-sided. NaN, as the interval is, where the variation from seed to seed or
            from recording to recording is unknown: one seed of a method, or one recording.
    """

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and samples.

    Attributes:
        mean: of all.
        low: lower end of its confidence interval; NaN for one recording, whose variation is unknown.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    def of_share(self) -> "Estimate":
        """The same, with ends that a share can have: Student's t knows no bounds."""
        return replace(self, low=max(self.low, 0.0), high=min(self.high, 1.0))


def estimate(
    scores: ArrayLike,
    recordings: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The mean score of a method, and what it would lie between with other recordings and other seeds.

    Of one seed the interval is over recordings alone.

    Args:
        scores: finite [seeds, samples].
        recordings: what each sample was cut from [samples]; samples of one recording are drawn together.
        confidence: of the interval, in 0..1.
        resamples: of the bootstrap.
        seed: of its draws.

    Raises:
        ValueError: if the shapes don't fit, or there are no scores.
    """
    values = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if values.shape[1] != len(recordings) or not values.size:
        raise ValueError(f"Scores of shape {values.shape} don't fit {len(recordings)} samples.")
    again = partial(_resampled_means, [values], resamples=resamples)
    return _estimated(values.mean(axis=1), again, recordings, confidence, seed)


def estimate_statistic(seeds: Sequence[Statistic], recordings: Sequence[Hashable]) -> Estimate:
    """As `estimate`, of a score that is no mean over samples, such as macro F1.

    Args:
        seeds: the score of each seed's run.
        recordings: what each sample was cut from.
    """
    again = partial(_resampled_statistics, [seeds], resamples=RESAMPLES)
    return _estimated(_of_all(seeds, len(recordings)), again, recordings)


def _estimated(
    whole: NDArray[np.float64],
    resampled_scores: Resampling,
    recordings: Sequence[Hashable],
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """From the scores of all samples [seeds], and a way to resample them."""
    mean, seeds, group = float(whole.mean()), len(whole), _groups(recordings)
    groups = group.max() + 1
    if groups < 2:
        return Estimate(mean, np.nan, np.nan)
    draw = np.random.default_rng(seed)
    (by_seed,) = resampled_scores(group, draw=draw)
    resampled = by_seed.mean(axis=1)
    parts, counts = [float(np.var(resampled, ddof=1))], [groups]
    if seeds > 1:
        parts.append(float(np.var(whole, ddof=1)) / seeds)
        counts.append(seeds)
        resampled = resampled + np.sqrt(seeds / (seeds - 1)) * _deviations(by_seed, draw)
    error = float(np.std(resampled, ddof=1))
    # Where all scores are the same there is nothing to estimate.
    half = error and float(stats.t.ppf((1 + confidence) / 2, _freedom(parts, counts))) * error
    return Estimate(mean, mean - half, mean + half)


def compare(
    one: ArrayLike,
    other: ArrayLike,
    recordings: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare the scores of two methods on the same samples.

    Args:
        one: scores of a method, finite [seeds, samples].
        other: of another, on the same samples in the same order; it may have another number of seeds.
        recordings: what each sample was cut from [samples]; samples of one recording are drawn together.
        confidence: of the interval, in 0..1.
        resamples: of the bootstrap.
        seed: of its draws.

    Raises:
        ValueError: if the shapes don't fit, or there is nothing to compare.
    """
    scores = [np.atleast_2d(np.asarray(method, dtype=np.float64)) for method in (one, other)]
    if {method.shape[1] for method in scores} != {len(recordings)} or not scores[0].size:
        raise ValueError(
            f"Scores of shapes {scores[0].shape} and {scores[1].shape} don't fit {len(recordings)} samples."
        )
    again = partial(_resampled_means, scores, resamples=resamples)
    return _compared([method.mean(axis=1) for method in scores], again, recordings, confidence, seed)


def compare_statistics(
    one: Sequence[Statistic], other: Sequence[Statistic], recordings: Sequence[Hashable]
) -> Comparison:
    """As `compare`, of a score that is no mean over samples, such as macro F1.

    Args:
        one: the score of each seed's run of a method.
        other: of another, on the same samples.
        recordings: what each sample was cut from.
    """
    again = partial(_resampled_statistics, [one, other], resamples=RESAMPLES)
    return _compared([_of_all(seeds, len(recordings)) for seeds in (one, other)], again, recordings)


def _compared(
    whole: Sequence[NDArray[np.float64]],
    resampled_scores: Resampling,
    recordings: Sequence[Hashable],
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """From each method's scores of all samples [seeds], and a way to resample them."""
    difference, seeds = float(whole[0].mean() - whole[1].mean()), [len(method) for method in whole]
    group = _groups(recordings)
    groups = group.max() + 1
    if groups < 2 or min(seeds) < 2:
        return Comparison(difference, np.nan, np.nan, np.nan)
    draw = np.random.default_rng(seed)
    by_seed = resampled_scores(group, draw=draw)
    # Deviations of so few seeds are too small by this factor, on average.
    resampled = [
        means.mean(axis=1) + np.sqrt(count / (count - 1)) * _deviations(means, draw)
        for means, count in zip(by_seed, seeds, strict=True)
    ]
    error = float(np.std(resampled[0] - resampled[1], ddof=1))
    if error < 1e-12:
        return Comparison(difference, difference, difference, 1.0 if abs(difference) < 1e-12 else 0.0)

    # The parts of the variance, for the degrees of freedom alone.
    parts = [float(np.var(by_seed[0].mean(axis=1) - by_seed[1].mean(axis=1), ddof=1))]
    parts += [float(np.var(method, ddof=1)) / len(method) for method in whole]
    freedom = _freedom(parts, [groups, *seeds])
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(difference) / error, freedom))
    return Comparison(difference, difference - half, difference + half, p)


def _freedom(parts: Sequence[float], counts: Sequence[int]) -> float:
    """Degrees of freedom of a sum of variances, each of so many values (Welch and Satterthwaite)."""
    return sum(parts) ** 2 / sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, adjusted so that any false alarm among them is as rare as said.

    Holm, "A simple sequentially rejective multiple test procedure", 1979: the smallest of m is multiplied by
    m, the next by m - 1 and so on, none falls below one before it, and none exceeds 1.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _groups(recordings: Sequence[Hashable]) -> NDArray[np.intp]:
    """Of each sample the number of its recording, from 0."""
    _, group = np.unique(np.array([str(name) for name in recordings]), return_inverse=True)
    return group


def _of_all(seeds: Sequence[Statistic], samples: int) -> NDArray[np.float64]:
    return np.array([statistic(np.arange(samples)) for statistic in seeds])


def _resampled_means(
    scores: Sequence[NDArray[np.float64]],
    group: NDArray[np.intp],
    resamples: int,
    draw: np.random.Generator,
) -> list[NDArray[np.float64]]:
    """Means over the samples of groups that are drawn with replacement, the same for all methods.

    Args:
        scores: of each method [seeds, samples].
        group: of each sample, from 0 [samples].
        resamples: how many.
        draw: random numbers.

    Returns:
        For each method [resamples, seeds].
    """
    sizes = np.bincount(group)
    groups = len(sizes)
    sums = [np.stack([np.bincount(group, weights=row) for row in method], axis=1) for method in scores]
    blocks = []
    for begin in range(0, resamples, step := max(1, _BLOCK // groups)):
        count = min(step, resamples - begin)
        weights = draw.multinomial(groups, np.full(groups, 1 / groups), size=count)
        blocks.append([(weights @ each) / (weights @ sizes)[:, None] for each in sums])
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


def _resampled_statistics(
    methods: Sequence[Sequence[Statistic]], group: NDArray[np.intp], resamples: int, draw: np.random.Generator
) -> list[NDArray[np.float64]]:
    """As `_resampled_means`, of any statistic."""
    members = [np.flatnonzero(group == number) for number in range(group.max() + 1)]
    drawn = draw.integers(len(members), size=(resamples, len(members)))
    places = [np.concatenate([members[number] for number in row]) for row in drawn]
    return [np.array([[statistic(rows) for statistic in seeds] for rows in places]) for seeds in methods]


def _deviations(means: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    """How far the mean of resampled seeds is from that of all [resamples]."""
    resamples, seeds = means.shape
    weights = draw.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    deviations: NDArray[np.float64] = (weights * means).sum(axis=1) - means.mean(axis=1)
    return deviations
