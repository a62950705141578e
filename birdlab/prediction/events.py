"""Events: the connected components of a mask, found while it streams by, and boxes around them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from birdlab.audio.grid import Grid

MIN_DURATION_S = 0.01
MIN_BAND_HZ = 100.0
"""What is shorter or narrower is no bird; interpolated probabilities leave such crumbs along edges."""

JOIN_S = 0.3
"""Boxes, as people draw them, hold the pauses between the syllables of one song."""


@dataclass(frozen=True, slots=True)
class Event:
    """A sound's extent.

    Attributes:
        begin_s, end_s: seconds from the beginning of the recording.
        low_hz, high_hz: true frequencies.
        score: mean probability of foreground over its cells, in 0..1.
        label: what it is.
        label_score: of the label, in 0..1; NaN where nobody scored it.
    """

    begin_s: float
    end_s: float
    low_hz: float
    high_hz: float
    score: float
    label: str = "bird"
    label_score: float = float("nan")


@dataclass(frozen=True, slots=True)
class _Parts:
    """Components, or the parts of them that one stretch shows; arrays [n].

    Attributes:
        begin, end: first column and the one after the last.
        low, high: first row and the one after the last.
        cells: how many.
        total: sum of their probabilities.
    """

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    cells: NDArray[np.int64]
    total: NDArray[np.float64]

    @classmethod
    def none(cls) -> "_Parts":
        count = np.zeros(0, np.int64)
        return cls(count, count, count, count, count, np.zeros(0))

    def _arrays(self) -> Iterator[NDArray[np.int64] | NDArray[np.float64]]:
        return (getattr(self, field.name) for field in fields(self))

    def __getitem__(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "_Parts":
        return _Parts(*(array[chosen] for array in self._arrays()))  # type: ignore[arg-type]

    def __add__(self, other: "_Parts") -> "_Parts":
        pairs = zip(self._arrays(), other._arrays(), strict=True)
        return _Parts(*(np.concatenate(pair) for pair in pairs))  # type: ignore[arg-type]

    def merged(self, group: NDArray[np.int64], groups: int) -> "_Parts":
        """One for each group; every group, 0 to ``groups`` - 1, has at least one part."""
        order = np.argsort(group, kind="stable")
        firsts = np.searchsorted(group[order], np.arange(groups))
        parts = self[order]
        return _Parts(
            np.minimum.reduceat(parts.begin, firsts),
            np.maximum.reduceat(parts.end, firsts),
            np.minimum.reduceat(parts.low, firsts),
            np.maximum.reduceat(parts.high, firsts),
            np.add.reduceat(parts.cells, firsts),
            np.add.reduceat(parts.total, firsts),
        )


class Components:
    """Connected components (with diagonals) of a mask that arrives in stretches.

    Remembers, beside the components that reach the last column, nothing: memory doesn't grow with length. The
    mask is taken apart into runs, the foreground cells of one column without a gap. Runs of neighbouring
    columns that touch belong together, and so do those of the last column of one stretch and the first of the
    next.

    Args:
        grid: of the probabilities.
        threshold: a cell is foreground if its probability exceeds it.
    """

    def __init__(self, grid: Grid, threshold: float) -> None:
        self.grid = grid.one_sided()
        self.threshold = threshold
        self._next = 0  # the number of the next column
        self._open = _Parts.none()
        # Runs of the last column: first row, row after the last, and which of the open components.
        self._low, self._high, self._owner = (np.zeros(0, np.int64) for _ in range(3))

    def see(self, probabilities: NDArray[np.float32]) -> list[Event]:
        """The events that ended within the next columns [F, T], by begin."""
        if not probabilities.size:
            return []
        columns = np.ascontiguousarray(probabilities.T)
        column, low, high, total = _runs(columns, self.threshold)
        runs = _Parts(self._next + column, self._next + column + 1, low, high, high - low, total)
        self._next += len(columns)

        # Nodes of the graph: open components, the runs of the last column, the runs of these columns.
        opened, edge = len(self._open.begin), len(self._low)
        before = np.concatenate([np.full(edge, -1), column])
        lows, highs = np.concatenate([self._low, low]), np.concatenate([self._high, high])
        one, other = _touching(before, lows, highs, rows=len(probabilities))
        ones = np.concatenate([self._owner, opened + one])
        others = np.concatenate([opened + np.arange(edge), opened + other])
        label = _labels(opened + edge + len(low), ones, others)

        group = np.concatenate([label[:opened], label[opened + edge :]])
        numbers, group = np.unique(group, return_inverse=True)
        if not len(numbers):
            return []
        found = (self._open + runs).merged(group, len(numbers))
        last = runs.end == self._next
        self._low, self._high = low[last], high[last]
        reaching, self._owner = np.unique(group[opened:][last], return_inverse=True)
        self._open = found[reaching]
        ended = np.ones(len(numbers), np.bool_)
        ended[reaching] = False
        return self._events(found[ended])

    def finish(self) -> list[Event]:
        """The events that last until the end."""
        events, self._open = self._events(self._open), _Parts.none()
        return events

    def _events(self, parts: _Parts) -> list[Event]:
        grid = self.grid
        column_s, row_hz = grid.hop / grid.sample_rate, grid.row_hz
        # Column c is centred at window_length / 2 + c hops, and a cell reaches half way to its neighbours.
        centre_s = grid.window_length / 2 / grid.sample_rate - column_s / 2
        begin, end = (np.maximum(0, centre_s + edge * column_s) for edge in (parts.begin, parts.end))
        low, high = ((edge - 0.5) * row_hz for edge in (parts.low, parts.high))
        low, high = np.maximum(0, low), np.minimum(grid.sample_rate / 2, high)
        score = parts.total / parts.cells
        large = (end - begin >= MIN_DURATION_S) & (high - low >= MIN_BAND_HZ)
        order = np.lexsort([low, begin])
        columns = (array[order][large[order]].tolist() for array in (begin, end, low, high, score))
        return [Event(*values) for values in zip(*columns, strict=True)]


def settled(events: Iterable[Event], duration_s: float, label: str) -> list[Event]:
    """Events of one label, by begin, within the recording: its last window may have been filled up."""
    inside = (replace(event, end_s=min(event.end_s, duration_s), label=label) for event in events)
    return sorted(
        (event for event in inside if event.begin_s < event.end_s),
        key=lambda event: (event.begin_s, event.low_hz),
    )


def boxes(events: Iterable[Event], join_s: float = JOIN_S) -> list[Event]:
    """Events as people draw them: one box for what shares a band and follows within ``join_s``.

    The score of a box is the highest of its events'.

    Args:
        events: in any order.
        join_s: the longest pause inside a box.

    Returns:
        Boxes by begin.
    """
    done: list[Event] = []
    growing: list[Event] = []
    for event in sorted(events, key=lambda each: (each.begin_s, each.low_hz)):
        done += [box for box in growing if box.end_s + join_s < event.begin_s]
        growing = [box for box in growing if box.end_s + join_s >= event.begin_s]
        mine = [box for box in growing if box.low_hz <= event.high_hz and event.low_hz <= box.high_hz]
        growing = [box for box in growing if box not in mine]
        growing.append(_around([*mine, event]))
    return sorted(done + growing, key=lambda each: (each.begin_s, each.low_hz))


def _around(events: list[Event]) -> Event:
    return replace(
        events[-1],
        begin_s=min(event.begin_s for event in events),
        end_s=max(event.end_s for event in events),
        low_hz=min(event.low_hz for event in events),
        high_hz=max(event.high_hz for event in events),
        score=max(event.score for event in events),
    )


def paint(events: Iterable[Event], grid: Grid, first: int, columns: int) -> NDArray[np.bool_]:
    """Boxes as a one-sided mask [F, ``columns``]: True in every cell whose centre lies in one of them.

    Args:
        events: their boxes.
        grid: rows and columns.
        first: number of the mask's first column.
        columns: of the mask.
    """
    frequencies = grid.one_sided().frequencies()
    times = grid.times(columns) + first * grid.hop / grid.sample_rate
    mask = np.zeros((len(frequencies), columns), np.bool_)
    for event in events:
        begin, end = np.searchsorted(times, [event.begin_s, event.end_s])
        low, high = np.searchsorted(frequencies, [event.low_hz, event.high_hz])
        mask[low:high, begin:end] = True
    return mask


Runs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def _runs(columns: NDArray[np.float32], threshold: float) -> Runs:
    """Column, first row, row after the last and sum of each run in probabilities [T, F], column by column."""
    count, rows = columns.shape
    # A cell of background between two columns ends every run.
    mask = np.zeros((count, rows + 1), np.bool_)
    np.greater(columns, threshold, out=mask[:, :rows])
    flat = mask.reshape(-1)
    (edges,) = np.nonzero(np.diff(flat, prepend=False))
    starts, ends = edges[::2], edges[1::2]
    column, low = np.divmod(starts, rows + 1)
    lengths = ends - starts
    total = np.zeros(len(starts))
    if len(starts):
        total = np.add.reduceat(columns[mask[:, :rows]], np.cumsum(lengths) - lengths, dtype=np.float64)
    return column, low, low + lengths, total


def _touching(
    column: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64], rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of runs in neighbouring columns that touch, diagonals included; runs come in order."""
    # Columns laid end to end, with two cells between: what touches row -1 or ``rows`` belongs to no other.
    starts, ends = column * (rows + 2) + low, column * (rows + 2) + high
    first = np.searchsorted(ends, starts + rows + 2)
    counts = np.maximum(0, np.searchsorted(starts, ends + rows + 2, side="right") - first)
    one = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts)
    return one, np.repeat(first, counts) + within


def _labels(nodes: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The lowest node of each node's component, given the edges of a graph."""
    label = np.arange(nodes)
    while len(one):
        low, high = np.minimum(label[one], label[other]), np.maximum(label[one], label[other])
        different = low < high
        one, other, low, high = one[different], other[different], low[different], high[different]
        np.minimum.at(label, high, low)
        while not np.array_equal(higher := label[label], label):
            label = higher
    return label
