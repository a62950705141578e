"""False alarms by threshold: planted tones are the events, and the command is run as a user runs it."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.stats import binom
from typer.testing import CliRunner

from birdlab.analysis import coverage
from birdlab.errors import BirdlabError
from birdlab.evaluate import app
from birdlab.prediction.alarms import (
    FalseAlarms,
    confidences,
    false_alarms,
    name_table,
    recordings_in,
    table,
)
from birdlab.prediction.network import Network
from birdlab.run import Run

RATE = 8_000


@pytest.fixture
def noise(tmp_path: Path, make_tones: Callable[..., np.ndarray]) -> Path:
    """Two recordings of 1.5 s, each with a tone: of a network that hears loudness, at about .65 and .86."""
    for name, loudness in (("quiet", 0.15), ("loud", 0.2)):
        audio = loudness * make_tones((0.3, 0.5, 1500.0), duration_s=1.5)
        (tmp_path / "noise" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "noise" / name / "a.wav", audio, RATE)
    return tmp_path / "noise"


def scored(run: Run, noise: Path, output: Path) -> tuple[str, dict[str, Any]]:
    """What the command prints, and writes."""
    done = CliRunner().invoke(app, [str(run.directory), "--bird-free", str(noise), "--output", str(output)])
    assert done.exit_code == 0, done.output
    return done.output, json.loads(output.read_text())


@pytest.mark.parametrize("workers", [1, 2])
def test_planted_tones_are_counted_at_each_threshold(loud_tones: Network, noise: Path, workers: int) -> None:
    heard: list[None] = []
    found = false_alarms(
        loud_tones,
        recordings_in(noise),
        [0.3, 0.75, 0.95],
        workers=workers,
        progress=lambda: heard.append(None),
    )
    assert found == FalseAlarms(3 / 3600, 2, {0.3: 2, 0.75: 1, 0.95: 0})
    assert len(heard) == 2
    assert found.an_hour(0.75) == 1200
    assert [found.threshold_for(rate) for rate in (100, 1200, 2400)] == [0.95, 0.75, 0.3]


def test_no_event_in_an_hour_is_compatible_with_three() -> None:
    """The rule of three: e^-3 is .05."""
    assert FalseAlarms(1.0, 1, {0.5: 0}).at_most(0.5) == pytest.approx(-np.log(0.05))
    # Of a Poisson distribution around 6.296, .05 are at 2 or below.
    assert FalseAlarms(10.0, 1, {0.5: 2}).at_most(0.5) == pytest.approx(0.6296, abs=1e-4)


class Sure:
    """Names the first of two species, the surer the louder a stretch of a second is."""

    sample_rate, seconds, species, name = RATE, 1.0, ("owl", "wren"), "sure"

    def scores(self, audio: np.ndarray) -> np.ndarray:
        return np.array([0.5 + np.abs(audio).max(), 0.1], np.float32)


def test_confidences_are_of_each_stretch(noise: Path) -> None:
    """1.5 s are two stretches, which overlap by half; the tone is in the first."""
    found = confidences(Sure(), recordings_in(noise), workers=2)
    assert len(found) == 4
    assert found[0] > found[2] > 0.55
    assert found[1::2] == pytest.approx([0.5, 0.5], abs=0.01)


def test_how_sure_a_name_must_be_and_what_is_named_then() -> None:
    found = [k / 100 for k in range(100)]
    tested = [
        {"label": "owl", "predicted": name, "p_owl": str(p), "p_wren": str(1 - p)}
        for name, p in (("owl", 0.99), ("owl", 0.85), ("owl", 0.6), ("wren", 0.09))
    ]
    first, second, *_, last = name_table(found, coverage(tested))
    assert (first["wanted"], first["found"]) == (0.2, 0.2)
    assert first["confidence"] == pytest.approx(0.79, abs=2e-6)
    assert (first["named"], first["right"]) == (0.75, pytest.approx(2 / 3))
    assert (second["named"], second["right"]) == (0.5, 0.5)
    assert (last["found"], last["named"]) == (0.01, 0.25)
    assert binom.cdf(1, 100, last["found_at_most"]) == pytest.approx(0.05)
    assert name_table(found, None)[0]["named"] is None


def test_a_confidence_that_is_typed_leaves_out_what_it_was_chosen_above() -> None:
    surest = name_table([0.4] * 30 + [0.1] * 70, None)[0]
    assert (surest["confidence"], surest["found"]) == (0.400001, 0)
    assert surest["found_at_most"] == pytest.approx(1 - 0.05 ** (1 / 100))  # the rule of three
    assert name_table([1.0] * 30 + [0.1] * 70, None)[0]["confidence"] is None


def test_the_command_for_species(runs: ModuleType, noise: Path, tmp_path: Path) -> None:
    said, content = scored(runs.species_run(tmp_path / "run"), noise, tmp_path / "names.json")
    assert "Names given to 4 stretches of 1 s without birds" in said
    assert [row["wanted"] for row in content["shares"]] == [0.2, 0.1, 0.05, 0.01]
    kept = Run.open(tmp_path / "run").read_json("provenance.json")["bird_free"]
    assert kept == {"folder": noise.name} | content


def test_several_species_at_once_have_no_share_that_is_right(
    runs: ModuleType, noise: Path, tmp_path: Path
) -> None:
    """What is labelled and predicted is then no species, but some, or nobody."""
    run = runs.species_run(tmp_path / "run", "data.multilabel=true", "loss=species_bce")
    run.scores.write_text("id,label,predicted,p_dipper,p_owl,p_wren\nXC1,nocall,nocall,0.1,0.2,0.3\n")
    _, content = scored(run, noise, tmp_path / "names.json")
    assert [row["named"] for row in content["shares"]] == [None] * 4


def test_a_lower_threshold_that_joins_events_is_not_chosen(loud_tones: Network) -> None:
    found = FalseAlarms(1.0, 1, {0.1: 1, 0.2: 50, 0.3: 9, 0.4: 9})
    assert found.threshold_for(10) == 0.3
    assert found.threshold_for(8) is None
    first, *_, last = table(found, loud_tones)
    assert first == {"wanted_an_hour": 0.1, "threshold": None}
    assert (last["threshold"], last["events"], last["recall"]) == (0.1, 1, None)


def test_the_command(runs: ModuleType, noise: Path, tmp_path: Path) -> None:
    """Some 3 s of faint noise; the untrained network's thresholds are those of its validation data."""
    said, content = scored(runs.mask_run(tmp_path / "run"), noise, tmp_path / "alarms.json")
    assert "False events in 2 recordings without birds" in said
    assert "At the run's own threshold, 0.4:" in said
    assert content["hours"] == pytest.approx(3 / 3600)
    assert len(content["events"]) == 99
    (row,) = (row for row in content["rates"] if row["wanted_an_hour"] == 100)
    assert row["events"] == 0
    assert row["recall"] == pytest.approx(1 - (round(100 * row["threshold"]) - 1) / 100)
    assert f"{row['recall']:.3f}" in said
    kept = Run.open(tmp_path / "run").read_json("provenance.json")["bird_free"]
    assert kept == {"folder": noise.name, **{key: content[key] for key in ("hours", "recordings", "rates")}}


