"""What scores depend on, and which samples are the worst, by hand."""

import math
from typing import Any

import pytest

from birdlab.analysis import binned, confused, coverage, recall_by_species, with_birds, worst


def row(
    iou: float, snr_db: float | None = None, *, true: int = 10, alarms: int = 0, group: str | None = None
) -> dict[str, Any]:
    """A sample whose prediction found ``iou`` of its true pixels, by default of a recording of its own."""
    found = round(iou * true)
    known = {} if snr_db is None else {"snr_db": snr_db}
    return {
        "group": group or f"{iou} {snr_db}",
        "iou": iou,
        "foreground_share": true / 100,
        "true_positive": found,
        "false_negative": true - found,
        "false_positive": alarms,
        "call_s": 1.0 if true else math.nan,
        **known,
    }


def test_bins_hold_nearly_equal_numbers_in_order() -> None:
    rows = [row(0.01 * (n % 50), 49.0 - n) for n in range(50)]
    bins = binned(rows, "snr_db")
    assert [each.samples for each in bins] == [8, 9, 8, 8, 9, 8]
    assert [each.low for each in bins] == [0, 8, 17, 25, 33, 42]
    assert [each.high for each in bins] == [7, 16, 24, 32, 41, 49]
    assert bins[0].middle == 3.5
    # The first 8 have SNRs of 0 to 7, so they were made with n = 42 to 49.
    assert bins[0].iou == pytest.approx(0.455)
    assert 0.42 < bins[0].iou_low < 0.455 < bins[0].iou_high < 0.49


def test_windows_of_one_recording_are_no_samples_of_their_own() -> None:
    """Seven windows of two recordings say as much of the next recording as two do."""
    rows = [row(0.2 + 0.4 * (n % 2), 1.0 + n, group=f"XC{n % 2}") for n in range(7)]
    (together,) = binned(rows, "snr_db")
    (apart,) = binned([each | {"group": str(n)} for n, each in enumerate(rows)], "snr_db")
    assert together.iou_high - together.iou_low > 1.5 * (apart.iou_high - apart.iou_low)
    (alone,) = binned([each | {"group": "XC0"} for each in rows], "snr_db")
    assert math.isnan(alone.iou_low)


def test_errors_of_a_bin_are_those_of_its_pixels_together() -> None:
    (only,) = binned([row(0.5, 1.0, true=10, alarms=30), row(1.0, 2.0, true=90)], "snr_db")
    assert only.over_segmentation == pytest.approx(30 / 100)
    assert only.under_segmentation == pytest.approx(5 / 100)
    assert only.iou == 0.75


def test_bins_of_the_same_samples_are_the_same() -> None:
    rows = [row(0.3 + 0.1 * (n % 5), float(n)) for n in range(20)]
    assert binned(rows, "snr_db") == binned(rows, "snr_db")


def test_what_is_not_known_has_no_bins_and_what_has_no_birds_is_in_none() -> None:
    rows = [row(0.5), row(1.0, true=0)]
    assert binned(rows, "snr_db") == []
    assert [each.samples for each in binned(rows, "call_s")] == [1]
    assert with_birds(rows) == rows[:1]
    assert binned([], "call_s") == []


def test_among_equals_the_worst_has_the_most_wrong_pixels() -> None:
    rows = [row(0.5), row(0.0, true=4), row(0.0, true=8), row(0.0, true=0, alarms=5), row(0.2)]
    assert worst(rows, 4) == [2, 3, 1, 4]
    assert worst(rows, 9) == [2, 3, 1, 4, 0]


def test_species_by_hand() -> None:
    said = [("owl", "owl", 0.9), ("owl", "wren", 0.6), ("owl", "wren", 0.5), ("wren", "wren", 0.8)]
    said.append(("dipper", "owl", 0.4))
    rows = [{"label": true, "predicted": name, f"p_{name}": str(p)} for true, name, p in said]
    assert recall_by_species(rows) == [("dipper", 0.0, 1), ("owl", 1 / 3, 3), ("wren", 1.0, 1)]
    assert confused(rows) == [("owl", "wren", 2), ("dipper", "owl", 1)]
    curve = coverage(rows)
    assert curve.at(0.8) == (2 / 5, 1.0)
    assert curve.at(0.55) == (3 / 5, 2 / 3)
    assert curve.at(0.0) == (1.0, 2 / 5)
