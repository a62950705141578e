"""experiments/frontier/score.py: what is refused, what rules choose, what the tables hold; no training."""

import csv
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from birdlab.errors import BirdlabError
from birdlab.prediction.ensemble import Ensemble
from birdlab.prediction.library import Predictor

RATE = 32_000
SCRIPTS = Path(__file__).parents[2] / "experiments" / "frontier"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """score.py, which finds summary.py beside it as it does when it is run."""
    monkeypatch.syspath_prepend(SCRIPTS)
    # Intervals are tested where they are made, and take their time.
    monkeypatch.setattr("birdlab.significance.RESAMPLES", 10)
    return importlib.import_module("score")


@pytest.fixture
def summary(script: ModuleType) -> Callable[..., list[dict[str, Any]]]:
    found: Callable[..., list[dict[str, Any]]] = script.summary
    return found


def a_run(folder: Path, seed: int, test: list[str], train: list[str] | None = None) -> Path:
    """That says what it was tested on, and has no network."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"seed: {seed}\n")
    splits = {"train": train or [], "val": [], "test": test}
    ids = {split: [f"boxes/{name}@0.000s" for name in names] for split, names in splits.items()}
    (folder / "splits.json").write_text(json.dumps(ids))
    return folder


def rows_of(script: ModuleType, run: str, seed: str, recording: str, share: Callable[[float], float]) -> Any:
    """A run's rows of one recording: of 100 marked cells a share is in boxes, by threshold."""
    return [
        {"run": run, "seed": seed, "recording": recording, "output": output, "threshold": threshold}
        | {"own": threshold == 0.5, "drawn": threshold == 0.3}
        | {"iou": share(threshold), "marked_in_boxes": 100 * share(threshold), "marked": 100}
        | {"in_boxes": 200, "boxes": 2, "hit_boxes": 1, "time_both": 10, "time_either": 20}
        for output in ("mask", "boxes")
        for threshold in script.THRESHOLDS
    ]


def steep(threshold: float) -> float:
    """.8 are reached at .8."""
    return threshold


def flat(threshold: float) -> float:
    """.8 are never reached."""
    return 0.5


@pytest.fixture
def boxed(tmp_path: Path) -> Path:
    """Two recordings of 1.5 s of faint noise, each with a tone of .4 s, and a box around it."""
    (tmp_path / "boxed" / "audio").mkdir(parents=True)
    (tmp_path / "boxed" / "labels").mkdir()
    for name, hertz in (("XC1", 3000), ("XC2", 6000)):
        soundfile.write(tmp_path / "boxed" / "audio" / f"{name}.wav", tone(hertz, 0.5), RATE)
        label = f"0.5\t0.9\tbird\n\\\t{hertz - 300}\t{hertz + 300}\n"
        (tmp_path / "boxed" / "labels" / f"{name}.txt").write_text(label)
    return tmp_path / "boxed"


def tone(hertz: float, loudness: float) -> np.ndarray:
    """From .5 to .9 s."""
    time = np.arange(round(1.5 * RATE)) / RATE
    sine = loudness * np.sin(2 * np.pi * hertz * time) * ((time >= 0.5) & (time < 0.9))
    return np.random.default_rng(0).normal(0, 0.02, len(time)) + sine


def read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_fold_that_a_seed_lacks_is_named_before_anything_is_scored(
    script: ModuleType, tmp_path: Path
) -> None:
    names = {"XC1", "XC2", "XC3"}
    runs = [
        a_run(tmp_path / "m" / "fold-0_seed-0", 0, ["XC1"], ["XC2", "XC3"]),
        a_run(tmp_path / "m" / "fold-1_seed-0", 0, ["XC2", "XC3", "elsewhere"], ["XC1"]),
        a_run(tmp_path / "m" / "fold-0_seed-1", 1, ["XC1"], ["XC2", "XC3"]),
    ]
    with pytest.raises(BirdlabError, match=r"no run of seed 1 tests XC2, XC3, as m/fold-1_seed-0 does"):
        script.entries(runs, names)
    whole = [*runs, a_run(tmp_path / "m" / "fold-1_seed-1", 1, ["XC3", "XC2"], ["XC1"])]
    made = script.entries(whole, names)
    assert [sorted(entry.recordings) for entry in made] == [["XC1"], ["XC2", "XC3"]] * 2
    assert [(entry.title, entry.seed) for entry in made[::3]] == [
        ("m/fold-0_seed-0", "0"),
        ("m/fold-1_seed-1", "1"),
    ]


