"""From probabilities, as they stream by, to the events of a recording."""

import math

import numpy as np
from numpy.typing import NDArray

from birdlab.audio.grid import Grid
from birdlab.prediction.components import Components
from birdlab.prediction.events import BOX_EDGE, Event, boxes, paint, settled
from birdlab.prediction.stream import Probabilities


class Finder:
    """The events of one recording.

    Args:
        grid: the spectrogram whose cells the probabilities are of.
        threshold: of a cell of bird.
        boxes: events are boxes as people draw them, with pauses and harmonics, and not single sounds.
    """

    def __init__(self, grid: Grid, threshold: float, *, boxes: bool = False) -> None:
        self._components = Components(grid, threshold, BOX_EDGE if boxes else 0)
        self._boxes = boxes
        self._events: list[Event] = []

    def see(self, probabilities: Probabilities) -> None:
        """Look at the next columns [F, T] of the recording."""
        self._events += self._components.see(probabilities)

    def finish(self, duration_s: float, label: str = "bird", highest_hz: float = math.inf) -> list[Event]:
        """All events, by begin.

        Args:
            duration_s: of the recording; what lasts longer, in a window that was filled up, is cut there.
            label: what they are.
            highest_hz: that the recording can hold, half its rate; what reaches higher is cut there.
        """
        events = settled(self._events + self._components.finish(), duration_s, label, highest_hz)
        return boxes(events) if self._boxes else events


def box_cells(probabilities: Probabilities, grid: Grid, threshold: float) -> NDArray[np.bool_]:
    """The cells in boxes, as people draw them, of all that exceeds a threshold.

    Args:
        probabilities: [F, T], one-sided.
        grid: see `Finder`.
        threshold: see `Finder`.

    Returns:
        [F, T].
    """
    finder = Finder(grid, threshold, boxes=True)
    finder.see(probabilities)
    return paint(finder.finish(math.inf), grid, 0, probabilities.shape[1])
