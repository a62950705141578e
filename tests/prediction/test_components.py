"""Connected components while streaming, against scipy's on the whole."""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from birdlab.audio.grid import Grid
from birdlab.prediction import components as module
from birdlab.prediction.components import Components
from birdlab.prediction.events import Event, paint

GRID = Grid(sample_rate=1000, window_length=4, hop=2, n_fft=10, sides="one")


@pytest.fixture(autouse=True)
def no_smallest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_DURATION_S", 0.0)
    monkeypatch.setattr(module, "MIN_BAND_HZ", 0.0)


def found(probabilities: np.ndarray, cuts: list[int], threshold: float = 0.5, edge: float = 0) -> list[Event]:
    components = Components(GRID, threshold, edge)
    events = []
    for part in np.split(probabilities, sorted(cuts), axis=1):
        events += components.see(part.astype(np.float32))
    return sorted([*events, *components.finish()], key=lambda each: (each.begin_s, each.low_hz, each.end_s))


def test_one_event_by_hand() -> None:
    """Rows of 100 Hz; column c is centred at 2 + 2 c ms, and each cell reaches half way to its neighbours."""
    probabilities = np.zeros((6, 8))
    probabilities[2:4, 3] = 0.8
    probabilities[4, 4] = 0.5  # not above the threshold
    probabilities[4, 4:6] = 0.6, 1.0
    (event,) = found(probabilities, [4])
    assert astuple(event)[:5] == pytest.approx((0.007, 0.013, 150.0, 450.0, 0.8))
    mask = paint([event], GRID, 0, 8)
    assert mask[2:5, 3:6].all()
    assert mask.sum() == 9
    assert np.array_equal(paint([event], GRID, 2, 5), mask[:, 2:7])


def test_edges_of_the_recording() -> None:
    (event,) = found(np.ones((6, 3)), [])
    assert (event.begin_s, event.low_hz, event.high_hz) == (0.001, 0.0, 500.0)
    assert event.end_s == pytest.approx(0.007)


@settings(max_examples=200, deadline=None)
@given(
    mask=npst.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 12))),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    seed=st.integers(0, 9),
    edge=st.sampled_from([0, 0.3, 0.5, 1]),
)
def test_components_are_those_of_the_whole_mask(
    mask: np.ndarray, cuts: list[int], seed: int, edge: float
) -> None:
    probabilities = mask * np.random.default_rng(seed).uniform(0.6, 1, mask.shape).astype(np.float32)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    expected = []
    for number in range(1, count + 1):
        component = labels == number
        columns, rows = (span(component.sum(axis), edge) for axis in (0, 1))
        # Rows of 100 Hz and columns of 2 ms, of which the first is centred at 2 ms.
        low, high = max(0, 100 * rows.start - 50), min(500, 100 * rows.stop - 50)
        begin, end = 0.001 + 0.002 * columns.start, 0.001 + 0.002 * columns.stop
        expected.append([begin, end, low, high, probabilities[component].mean()])
    measured = [astuple(event)[:5] for event in found(probabilities, cuts, edge=edge)]
    assert len(measured) == count
    np.testing.assert_allclose(sorted(measured, key=rounded), sorted(expected, key=rounded), atol=1e-5)


def span(cells: np.ndarray, edge: float) -> slice:
    """From the first to the last row or column of a component with that share of the cells in the fullest."""
    (full,) = np.nonzero(cells >= max(1, edge * cells.max()))
    return slice(full[0], full[-1] + 1)


def rounded(event: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in event]


def test_crumbs_are_no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_DURATION_S", 0.003)
    monkeypatch.setattr(module, "MIN_BAND_HZ", 150.0)
    probabilities = np.zeros((6, 10))
    probabilities[1:4, 1] = probabilities[2, 4:9] = 1
    assert found(probabilities, []) == []


def test_memory_is_that_of_the_last_column() -> None:
    """A hum that never ends and calls that do: nothing is kept of what is over."""
    components = Components(GRID, 0.5)
    part = np.zeros((6, 50), np.float32)
    part[0] = 1
    part[3:5, 10:20] = part[3:5, 30:40] = 1
    for _ in range(20):
        assert len(components.see(part)) == 2
        assert len(components._open.begin) == 1
    (hum,) = components.finish()
    assert hum.end_s == pytest.approx(0.001 + 1000 * 0.002)


def test_what_sticks_out_is_no_part_of_a_box() -> None:
    """A rectangle of 3 rows and 8 columns with a spur to either side."""
    probabilities = np.zeros((6, 20))
    probabilities[2:5, 6:14] = 1
    probabilities[4, 2:6] = probabilities[5, 9] = 1
    whole, core = (found(probabilities, [7, 11], edge=edge)[0] for edge in (0, 0.4))
    assert astuple(whole)[:4] == pytest.approx((0.005, 0.029, 150, 500))
    assert astuple(core)[:4] == pytest.approx((0.013, 0.029, 150, 450))
    assert core.score == whole.score
