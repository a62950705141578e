"""Which samples a figure shows, and what their axes stand for."""

import numpy as np
from numpy.typing import NDArray

from birdlab.data.cache import Arrays
from birdlab.data.source import Sample, SegmentationSource
from birdlab.figures.style import Extent


def foreground_shares(arrays: Arrays) -> NDArray[np.float64]:
    """The share of foreground pixels of each mask, in 0..1 [N]."""
    shares = np.array([np.count_nonzero(mask) / mask.size for mask in arrays["masks"]])
    arrays.release()
    return shares


def spread(shares: NDArray[np.float64], count: int) -> list[int]:
    """Indices of at most ``count`` samples from the emptiest mask to the fullest, evenly by rank.

    The same shares give the same samples, so that pictures of one epoch compare with those of another.
    """
    ranks = np.linspace(0, len(shares) - 1, min(count, len(shares))).round().astype(int)
    return [int(index) for index in np.argsort(shares, kind="stable")[ranks]]


def extent_of(source: SegmentationSource, sample: Sample) -> Extent:
    """What the edges of a sample's image stand for; reads the sample where a sample is a whole file."""
    duration = source.window_s
    if duration is None:
        columns = source.read(sample)[0].shape[1]
        duration = source.spectrogram.samples(columns) / source.sample_rate
    return Extent(duration, source.sample_rate, source.spectrogram.sides)
