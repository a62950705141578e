"""Events from probabilities, whichever way they come."""

import numpy as np
import pytest

from birdlab.audio.grid import Grid
from birdlab.prediction.finding import Finder, box_cells

GRID = Grid(8_000, window_length=32, hop=16, n_fft=64)


def song() -> np.ndarray:
    """Two syllables of twenty columns, ten columns (20 ms) apart; a cell of the first sticks out."""
    cells = np.zeros((33, 80), np.float32)
    cells[10:14, 5:25] = cells[10:14, 35:55] = 0.9
    cells[14, 12] = 0.9
    return cells


@pytest.mark.parametrize("parts", [1, 3, 80])
def test_events_are_sounds_or_boxes(parts: int) -> None:
    """Whatever is seen at once; a box holds the pause, and leaves out what sticks out."""
    for boxes, extents in ((False, [(10, 15), (10, 14)]), (True, [(10, 14)])):
        finder = Finder(GRID, 0.5, boxes=boxes)
        for part in np.array_split(song(), parts, axis=1):
            finder.see(part)
        found = finder.finish(1.0, "owl")
        bands = [(round(each.low_hz / 125 + 0.5), round(each.high_hz / 125 + 0.5)) for each in found]
        assert bands == extents
        assert {each.label for each in found} == {"owl"}
        assert (found[0].begin_s, found[-1].end_s) == pytest.approx((0.011, 0.111), abs=1e-3)


def test_nothing_outlasts_the_recording() -> None:
    finder = Finder(GRID, 0.5)
    finder.see(song())
    assert [event.end_s for event in finder.finish(0.05)] == pytest.approx([0.05], abs=1e-3)


def test_nothing_reaches_above_what_the_recording_holds() -> None:
    finder = Finder(GRID, 0.5)
    finder.see(song())
    assert {event.high_hz for event in finder.finish(1.0, highest_hz=1500)} == {1500}
    assert finder.finish(1.0, highest_hz=1000) == []


def test_cells_in_boxes() -> None:
    """The pause is one of them, what sticks out isn't; and none are at a threshold that nothing exceeds."""
    cells = np.zeros((33, 80), np.bool_)
    cells[10:14, 5:55] = True
    assert np.array_equal(box_cells(song(), GRID, 0.5), cells)
    assert not box_cells(song(), GRID, 0.95).any()
