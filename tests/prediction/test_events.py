"""Boxes made of events."""

from birdlab.prediction.events import Event, boxes


def test_boxes_hold_the_pauses_of_a_song() -> None:
    song = [Event(0.0, 0.1, 2000, 3000, 0.6), Event(0.3, 0.4, 2500, 4000, 0.9)]
    other = [Event(0.2, 0.3, 6000, 7000, 0.7), Event(0.75, 0.9, 2000, 3000, 0.8)]
    assert boxes([other[1], *song, other[0]], join_s=0.3) == [
        Event(0.0, 0.4, 2000, 4000, 0.9),
        other[0],
        other[1],
    ]
    assert boxes([]) == []


def test_a_box_may_bridge_two() -> None:
    pair = [Event(0.0, 0.5, 1000, 2000, 0.6), Event(0.0, 0.5, 3000, 4000, 0.7)]
    (box,) = boxes([*pair, Event(0.4, 0.6, 1500, 3500, 0.5)])
    assert box == Event(0.0, 0.6, 1000, 4000, 0.7)
