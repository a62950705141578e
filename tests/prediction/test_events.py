"""Boxes made of events."""

from dataclasses import replace
from itertools import combinations

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


def test_a_box_that_begins_earlier_than_thought_belongs_to_what_went_before() -> None:
    """The last two are one box, which shares more than half of its band with the first one."""
    events = [
        Event(0.0, 1.0, 1000, 3000, 0.5),
        Event(0.7, 2.4, 1000, 1900, 0.6),
        Event(1.5, 3.5, 1000, 2200, 0.7),
    ]
    assert boxes(events) == [Event(0.0, 3.5, 1000, 3000, 0.7)]


def test_half_of_the_time_of_both_together_is_enough() -> None:
    call, above = Event(0.0, 1.0, 1000, 2000, 0.6), Event(0.5, 1.0, 3000, 4000, 0.7)
    assert boxes([call, above]) == [Event(0.0, 1.0, 1000, 4000, 0.7)]
    later = replace(above, begin_s=0.51)
    assert boxes([call, later]) == [call, later]


extents = st.tuples(st.integers(0, 30), st.integers(1, 20), st.integers(0, 30), st.integers(1, 20))
scores = st.sampled_from([0.2, 0.5, 0.9])


@given(st.lists(st.tuples(extents, scores), max_size=12))
def test_every_event_lies_in_a_box_and_no_two_boxes_belong_together(
    drawn: list[tuple[tuple[int, int, int, int], float]],
) -> None:
    # In quarters of a second and kilohertz, which sums don't round.
    events = [
        Event(begin / 4, (begin + length) / 4, low * 1000.0, (low + band) * 1000.0, score)
        for (begin, length, low, band), score in drawn
    ]
    found = boxes(events, join_s=0.25)

    def holds(box: Event, event: Event) -> bool:
        in_time = box.begin_s <= event.begin_s and event.end_s <= box.end_s
        return in_time and box.low_hz <= event.low_hz and event.high_hz <= box.high_hz

    assert all(any(holds(box, event) for box in found) for event in events)
    assert all(box.score in {event.score for event in events if holds(box, event)} for box in found)
    assert max((box.score for box in found), default=0) == max((event.score for event in events), default=0)
    for one, other in combinations(found, 2):
        in_time = min(one.end_s, other.end_s) - max(one.begin_s, other.begin_s)
        in_band = min(one.high_hz, other.high_hz) - max(one.low_hz, other.low_hz)
        time = max(one.end_s, other.end_s) - min(one.begin_s, other.begin_s)
        band = max(one.high_hz, other.high_hz) - min(one.low_hz, other.low_hz)
        assert in_time < time / 2
        assert in_time < -0.25 or in_band < band / 2
