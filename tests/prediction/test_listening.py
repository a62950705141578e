"""A network that names species alone: a row for each species in each stretch."""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import birdlab
from birdlab.data.windows import window_starts
from birdlab.errors import BirdlabError
from birdlab.predict import app
from birdlab.prediction import batch
from birdlab.prediction.inputs import collect
from birdlab.prediction.listening import Listening
from birdlab.prediction.naming import Namer, confidence_for, stretches
from birdlab.prediction.records import Record
from birdlab.prediction.run_species import RunNamer

RATE = 1_000


@dataclass(frozen=True)
class Loudness:
    """Sees a second at once: the louder, the surer of an owl; a wren is always as likely as not."""

    name: str = "loudness"
    sample_rate: int = RATE
    seconds: float = 1.0
    species: tuple[str, ...] = ("owl", "wren")
    multilabel: bool = True
    heard: list[int] = field(default_factory=list)
    validation_accuracy: dict[float, float] = field(default_factory=dict)

    def scores(self, audio: np.ndarray) -> np.ndarray:
        self.heard.append(len(audio))
        return np.array([np.abs(audio).max(), 0.5], np.float32)


def recording(path: Path, *levels: float, rate: int = RATE) -> Path:
    """Half a second of each level; another rate has no sharp edges."""
    soundfile.write(path, np.repeat(np.array(levels, np.float32), rate // 2), rate, subtype="FLOAT")
    return path


def listened(path: Path, out: Path, work: Listening) -> Record:
    todo = batch.plan(collect([path], out), out, work)
    (record,), failures = batch.run(todo)
    assert not failures
    return record


@given(
    st.lists(st.integers(0, 25), max_size=8),
    st.integers(1, 10),
)
def test_stretches_are_windows_however_the_audio_comes(sizes: list[int], length: int) -> None:
    audio = np.arange(sum(sizes), dtype=np.float32)
    blocks = np.split(audio, np.cumsum(sizes)[:-1]) if sizes else []
    namer = Loudness(sample_rate=10, seconds=length / 10)
    found = [(round(begin_s * 10), part.tolist()) for begin_s, part in stretches(blocks, namer)]
    starts = window_starts(len(audio), length, length) if len(audio) else []
    assert found == [(start, audio[start : start + length].tolist()) for start in starts]


def test_every_species_that_is_likely_enough(tmp_path: Path) -> None:
    """Two and a half seconds: the last stretch begins half a second before the second one ends."""
    path = recording(tmp_path / "a.wav", 0.2, 0.2, 0.8, 0.2, 0.6)
    record = listened(path, tmp_path / "out", Listening(Loudness(), ("raven", "csv"), 0.5))
    rows = [(each.begin_s, each.end_s, each.label, round(each.score, 3)) for each in record.events]
    assert rows == [
        (0.0, 1.0, "wren", 0.5),
        (1.0, 2.0, "owl", 0.8),
        (1.0, 2.0, "wren", 0.5),
        (1.5, 2.5, "owl", 0.6),
        (1.5, 2.5, "wren", 0.5),
    ]
    assert {(each.low_hz, each.high_hz) for each in record.events} == {(0.0, 500.0)}
    with (tmp_path / "out/a.csv").open() as file:
        written = [(float(row["begin_s"]), row["label"], row["label_score"]) for row in csv.DictReader(file)]
    assert written[:2] == [(0.0, "wren", "0.5000"), (1.0, "owl", "0.8000")]
    sure = listened(path, tmp_path / "sure", Listening(Loudness(), ("csv",), 0.7))
    assert [each.label for each in sure.events] == ["owl"]


def test_a_recording_shorter_than_a_stretch_of_another_rate(tmp_path: Path) -> None:
    namer = Loudness()
    path = recording(tmp_path / "a.wav", 0.9, rate=600)
    record = listened(path, tmp_path / "out", Listening(namer, ("csv",), 0.6))
    ((event, *others),) = [record.events]
    assert not others
    assert (event.begin_s, event.end_s, event.label, event.high_hz) == (0.0, 0.5, "owl", 300.0)
    assert namer.heard == [500]


def test_what_is_done_is_skipped_and_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    recording(tmp_path / "in/a.wav", 0.9, 0.9)
    (tmp_path / "in/b.png").write_bytes(b"")
    work, out = Listening(Loudness(), ("csv",)), tmp_path / "out"
    for jobs in (1, 0):
        todo = batch.plan(collect([tmp_path / "in"], out), out, work)
        assert len(todo.jobs) == jobs
        records, (failure,) = batch.run(todo)
        assert len(records) == 1
        assert "species are named by their sound" in failure.reason
    # Another confidence is another result.
    with pytest.raises(Exception, match="with other settings"):
        batch.plan(collect([tmp_path / "in"], out), out, Listening(Loudness(), ("csv",), 0.9))


def test_a_network_that_marks_is_no_namer(loud_tones: object) -> None:
    assert isinstance(Loudness(), Namer)
    assert not isinstance(loud_tones, Namer)


def test_the_command(runs: ModuleType, tmp_path: Path) -> None:
    run = runs.species_run(tmp_path / "run").directory
    (tmp_path / "in").mkdir()
    audio = np.random.default_rng(0).normal(0, 0.05, (int(2.5 * 44_100), 2)).astype(np.float32)
    soundfile.write(tmp_path / "in/a.flac", audio, 44_100)
    words = [str(run), str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--min-confidence", "0.1"]
    done = CliRunner().invoke(app, [*words, "--table", "audacity", "--table", "raven"])
    assert done.exit_code == 0, done.output
    with (tmp_path / "out/a.selections.txt").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["Annotation"] for row in rows} == {"dipper", "owl", "wren"}
    begins = {float(row["Begin Time (s)"]) for row in rows}
    assert begins == {0.0, 1.0, 1.5}
    sums = [sum(float(row["Score"]) for row in rows if float(row["Begin Time (s)"]) == s) for s in begins]
    assert sums == pytest.approx([1.0] * 3, abs=2e-4)
    assert f"{len(rows)} times a species is at least 0.1 likely" in done.output
    # The library says the same.
    read, rate = soundfile.read(tmp_path / "in/a.flac", dtype="float32")
    found = birdlab.load_species(run).predict(read, rate)
    assert found.probabilities.shape == (3, 3)
    assert found.begin_s.tolist() == [0.0, 1.0, 1.5]
    assert found.end_s.tolist() == [1.0, 2.0, 2.5]
    said = [(event.begin_s, event.label, f"{event.score:.4f}") for event in found.events(0.1)]
    assert said == [(float(row["Begin Time (s)"]), row["Annotation"], row["Score"]) for row in rows]
    page = (tmp_path / "out/_summary.html").read_text()
    assert re.search(r"<b>(dipper|owl|wren)</b>\s*\(0\.\d\d\) \d", page)
    assert page.count('<audio controls preload="none" src="data:audio/mpeg') == len(rows)
    # The lowest confidence that reaches an accuracy on validation data, at least a half.
    for accuracy, confidence in (("0.9", "0.6"), ("0.7", "0.6"), ("0.99", "0.95")):
        asked = [*words[:2], "--output", str(tmp_path / accuracy), "--accuracy", accuracy]
        done = CliRunner().invoke(app, asked)
        assert done.exit_code == 0, done.output
        assert f"times a species is at least {confidence} likely" in done.output
    for option, said in (
        (["--accuracy", "0.9"], "exclude each other"),
        (["--accuracy", "1.5"], "--accuracy 1.5: give a number between 0 and 1"),
    ):
        given = words if "0.9" in option else words[:4]
        done = CliRunner().invoke(app, [*given, *option])
        assert done.exit_code == 2
        assert said in done.stderr.replace("\n", " ")
    # What is said about marks doesn't go unnoticed.
    for option in (["--threshold", "0.5"], ["--no-denoised"], ["--boxes"], ["--species", str(run)]):
        done = CliRunner().invoke(app, [*words, *option])
        assert done.exit_code == 2
        assert "names species and marks nothing" in done.stderr.replace("\n", " ")


def test_a_confidence_for_an_accuracy(runs: ModuleType, tmp_path: Path) -> None:
    namer = RunNamer.open(runs.species_run(tmp_path / "run").directory)
    assert confidence_for(namer, 0.7) == 0.4
    assert confidence_for(namer, 0.9) == 0.6
    poor = {"confidence": [0.9, 0.4], "coverage": [0.5, 1.0], "accuracy": [0.8, 0.7]}
    run = runs.species_run(tmp_path / "poor", birdlab={"validation": poor}).directory
    with pytest.raises(BirdlabError, match=r"reaches 0\.800 at most, at --min-confidence 0\.9"):
        confidence_for(RunNamer.open(run), 0.9)
    for name, kept in (("old", {}), ("multilabel", {"validation": {}})):
        run = runs.species_run(tmp_path / name, birdlab=kept).directory
        with pytest.raises(BirdlabError, match="older birdlab, or one that names several species at once"):
            confidence_for(RunNamer.open(run), 0.9)


@pytest.mark.parametrize("exported", [False, True])
def test_exported_or_not(runs: ModuleType, tmp_path: Path, exported: bool) -> None:
    from birdlab.prediction.opening import open_any

    run = runs.species_run(tmp_path / "run").directory
    if exported:
        pytest.importorskip("onnxruntime")
        from birdlab.export import export

        run = export(run, tmp_path / "species.onnx").path
    network = open_any(run)
    assert isinstance(network, Namer)
    assert tuple(network.species) == ("dipper", "owl", "wren")
