"""Events: where something sounds, single sounds or boxes as people draw them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from birdlab.audio.grid import Grid

JOIN_S = 0.1
"""Boxes, as people draw them, hold the short pauses between the syllables of one song."""

SHARED = 0.5
"""What belongs to one box shares at least this part of the two extents' union: of time, as a call and its
harmonics do, or of the band, as the syllables of a song do."""

BOX_EDGE = 0.2
"""They leave out what sticks out: their first and last row, and column, hold at least this share of what the
fullest one does (`birdlab.prediction.components.Components`)."""


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


def settled(
    events: Iterable[Event], duration_s: float, label: str, highest_hz: float = math.inf
) -> list[Event]:
    """Events of one label, by begin, within the recording.

    Its last window may have been filled up, and its rate may be lower than what the network hears.
    """
    inside = (
        replace(
            event,
            end_s=min(event.end_s, duration_s),
            high_hz=min(event.high_hz, highest_hz),
            label=label,
        )
        for event in events
    )
    return sorted(
        (event for event in inside if event.begin_s < event.end_s and event.low_hz < event.high_hz),
        key=lambda event: (event.begin_s, event.low_hz),
    )


def boxes(events: Iterable[Event], join_s: float = JOIN_S) -> list[Event]:
    """Events as people draw them.

    One box is drawn around what sounds at the same time, and then around what follows within ``join_s`` in
    the same band, until no two boxes belong together; `SHARED` says what is the same. Two birds that call at
    once are one box, too: nothing here tells them from a call and its harmonics. The score of a box is the
    highest of its events'.

    Args:
        events: in any order.
        join_s: seconds.

    Returns:
        Boxes by begin.
    """
    found = list(events)
    while True:
        before = len(found)
        calls = _merged(found, 0.0, _at_the_same_time)
        found = _merged(calls, join_s, _in_the_same_band)
        if len(found) == before:
            return found


def _at_the_same_time(one: Event, other: Event) -> bool:
    return _same(one.begin_s, one.end_s, other.begin_s, other.end_s)


def _in_the_same_band(one: Event, other: Event) -> bool:
    return _same(one.low_hz, one.high_hz, other.low_hz, other.high_hz)


def _same(low: float, high: float, other_low: float, other_high: float) -> bool:
    """Whether two extents share enough of their union."""
    shared = min(high, other_high) - max(low, other_low)
    return shared >= SHARED * (max(high, other_high) - min(low, other_low))


def _merged(events: Iterable[Event], pause_s: float, belong: Callable[[Event, Event], bool]) -> list[Event]:
    """Boxes around events that belong together, by begin; between them are pauses of at most so long."""
    done: list[Event] = []
    growing: list[Event] = []
    for event in sorted(events, key=_place):
        done += [box for box in growing if box.end_s + pause_s < event.begin_s]
        growing = [box for box in growing if box.end_s + pause_s >= event.begin_s]
        # Grown, a box may hold enough of another one.
        while mine := [box for box in growing if belong(box, event)]:
            growing = [box for box in growing if box not in mine]
            event = _around([*mine, event])
        growing.append(event)
    return sorted(done + growing, key=_place)


def _place(event: Event) -> tuple[float, float, float, float]:
    """By begin; of those that begin together, always the same one first."""
    return event.begin_s, event.low_hz, event.end_s, event.high_hz


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
