"""The connected components of a mask, found while it streams by: the events in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from birdlab.audio.grid import Grid
from birdlab.prediction.events import Event

MIN_DURATION_S = 0.01
MIN_BAND_HZ = 100.0
"""What is shorter or narrower is no bird; interpolated probabilities leave such crumbs along edges."""


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


@dataclass(frozen=True, slots=True)
class _Profile:
    """How many cells a component has in each row, and in each column from its first on."""

    begin: int
    columns: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, runs: _Parts, rows: int) -> "_Profile":
        """That of a component's runs."""
        begin = int(runs.begin.min())
        columns = np.zeros(int(runs.end.max()) - begin, np.int64)
        np.add.at(columns, runs.begin - begin, runs.cells)
        edges = np.bincount(runs.low, minlength=rows + 1) - np.bincount(runs.high, minlength=rows + 1)
        return cls(begin, columns, np.cumsum(edges)[:rows])

    def __add__(self, other: "_Profile") -> "_Profile":
        begin = min(self.begin, other.begin)
        end = max(each.begin + len(each.columns) for each in (self, other))
        columns = np.zeros(end - begin, np.int64)
        for each in (self, other):
            columns[each.begin - begin :][: len(each.columns)] += each.columns
        return _Profile(begin, columns, self.rows + other.rows)

    def extent(self, edge: float) -> tuple[int, int, int, int]:
        """First column and the one after the last, first row and the one after the last."""
        full = [np.flatnonzero(cells >= edge * cells.max()) for cells in (self.columns, self.rows)]
        (begin, end), (low, high) = ((int(found[0]), int(found[-1]) + 1) for found in full)
        return self.begin + begin, self.begin + end, low, high


class Components:
    """Connected components (with diagonals) of a mask that arrives in stretches.

    Remembers, beside the components that reach the last column, nothing: memory doesn't grow with length (but
    where there is an ``edge``, by a number for each of their columns). The mask is taken apart into runs, the
    foreground cells of one column without a gap. Runs of neighbouring columns that touch belong together, and
    so do those of the last column of one stretch and the first of the next.

    Args:
        grid: of the probabilities.
        threshold: a cell is foreground if its probability exceeds it.
        edge: leaves out of an event's extent what sticks out of it: its first and last row, and column, have
            at least this share of the cells in its fullest one. 0 leaves out nothing.
    """

    def __init__(self, grid: Grid, threshold: float, edge: float = 0.0) -> None:
        self.grid = grid.one_sided()
        self.threshold = threshold
        self.edge = edge
        self._next = 0  # the number of the next column
        self._open = _Parts.none()
        self._profiles: list[_Profile] = []  # of the open components, if there is an edge
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
        opened, carried = len(self._open.begin), len(self._low)
        before = np.concatenate([np.full(carried, -1), column])
        lows, highs = np.concatenate([self._low, low]), np.concatenate([self._high, high])
        one, other = _touching(before, lows, highs, rows=len(probabilities))
        ones = np.concatenate([self._owner, opened + one])
        others = np.concatenate([opened + np.arange(carried), opened + other])
        label = _labels(opened + carried + len(low), ones, others)

        group = np.concatenate([label[:opened], label[opened + carried :]])
        numbers, group = np.unique(group, return_inverse=True)
        if not len(numbers):
            return []
        found = (self._open + runs).merged(group, len(numbers))
        last = runs.end == self._next
        self._low, self._high = low[last], high[last]
        reaching, self._owner = np.unique(group[opened:][last], return_inverse=True)
        ended = self._large(found)
        ended[reaching] = False
        (ending,) = np.nonzero(ended)
        profiles: list[_Profile] = []
        if self.edge:
            profiles = self._profiled(np.concatenate([ending, reaching]), group, runs, len(probabilities))
        self._open, self._profiles = found[reaching], profiles[len(ending) :]
        return self._events(found[ending], profiles[: len(ending)])

    def finish(self) -> list[Event]:
        """The events that last until the end."""
        large = self._large(self._open)
        events = self._events(self._open[large], list(compress(self._profiles, large)))
        self._open, self._profiles = _Parts.none(), []
        return events

    def _profiled(
        self, wanted: NDArray[np.int64], group: NDArray[np.int64], runs: _Parts, rows: int
    ) -> list[_Profile]:
        """Profiles of the wanted groups; ``group`` has those of the open components, then of the runs."""
        profiles: dict[int, _Profile] = {}

        def add(number: int, profile: _Profile) -> None:
            profiles[number] = profiles[number] + profile if number in profiles else profile

        opened, group = np.split(group, [len(self._profiles)])
        for number, profile in zip(opened.tolist(), self._profiles, strict=True):
            add(number, profile)
        order = np.argsort(group, kind="stable")
        firsts, ends = (np.searchsorted(group[order], wanted, side=side) for side in ("left", "right"))
        for number, first, end in zip(wanted.tolist(), firsts, ends, strict=True):
            if first < end:
                add(number, _Profile.of(runs[order[first:end]], rows))
        return [profiles[number] for number in wanted.tolist()]

    def _large(self, parts: _Parts) -> NDArray[np.bool_]:
        begin, end, low, high = self._extent(parts)
        return (end - begin >= MIN_DURATION_S) & (high - low >= MIN_BAND_HZ)

    def _events(self, parts: _Parts, profiles: Sequence[_Profile]) -> list[Event]:
        for index, profile in enumerate(profiles):
            extent = profile.extent(self.edge)
            parts.begin[index], parts.end[index], parts.low[index], parts.high[index] = extent
        begin, end, low, high = self._extent(parts)
        order = np.lexsort([low, begin])
        columns = (array[order].tolist() for array in (begin, end, low, high, parts.total / parts.cells))
        return [Event(*values) for values in zip(*columns, strict=True)]

    def _extent(self, parts: _Parts) -> tuple[NDArray[np.float64], ...]:
        """Begin and end in seconds, lowest and highest frequency."""
        grid = self.grid
        column_s, row_hz = grid.hop / grid.sample_rate, grid.row_hz
        # Column c is centred at window_length / 2 + c hops, and a cell reaches half way to its neighbours.
        centre_s = grid.window_length / 2 / grid.sample_rate - column_s / 2
        begin, end = (np.maximum(0, centre_s + edge * column_s) for edge in (parts.begin, parts.end))
        low, high = ((edge - 0.5) * row_hz for edge in (parts.low, parts.high))
        return begin, end, np.maximum(0, low), np.minimum(grid.sample_rate / 2, high)


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
