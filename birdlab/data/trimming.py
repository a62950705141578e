"""Which stretch of a longer recording is kept; all in frames."""

import numpy as np
from numpy.typing import NDArray


def centred(total: int, length: int) -> int:
    """First frame of the middle: as much is cut from the start as from the end.

    Examples:
        >>> centred(total=10, length=4)
        3
    """
    return max(0, total - length) // 2


def loudest(levels: NDArray[np.float32], length: int) -> int:
    """First frame of the stretch with the most energy above the background.

    The background of a band is its median level, so that neither wind nor a steady insect decides. What is
    more than 6 dB above counts in dB, at most 40, so that one knock does not decide, either.

    Args:
        levels: dB [M, T].
        length: frames of the stretch.
    """
    above = levels - np.median(levels, axis=1, keepdims=True)
    return fullest((above - 6).clip(0, 40).sum(axis=0), length)


def fullest(profile: NDArray[np.floating], length: int) -> int:
    """First frame of the stretch with the largest sum; of several alike, of the middle one.

    Examples:
        >>> fullest(np.array([0.0, 1, 0, 3, 2, 0]), 2)
        3
    """
    if len(profile) <= length:
        return 0
    # In double precision and from cumulated sums; rounding is below what two stretches could differ by.
    total = np.concatenate([[0.0], np.cumsum(profile, dtype=np.float64)])
    sums = total[length:] - total[:-length]
    best = np.flatnonzero(sums >= sums.max() * (1 - 1e-9))
    return int(best[len(best) // 2])


def stretched(profile: NDArray[np.floating], total: int) -> NDArray[np.floating]:
    """A profile over the same time in ``total`` frames, the nearest of its columns for each."""
    nearest = (2 * np.arange(total) + 1) * len(profile) // (2 * total)
    resampled: NDArray[np.floating] = profile[nearest]
    return resampled
