"""Whether a probability means what it says: of the pixels given .3, are three in ten bird?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from birdlab.metrics.rows import Rows

_STEPS = 1_000_000
"""A probability is counted in millionths: sums of whole numbers are exact, in any order."""


@dataclass(frozen=True)
class ReliabilityCurve:
    """Pixels by their predicted probability of foreground, in bins of equal width from 0 to 1.

    Attributes:
        pixels: how many fall into each bin, int64 [N].
        probability: their mean probability, float64 [N]; NaN where there is none.
        frequency: the share of them that is foreground, float64 [N]; NaN where there is none.
    """

    pixels: Tensor
    probability: Tensor
    frequency: Tensor

    @property
    def error(self) -> float:
        """Expected calibration error: the bins' mean of |frequency - probability|, weighted by pixels.

        Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
        """
        gaps = (self.frequency - self.probability).abs().nan_to_num()
        return float((gaps * self.pixels).sum() / self.pixels.sum())


class Reliability(Rows):
    """The `ReliabilityCurve` of a data set, from one pass over its images; its value is the error.

    Args:
        bins: of equal width.
    """

    def __init__(self, bins: int = 20) -> None:
        super().__init__(3, bins)
        self.bins = bins

    def update(self, logits: Tensor, truth: Tensor) -> None:
        """Count the pixels of foreground logits and truth of equal shape; what isn't 0 is foreground."""
        probability = logits.float().sigmoid().flatten()
        # .5 belongs to the upper bin, 1 to the last one.
        index = (probability * self.bins).int().clamp_(max=self.bins - 1)
        steps = (probability * _STEPS).round_().long()
        counts = torch.zeros(1, *self.shape, dtype=torch.int64, device=logits.device)
        counts[0, 0] = index.bincount(minlength=self.bins)
        counts[0, 1] = index[truth.flatten() != 0].bincount(minlength=self.bins)
        counts[0, 2].index_add_(0, index, steps)
        self.rows.append(counts)

    def curve(self) -> ReliabilityCurve:
        """Over all images of all processes.

        Raises:
            ValueError: if there are none.
        """
        pixels, foreground, steps = self.gathered().sum(0)
        # 0 / 0 is NaN.
        return ReliabilityCurve(pixels, steps.double() / _STEPS / pixels, foreground.double() / pixels)

    def compute(self) -> float:
        """The expected calibration error, in 0..1."""
        return self.curve().error