def test_a_run_that_has_seen_none_is_tested_on_all_and_on_none_twice(
    script: ModuleType, tmp_path: Path
) -> None:
    names = {"XC1", "XC2"}
    fresh = a_run(tmp_path / "p" / "fresh", 0, ["mixture_1"], ["mixture_2"])
    fold = a_run(tmp_path / "m" / "fold-0", 0, ["XC1"], ["XC2"])
    (entry,) = script.entries([fresh], names)
    assert entry.recordings == names
    with pytest.raises(BirdlabError, match="two runs of seed 0 test XC1: score one condition"):
        script.entries([fresh, fold], names)
    with pytest.raises(BirdlabError, match="two of the runs are called m/fold-0"):
        script.entries([fold, fold], names)
    (energy,) = script.entries([Path("energy")], names)
    assert energy.recordings == names


def test_a_rule_has_a_row_if_it_chose_a_threshold_for_every_run(
    script: ModuleType, summary: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folds of two seeds; what one fold's run is told is what the other's found."""
    rows = [
        row
        for seed in ("0", "1")
        for fold, name in (("a", "XC1"), ("b", "XC2"))
        for row in rows_of(script, f"{fold}{seed}", seed, name, steep)
    ]
    made = {(row["output"], row["threshold"]): row for row in summary(rows)}
    assert {row["recordings"] for row in made.values()} == {2}
    assert {row["seeds"] for row in made.values()} == {2}
    assert made["mask", "precise"]["precision"] == pytest.approx(0.8)
    assert made["mask", "own"]["precision"] == pytest.approx(0.5)
    assert made["mask", "drawn"]["iou"] == pytest.approx(0.3)
    assert made["boxes", "boxes"]["iou"] == pytest.approx(0.95)
    assert made["boxes", 0.1]["recall"] == pytest.approx(0.05)
    assert ("boxes", "drawn") not in made
    assert capsys.readouterr().err == ""

    # Of seed 1 nothing is precise in XC2: its first fold's run has no threshold, all other rows stay.
    rows = [row for row in rows if row["run"] != "b1"] + rows_of(script, "b1", "1", "XC2", flat)
    left = {(row["output"], row["threshold"]): row for row in summary(rows)}
    assert made.keys() - left.keys() == {("mask", "precise"), ("boxes", "precise")}
    assert {row["recordings"] for row in left.values()} == {2}
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("mask, precise: no row, ")
    assert second.startswith("boxes, precise: no row, ")
    assert "no threshold puts 0.8 of the marks into boxes" in first
    assert first.endswith(": of a1")


def test_without_other_folds_nothing_is_chosen_on_them(
    script: ModuleType, summary: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made = summary(rows_of(script, "p/fresh", "0", "XC1", steep))
    assert not {"precise", "boxes"} & {row["threshold"] for row in made}
    assert "boxes, boxes: no row, there are no other folds: of p/fresh" in capsys.readouterr().err


def test_the_energy_threshold_marks_tones_in_their_boxes(script: ModuleType, boxed: Path) -> None:
    script.score([script.ENERGY], boxed, output=boxed / "out" / "masks.csv")
    rows = read(boxed / "out" / "masks.csv")
    assert {(row["run"], row["recording"]) for row in rows} == {("energy", "XC1"), ("energy", "XC2")}
    (own,) = (
        row
        for row in read(boxed / "out" / "masks_summary.csv")
        if (row["output"], row["threshold"]) == ("mask", "own")
    )
    assert (own["seeds"], own["recordings"], own["hit"]) == ("1", "2", "1.0")


def test_rows_are_written_before_anything_is_made_of_them(
    script: ModuleType, boxed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(rows: object, *more: object) -> None:
        raise RuntimeError("a mistake in summing")

    monkeypatch.setattr(script, "summary", fail)
    with pytest.raises(RuntimeError, match="summing"):
        script.score([script.ENERGY], boxed, output=boxed / "masks.csv")
    assert read(boxed / "masks.csv")


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    """Two recordings without birds of 1.5 s, in each a tone that the energy threshold hears."""
    (tmp_path / "quiet").mkdir()
    for name in ("rain_1-17367-A", "wind_1-20000-A"):
        soundfile.write(tmp_path / "quiet" / f"{name}.wav", tone(2000, 0.5), RATE)
    return tmp_path / "quiet"


@pytest.fixture
def folds(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two folds of a run that `boxed` tests, with the energy threshold for a network."""
    monkeypatch.setattr(script, "opened", lambda entry: (Predictor(script.Energy()), 0.3))
    return [
        a_run(tmp_path / "m" / "fold-0", 0, ["XC1"], ["XC2", "17367"]),
        a_run(tmp_path / "m" / "fold-1", 0, ["XC2"], ["XC1"]),
    ]


def test_scores_at_a_stated_rate_of_false_alarms(
    script: ModuleType,
    boxed: Path,
    quiet: Path,
    folds: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An event in 1.5 s is 2400 an hour: ten are kept to where there is none, in what a run hasn't heard."""
    monkeypatch.setattr(script, "RATES", (10, 240_000))
    script.score(folds, boxed, bird_free=quiet, output=boxed / "masks.csv")
    alarms = read(boxed / "masks_alarms.csv")
    assert [(row["run"], row["recordings"], row["rule"]) for row in alarms] == [
        ("m/fold-0", "1", "alarms_10"),
        ("m/fold-0", "1", "alarms_240000"),
        ("m/fold-1", "2", "alarms_10"),
        ("m/fold-1", "2", "alarms_240000"),
    ]
    assert [float(row["minutes"]) for row in alarms[::2]] == pytest.approx([0.025, 0.05])
    assert {row["events"] for row in alarms if row["rule"] == "alarms_10"} == {"0"}
    strict, loose = (float(row["threshold"]) for row in alarms[:2])
    assert strict > loose
    scored = {float(row["threshold"]) for row in read(boxed / "masks.csv") if row["run"] == "m/fold-0"}
    assert {strict, loose} <= scored

    summed = {(row["output"], row["threshold"]): row for row in read(boxed / "masks_summary.csv")}
    for output in ("mask", "boxes"):
        row = summed[output, "alarms_10"]
        assert (row["recordings"], row["bird_free_recordings"]) == ("2", "1")
        assert float(row["bird_free_minutes"]) == pytest.approx(0.025)
        # Nothing in 1.5 s: the rule of three, of an hour.
        assert float(row["alarms_an_hour_at_most"]) == pytest.approx(-np.log(0.05) * 2400)
        assert summed[output, "own"]["bird_free_minutes"] == ""
        assert float(row["recall"]) <= float(summed[output, "alarms_240000"]["recall"])


def test_a_run_that_has_heard_all_recordings_without_birds(
    script: ModuleType, boxed: Path, quiet: Path, folds: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (quiet / "wind_1-20000-A.wav").unlink()
    script.score(folds, boxed, bird_free=quiet, output=boxed / "masks.csv")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "m/fold-0: has heard all 1 recordings without birds."
    assert any(line.startswith("mask, alarms_10: no row") and line.endswith("of m/fold-0") for line in said)
    assert {row["run"] for row in read(boxed / "masks_alarms.csv")} == {"m/fold-1"}
    summed = read(boxed / "masks_summary.csv")
    assert not [row for row in summed if row["threshold"].startswith("alarms")]
    assert {row["recordings"] for row in summed} == {"2"}


def test_no_threshold_keeps_to_a_rate(script: ModuleType, summary: Any, capsys: Any) -> None:
    rows = rows_of(script, "a", "0", "XC1", steep)
    facts = {"run": "a", "seed": "0", "recordings": 1, "minutes": 3.0}
    alarms = [facts | {"rule": "alarms_10", "threshold": None}]
    alarms += [facts | {"rule": "alarms_60", "threshold": 0.9, "an_hour_at_most": 70.0}]
    made = {(row["output"], row["threshold"]): row for row in summary(rows, alarms)}
    assert ("mask", "alarms_10") not in made
    assert made["mask", "alarms_60"]["precision"] == pytest.approx(0.9)
    assert made["boxes", "alarms_60"]["alarms_an_hour_at_most"] == 70.0
    assert "mask, alarms_10: no row, " in capsys.readouterr().err


def test_seeds_of_a_fold_are_scored_as_one(
    script: ModuleType, boxed: Path, quiet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their thresholds are averaged, and what one of them has heard is heard."""
    drawn = {"0": 0.25, "1": 0.5}
    own = {"0": 0.5, "1": 0.6}
    boxes = {"0": 0.625, "1": 0.875}
    monkeypatch.setattr(script, "drawn_threshold", lambda run: drawn[run.name[-1]])

    def load(runs: tuple[Path, ...]) -> Predictor:
        networks = {
            str(run): script.Energy(threshold=own[run.name[-1]], box_threshold=boxes[run.name[-1]])
            for run in runs
        }
        return Predictor(Ensemble(networks))

    monkeypatch.setattr(script.birdlab, "load", load)
    runs = [
        a_run(tmp_path / "m" / "f0_s1", 1, ["XC1"], ["XC2", "17367"]),
        a_run(tmp_path / "m" / "f0_s0", 0, ["XC1"], ["XC2"]),
        a_run(tmp_path / "m" / "f1_s1", 1, ["XC2"], ["XC1"]),
        a_run(tmp_path / "m" / "f1_s0", 0, ["XC2"], ["XC1", "20000"]),
    ]
    script.score(runs, boxed, bird_free=quiet, ensemble=True, output=boxed / "masks.csv")
    rows = read(boxed / "masks.csv")
    assert {(row["run"], row["seed"], row["recording"]) for row in rows} == {
        ("m/f0_s0+m/f0_s1", "0+1", "XC1"),
        ("m/f1_s0+m/f1_s1", "0+1", "XC2"),
    }
    of_run = {(row["output"], float(row["threshold"])) for row in rows if row["own"] == "True"}
    assert of_run == {("mask", 0.55), ("boxes", 0.75)}
    assert {float(row["threshold"]) for row in rows if row["drawn"] == "True"} == {0.375}
    summed = read(boxed / "masks_summary.csv")
    assert {(row["seeds"], row["recordings"]) for row in summed} == {("1", "2")}
    assert {row["recordings"] for row in read(boxed / "masks_alarms.csv")} == {"1"}


def test_what_is_no_ensemble(script: ModuleType, boxed: Path, tmp_path: Path) -> None:
    """Two seeds that test the same recordings, but divided otherwise: their folds have no average."""
    runs = [
        a_run(tmp_path / "m" / "f0_s0", 0, ["XC1"], ["XC2"]),
        a_run(tmp_path / "m" / "f1_s0", 0, ["XC2"], ["XC1"]),
    ]
    with pytest.raises(BirdlabError, match="runs of several seeds, and these have one"):
        script.score(runs, boxed, ensemble=True)
    both = a_run(tmp_path / "m" / "all_s1", 1, ["XC1", "XC2"])
    with pytest.raises(BirdlabError, match="same recordings as m/f0_s0 does"):
        script.score([*runs, both], boxed, ensemble=True)
