"""Events: where something sounds, single sounds or boxes as people draw them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from birdlab.audio.grid import Grid

JOIN_S = 0.1
"""Boxes, as people draw them, hold the short pauses between the syllables of one song."""

BOX_EDGE = 0.3
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
