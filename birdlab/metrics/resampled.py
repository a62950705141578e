"""Average precision and ROC-AUC of recordings that are drawn again and again, as a bootstrap does.

The same scores as `birdlab.metrics.average_precision` and `roc_auc` of the drawn recordings, but ranked once
for all draws: of a recording only how often it is drawn changes.
"""

import numpy as np
from numpy.typing import NDArray

_Counts = NDArray[np.float64]


class RankedOnce:
    """Recordings by how likely each species is in them.

    Args:
        score: float [N, K]; only its order matters.
        truth: bool [N, K].
    """

    def __init__(self, score: NDArray[np.float64], truth: NDArray[np.bool_]) -> None:
        self._order = np.argsort(-score, axis=0, kind="stable")
        ranked = np.take_along_axis(score, self._order, axis=0)
        self._truth = np.take_along_axis(truth, self._order, axis=0)
        places = np.arange(len(score))[:, None]
        new = np.ones_like(truth)
        new[1:] = ranked[1:] != ranked[:-1]
        # Of each recording the first and the last one of equal score.
        self._first = np.maximum.accumulate(np.where(new, places, 0), axis=0)
        last = np.ones_like(truth)
        last[:-1] = new[1:]
        self._last = np.minimum.accumulate(np.where(last, places, len(score))[::-1], axis=0)[::-1]

    def average_precision(self, drawn: NDArray[np.intp]) -> float:
        """The mean over the species that are there; recordings by their places, some several times."""
        count, hits = self._counted(drawn)
        above, found = np.cumsum(count, axis=0), np.cumsum(hits, axis=0)
        with np.errstate(invalid="ignore"):
            precision = np.nan_to_num(self._at_last(found) / self._at_last(above))
            return float(np.nanmean((precision * hits).sum(axis=0) / found[-1]))

    def roc_auc(self, drawn: NDArray[np.intp]) -> float:
        """The mean over the species that are there and not everywhere."""
        count, hits = self._counted(drawn)
        others = np.cumsum(count - hits, axis=0)
        before = np.where(self._first > 0, np.take_along_axis(others, self._first - 1, axis=0), 0)
        below = others[-1] - (self._at_last(others) + before) / 2  # of equal ones a half
        with np.errstate(invalid="ignore"):
            return float(np.nanmean((hits * below).sum(axis=0) / (hits.sum(axis=0) * others[-1])))

    def _counted(self, drawn: NDArray[np.intp]) -> tuple[_Counts, _Counts]:
        """How often each recording is drawn, by rank [N, K], and the same of those with the species."""
        count = np.bincount(drawn, minlength=len(self._order)).astype(np.float64)[self._order]
        return count, count * self._truth

    def _at_last(self, counts: _Counts) -> _Counts:
        return np.take_along_axis(counts, self._last, axis=0)
