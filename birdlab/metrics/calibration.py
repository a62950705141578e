"""Whether a probability means what it says, and what to do about it.

Of the pixels given .3, are three in ten bird? Most networks are too sure. `LogitHistogram` and
`species_temperature` find the one number by which validation data ask to divide all logits (temperature
scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017), and `scaled` says what becomes of
a probability then: no two change places, so a threshold that is scaled, too, marks the same cells.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from birdlab.metrics.rows import Rows
from birdlab.metrics.segmentation import Counts, precision, recall

_STEPS = 1_000_000
"""A probability is counted in millionths: sums of whole numbers are exact, in any order."""

_COLDEST, _HOTTEST = 0.01, 100.0
"""Temperatures to look among; a network that needs one beyond them is none to scale."""


REPORTED_THRESHOLDS = tuple(
    [k / 100 for k in range(1, 100)]
    + [round(0.99 + k / 1_000, 3) for k in range(1, 10)]
    + [round(0.999 + k / 10_000, 4) for k in range(1, 10)]
)
"""Of scaled probabilities, ever closer towards 1: where there are few birds, that is where the choice is."""


@dataclass(frozen=True)
class ReliabilityCurve:
    """Predictions by their probability, in bins of equal width from 0 to 1.

    Attributes:
        count: how many fall into each bin, int64 [N].
        probability: their mean probability, float64 [N]; NaN where there is none.
        frequency: the share of them that is true, float64 [N]; NaN where there is none.
    """

    count: Tensor
    probability: Tensor
    frequency: Tensor

    @classmethod
    def of(cls, probability: Tensor, truth: Tensor, bins: int = 10) -> "ReliabilityCurve":
        """The curve of probabilities, and whether each prediction is true, of equal shape."""
        return _curve(_binned(probability.flatten(), truth.flatten() != 0, bins))

    @classmethod
    def together(cls, curves: Sequence["ReliabilityCurve"]) -> "ReliabilityCurve":
        """The curve of all predictions of several curves with the same bins."""
        counts = torch.stack([curve.count for curve in curves]).double()
        sums = [
            (torch.stack([getattr(curve, name) for curve in curves]).nan_to_num() * counts).sum(dim=0)
            for name in ("probability", "frequency")
        ]
        total = counts.sum(dim=0)
        return cls(total.long(), sums[0] / total, sums[1] / total)

    @property
    def error(self) -> float:
        """Expected calibration error: the bins' mean of |frequency - probability|, weighted by their count.

        Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
        """
        gaps = (self.frequency - self.probability).abs().nan_to_num()
        return float((gaps * self.count).sum() / self.count.sum())


class Reliability(Rows):
    """The `ReliabilityCurve` of a data set's pixels, from one pass over its images; its value is the error.

    Args:
        bins: of equal width.
    """

    def __init__(self, bins: int = 20) -> None:
        super().__init__(3, bins)
        self.bins = bins

    def update(self, logits: Tensor, truth: Tensor) -> None:
        """Count the pixels of foreground logits and truth of equal shape; what isn't 0 is foreground."""
        self.rows.append(_binned(logits.float().sigmoid().flatten(), truth.flatten() != 0, self.bins)[None])

    def curve(self) -> ReliabilityCurve:
        """Over all images of all processes.

        Raises:
            ValueError: if there are none.
        """
        return _curve(self.gathered().sum(0))

    def compute(self) -> float:
        """The expected calibration error, in 0..1."""
        return self.curve().error


class LogitHistogram(Rows):
    """The foreground logits of a data set by what is true, from one pass; its value is the temperature.

    Millions of pixels aren't kept: logits are counted in bins that are .005 wide around 0 and .5 % of large
    ones (even in the inverse hyperbolic sine). What that does to a temperature is in its fourth digit.
    """

    _WIDTH, _HALF = 0.005, 2400  # as far as 80 000
    _BINS = 2 * _HALF + 1

    def __init__(self) -> None:
        super().__init__(2, self._BINS)

    def update(self, logits: Tensor, truth: Tensor) -> None:
        """Count the pixels of foreground logits and truth of equal shape; what isn't 0 is foreground."""
        place = (logits.float().flatten().asinh() / self._WIDTH).round().nan_to_num()
        place = place.clamp_(-self._HALF, self._HALF).int() + self._HALF
        cell = place + self._BINS * (truth.flatten() != 0)
        counts = cell.bincount(minlength=2 * self._BINS).view(1, 2, self._BINS)
        self.rows[:] = [self.rows[0] + counts] if self.rows else [counts]

    def compute(self) -> float:
        """The temperature that minimises the mean cross-entropy of all pixels; see `fitted_temperature`."""
        background, foreground = self.gathered().sum(0).double()
        centre = self._centres()

        def loss(sharpness: float) -> float:
            logits = sharpness * centre
            return float(background @ F.softplus(logits) + foreground @ F.softplus(-logits))

        return fitted_temperature(loss)

    def precision_and_recall(self, temperature: float) -> dict[str, list[float]]:
        """Both, of all pixels together, at each ``threshold`` of `REPORTED_THRESHOLDS`."""
        above = torch.tensor([temperature * math.log(t / (1 - t)) for t in REPORTED_THRESHOLDS])
        first = torch.searchsorted(self._centres(), above.double(), right=True)
        totals = self.gathered().sum(0)
        # How many are in a bin or above, and none above the last one.
        tail = F.pad(totals.flip(1).cumsum(1).flip(1), (0, 1))
        (fp, tp), (background, true) = tail[:, first], totals.sum(dim=1)
        counts = Counts(tp=tp, fp=fp, fn=true - tp, tn=background - fp)
        return {
            "threshold": list(REPORTED_THRESHOLDS),
            "precision": precision(counts).tolist(),
            "recall": recall(counts).tolist(),
        }

    def _centres(self) -> Tensor:
        """The logits of the bins, ascending."""
        return ((torch.arange(self._BINS) - self._HALF).double() * self._WIDTH).sinh()


