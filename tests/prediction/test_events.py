"""Boxes made of events."""

from dataclasses import astuple

from hypothesis import given
from hypothesis import strategies as st

from birdlab.prediction.events import Event, boxes


def test_boxes_hold_the_pauses_of_a_song() -> None:
    song = [Event(0.0, 0.1, 2000, 3000, 0.6), Event(0.3, 0.4, 2000, 4000, 0.9)]
    other = [Event(0.2, 0.3, 6000, 7000, 0.7), Event(0.75, 0.9, 2000, 3000, 0.8)]
    assert boxes([other[1], *song, other[0]], join_s=0.3) == [
        Event(0.0, 0.4, 2000, 4000, 0.9),
        other[0],
        other[1],
    ]
    assert boxes([]) == []


def test_a_call_and_its_harmonics_are_one_box() -> None:
    call = [Event(0.0, 0.5, 1000, 2000, 0.6), Event(0.1, 0.5, 3000, 4000, 0.7)]
    assert boxes(call) == [Event(0.0, 0.5, 1000, 4000, 0.7)]


def test_what_sounds_for_another_time_or_in_another_band_is_another_box() -> None:
    click, song = Event(0.2, 0.4, 5000, 6000, 0.6), Event(0.0, 0.5, 1000, 2000, 0.7)
    later = Event(0.5, 0.9, 1600, 3000, 0.5)
    assert boxes([click, song, later]) == [song, click, later]


def test_a_box_that_grows_takes_in_what_it_then_belongs_to() -> None:
    """The two below share .4 of their time: each of them belongs to what the other makes of the one above."""
    below = [Event(0.0, 0.7, 1000, 2000, 0.6), Event(0.3, 1.0, 2500, 3000, 0.7)]
    assert boxes(below) == below
    assert boxes([*below, Event(0.1, 0.9, 4000, 5000, 0.5)]) == [Event(0.0, 1.0, 1000, 5000, 0.7)]


extents = st.tuples(st.integers(0, 30), st.integers(1, 20), st.integers(0, 30), st.integers(1, 20))


@given(st.lists(extents, max_size=12))
def test_boxes_lose_nothing_and_come_by_begin(drawn: list[tuple[int, int, int, int]]) -> None:
    events = [
        Event(begin / 10, (begin + length) / 10, low * 100.0, (low + band) * 100.0, 0.5)
        for begin, length, low, band in drawn
    ]
    found = boxes(events)
    assert found == boxes(reversed(events))
    assert found == sorted(found, key=lambda box: (box.begin_s, box.low_hz))
    for event in events:
        assert any(
            box.begin_s <= event.begin_s
            and event.end_s <= box.end_s
            and box.low_hz <= event.low_hz
            and event.high_hz <= box.high_hz
            for box in found
        )
    assert len({astuple(box) for box in found}) <= len({astuple(event) for event in events})
