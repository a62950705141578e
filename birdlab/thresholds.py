"""How sure a network must be, as validation data say."""

from collections.abc import Mapping

SURE = 0.9
"""Of the names that a network is sure of, so many are to be right where nobody says how many."""


def lowest_reaching(wanted: float, reached: Mapping[float, float]) -> float | None:
    """The lowest threshold that reaches a wanted score, since each higher one finds less; None if none does.

    Args:
        wanted: precision or accuracy.
        reached: by threshold.
    """
    return min((threshold for threshold, score in reached.items() if score >= wanted), default=None)