@pytest.mark.parametrize("kind", ["mask_run", "species_run"])
def test_what_was_trained_on_is_left_out(runs: ModuleType, noise: Path, tmp_path: Path, kind: str) -> None:
    """Known by its recording, as mixtures know their backgrounds; the run that this one began from counts."""
    first = getattr(runs, kind)(tmp_path / "first")
    first.write_json("recordings.json", {"train": ["17367"], "val": [], "test": []})
    run = getattr(runs, kind)(tmp_path / "run", f"start_from={first.directory}")
    run.write_json("recordings.json", {"train": ["XC7"], "val": ["171014_203000"], "test": ["kept"]})
    names = ("rain_1-17367-A", "XC7_left", "box2_171014_203000_04", "kept")
    for name in names:
        (noise / f"{name}.wav").write_bytes((noise / "loud" / "a.wav").read_bytes())
    said, content = scored(run, noise, tmp_path / "scores.json")
    assert "3 of 6 recordings were trained on and are left out." in said
    assert content["recordings"] == 3

    run.write_json("recordings.json", {"train": ["a", "kept"], "val": ["XC7", "171014_203000"], "test": []})
    done = CliRunner().invoke(app, [str(run.directory), "--bird-free", str(noise)])
    assert done.exit_code == 2
    assert "6 of 6 recordings were trained on and are left out. Give others." in done.output


def test_backgrounds_of_augmentation_were_trained_on(runs: ModuleType, noise: Path, tmp_path: Path) -> None:
    run = runs.species_run(tmp_path / "run", "augment=species", f"augment.noise={noise / 'loud'}")
    said, content = scored(run, noise, tmp_path / "scores.json")
    assert "1 of 2 recordings were trained on" in said
    assert content["recordings"] == 1


def test_mistakes_are_said(runs: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match="there is no such folder"):
        recordings_in(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BirdlabError, match="nothing to predict there"):
        recordings_in(tmp_path / "empty")
    words = [str(tmp_path), "--bird-free", str(tmp_path), "--split", "val"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "takes no data set beside its folder" in done.output