def species_temperature(logits: Tensor, truth: Tensor, *, multilabel: bool = False) -> float:
    """The temperature that minimises the mean cross-entropy of recordings; see `fitted_temperature`.

    Args:
        logits: [N, K].
        truth: shares of species [N, K].
        multilabel: each species is a question of its own; those with a share above 0 are there.
    """
    logits, truth = logits.double(), ((truth > 0) if multilabel else truth).double()

    def loss(sharpness: float) -> float:
        scaled = sharpness * logits
        return float(
            (F.softplus(scaled) if multilabel else scaled.logsumexp(dim=1)).sum() - (truth * scaled).sum()
        )

    return fitted_temperature(loss)


def fitted_temperature(loss: Callable[[float], float]) -> float:
    """The temperature of the smallest loss.

    Args:
        loss: of logits that are multiplied by a number, 1 / temperature: convex, as cross-entropy is.

    Returns:
        1 where no temperature is the best: the more sure (or unsure) the better, as for data without a
        mistake, which say nothing of how sure one may be.
    """
    ends = math.log(_COLDEST), math.log(_HOTTEST)
    found = minimize_scalar(
        lambda log: loss(math.exp(-log)), bounds=ends, method="bounded", options={"xatol": 1e-6}
    )
    if min(loss(math.exp(-end)) for end in ends) <= found.fun:
        return 1.0
    return math.exp(found.x)


def scaled(probability: float, temperature: float) -> float:
    """What a probability between 0 and 1 becomes when its logit is divided by a temperature.

    It stays clear of 0 and 1, at which float32 would end, by a millionth.
    """
    if temperature == 1:
        return probability  # to the last bit
    logit = math.log(probability / (1 - probability)) / temperature
    return min(max(1 / (1 + math.exp(-logit)), 1e-6), 1 - 1e-6)


@dataclass(frozen=True)
class CoverageCurve:
    """What is gained by saying nothing where one isn't sure; float64 [N] each, the surest first.

    Attributes:
        confidence: that is asked for.
        coverage: the share of the predictions that have it.
        accuracy: the share of those that is right.
    """

    confidence: Tensor
    coverage: Tensor
    accuracy: Tensor

    @classmethod
    def of(cls, confidence: Tensor, right: Tensor) -> "CoverageCurve":
        """The curve of predictions [M] of which each is right or isn't; equal confidences come together.

        El-Yaniv & Wiener, "On the Foundations of Noise-free Selective Classification", JMLR 2010, whose risk
        is 1 - accuracy.
        """
        confidence, order = confidence.double().sort(descending=True)
        hits = right[order].double().cumsum(0)
        last = torch.cat([confidence[1:] != confidence[:-1], torch.ones(1, dtype=torch.bool)]).nonzero()[:, 0]
        return cls(confidence[last], (last + 1).double() / len(order), hits[last] / (last + 1))

    def lists(self) -> dict[str, list[float]]:
        """Its attributes as plain values, by name."""
        return {name: getattr(self, name).tolist() for name in ("confidence", "coverage", "accuracy")}

    def at(self, confidence: float) -> tuple[float, float]:
        """Coverage and accuracy where a confidence is asked for; 0 and NaN where nothing has it."""
        reaching = int((self.confidence >= confidence).sum())
        if not reaching:
            return 0.0, math.nan
        return float(self.coverage[reaching - 1]), float(self.accuracy[reaching - 1])


def _binned(probability: Tensor, truth: Tensor, bins: int) -> Tensor:
    """Probabilities [M] by bin: how many, how many of them true, and their sum in steps: int64 [3, bins]."""
    # .5 belongs to the upper bin, 1 to the last one.
    index = (probability * bins).int().clamp_(max=bins - 1)
    counts = torch.zeros(3, bins, dtype=torch.int64, device=probability.device)
    counts[0] = index.bincount(minlength=bins)
    counts[1] = index[truth].bincount(minlength=bins)
    counts[2].index_add_(0, index, (probability * _STEPS).round().long())
    return counts


def _curve(counts: Tensor) -> ReliabilityCurve:
    count, true, steps = counts
    # 0 / 0 is NaN.
    return ReliabilityCurve(count, steps.double() / _STEPS / count, true.double() / count)
