"""experiments/frontier/parts.py: what a part brings, read off curves; no training."""

import csv
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from birdlab.files import write_csv

SCRIPTS = Path(__file__).parents[2] / "experiments" / "frontier"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """parts.py, which finds summary.py beside it as it does when it is run."""
    monkeypatch.syspath_prepend(SCRIPTS)
    # Intervals are tested where they are made, and take their time.
    monkeypatch.setattr("birdlab.significance.RESAMPLES", 10)
    return importlib.import_module("parts")


def rows(script: ModuleType, boxed: int, seed: int = 0, recordings: int = 2) -> list[dict[str, Any]]:
    """At a threshold of t, 100 (1 - t) cells are marked, and t of them lie in the boxes."""
    return [
        {"run": f"x/{seed}", "seed": str(seed), "recording": f"XC{number}", "output": output}
        | {"threshold": threshold, "own": threshold == 0.5, "drawn": threshold == 0.3}
        | {"iou": 0.5, "marked_in_boxes": 100 * (1 - threshold) * threshold, "marked": 100 * (1 - threshold)}
        | {"in_boxes": boxed, "boxes": 2, "hit_boxes": 1, "time_both": 10, "time_either": 20}
        for number in range(recordings)
        for threshold in script.THRESHOLDS
        for output in ("mask", "boxes")
    ]


def test_what_is_found_is_the_recall_where_four_fifths_of_the_marks_lie_in_boxes(script: ModuleType) -> None:
    """At .8, of 20 marked cells 16 lie in boxes of 64; at .7 that is .7, too little."""
    marks = [row for row in rows(script, boxed=64) if row["output"] == "mask"]
    assert script.found(marks)(np.arange(2)) == pytest.approx(16 / 64)
    assert script.found(marks)(np.array([1, 1, 1])) == pytest.approx(16 / 64)
    nothing_precise = [row | {"marked_in_boxes": 0.0} for row in marks]
    assert script.found(nothing_precise)(np.arange(2)) == 0


def test_between_two_thresholds_it_is_interpolated(script: ModuleType) -> None:
    precision = {0.7: 0.7, 0.8: 0.9}
    marks = [
        row | {"marked_in_boxes": precision.get(row["threshold"], 0.0) * row["marked"]}
        for row in rows(script, boxed=90)
        if row["output"] == "mask"
    ]
    # Precision .7 finds 21 of 90, precision .9 finds 18: halfway between is .8.
    assert script.found(marks)(np.arange(2)) == pytest.approx((21 + 18) / 2 / 90)


def test_each_part_is_compared_with_the_whole_recipe(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part, boxed in (("none", 64), ("picture", 128)):
        of_part = [row for seed in range(2) for row in rows(script, boxed, seed)]
        write_csv(tmp_path / f"{part}.csv", of_part)
        write_csv(tmp_path / f"{part}_summary.csv", [{"output": "mask"}])
    files = sorted(map(str, tmp_path.glob("*.csv")))
    monkeypatch.setattr(sys, "argv", ["parts.py", *files, "--output", str(tmp_path / "made.csv")])
    script.main()
    with (tmp_path / "made.csv").open() as text:
        whole, picture = csv.DictReader(text)
    assert (whole["part"], whole["difference"], picture["part"]) == ("none", "", "picture")
    assert float(whole["found"]) == pytest.approx(0.25)
    assert float(picture["difference"]) == pytest.approx(-0.125)
    assert float(picture["precision"]) == pytest.approx(0.5)
    assert (picture["seeds"], picture["recordings"]) == ("2", "2")
