"""Drawing parameters from documented ranges."""

import math

import numpy as np

Range = tuple[float, float]
"""Lowest and highest value."""


def between(rng: np.random.Generator, limits: Range) -> float:
    """A value of a range: uniform in its logarithm where both ends are positive, as frequencies and durations
    are perceived, and uniform otherwise."""
    low, high = limits
    if low > 0:
        return math.exp(rng.uniform(math.log(low), math.log(high)))
    return float(rng.uniform(low, high))


def count(rng: np.random.Generator, limits: tuple[int, int]) -> int:
    """A whole number of a range, both ends included."""
    return int(rng.integers(limits[0], limits[1] + 1))


def amplitude(db: float) -> float:
    """The factor on an amplitude that so many decibels are."""
    return float(10 ** (db / 20))
