"""Events get the name of what sings around them."""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import birdlab
from birdlab.audio import io
from birdlab.data.species import SpeciesSource
from birdlab.errors import BirdlabError
from birdlab.predict import app
from birdlab.prediction.events import Event
from birdlab.prediction.naming import named
from birdlab.prediction.run_species import RunNamer

RATE = 16_000


@dataclass(frozen=True)
class Listener:
    """Sees two seconds at once; what it hears decides nothing but is kept."""

    name: str = "listener"
    sample_rate: int = 10
    seconds: float = 2.0
    species: tuple[str, ...] = ("Bubo bubo", "Parus major")
    multilabel: bool = False
    heard: list[float] = field(default_factory=list)

    def scores(self, audio: np.ndarray) -> np.ndarray:
        self.heard.append(float(audio[0]))
        late = audio[0] >= 40
        return np.array([0.1 if late else 0.7, 0.9 if late else 0.3], np.float32)


def events(*middles: float) -> list[Event]:
    return [Event(each - 0.1, each + 0.1, 1000, 2000, 0.8) for each in middles]


def ramp(start_s: float, seconds: float) -> np.ndarray:
    """Ten seconds of which each sample is its own number."""
    return np.arange(100, dtype=np.float32)[round(start_s * 10) : round((start_s + seconds) * 10)]


def test_each_stretch_is_heard_once() -> None:
    """Stretches of 2 s begin each 1 s; the last one ends with the recording."""
    listener = Listener()
    found = named(events(0.2, 1.1, 1.4, 1.6, 4.9, 5.2, 9.9), 10.0, listener, ramp)
    assert listener.heard == [0, 10, 40, 80]
    assert [event.label for event in found] == ["Bubo bubo"] * 4 + ["Parus major"] * 3
    assert [event.label_score for event in found] == pytest.approx([0.7] * 4 + [0.9] * 3)
    assert [event.begin_s for event in found] == pytest.approx([0.1, 1.0, 1.3, 1.5, 4.8, 5.1, 9.8])


def test_the_last_stretch_holds_what_ends_the_recording() -> None:
    """It begins between two steps; the whole step before it would end before the event does."""
    listener = Listener()
    named(events(9.2), 9.4, listener, ramp)
    assert listener.heard == [74]


def test_recordings_shorter_than_a_stretch() -> None:
    listener = Listener()
    assert [event.label for event in named(events(0.2, 1.4), 1.5, listener, ramp)] == ["Bubo bubo"] * 2
    assert listener.heard == [0]
    assert named([], 1.5, listener, ramp) == []


def test_what_it_is_unsure_of_stays_as_it_is() -> None:
    """It is sure of the first four to .7, of the others to .9."""
    given = events(0.2, 1.4, 4.9, 9.9)
    found = named(given, 10.0, Listener(), ramp, min_confidence=0.8)
    assert [event.label for event in found] == ["bird"] * 2 + ["Parus major"] * 2
    assert found[:2] == given[:2]
    assert [event.label for event in named(given, 10.0, Listener(), ramp, 0.69)][:2] == ["Bubo bubo"] * 2


@pytest.fixture(scope="module")
def species(runs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = runs.species_run(tmp_path_factory.mktemp("species") / "run").directory
    return directory


def test_a_stack_is_named_as_in_training(species: Path) -> None:
    """But for the 16 bits in which training keeps levels."""
    namer = RunNamer.open(species)
    assert (namer.sample_rate, namer.seconds, namer.species) == (RATE, 1.0, ("dipper", "owl", "wren"))
    audio = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)

    class Source(SpeciesSource):
        names, splits = (), None  # type: ignore[assignment]

    Source.__abstractmethods__ = frozenset()
    source = Source(sample_rate=RATE, n_fft=512, hop=250, n_mels=32, fmax=7000.0, segments=4, segment_s=0.25)
    for part in (audio, audio[:5000]):
        levels = source.levels_of(part)
        stack = source.stacked(levels).astype(np.float32)
        ours = namer.model.levels(torch.from_numpy(part)).numpy()
        np.testing.assert_allclose(ours.reshape(32, 4, 16).transpose(1, 0, 2), stack, atol=0.05)
        batch = {"stack": torch.from_numpy(stack[None])}
        expected = namer.task.probabilities(batch)[0].numpy()
        np.testing.assert_allclose(namer.scores(part), expected, atol=2e-3)


def test_the_command_names_species(runs: ModuleType, species: Path, tmp_path: Path) -> None:
    masks = runs.mask_run(tmp_path / "masks").directory
    (tmp_path / "in").mkdir()
    audio = np.random.default_rng(0).normal(0, 0.05, (3 * 44_100, 2)).astype(np.float32)
    soundfile.write(tmp_path / "in/a.wav", audio, 44_100)
    middle = float(np.median(birdlab.load(masks).predict(audio, 44_100).probabilities))
    words = [str(masks), str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--table", "csv"]
    words += ["--species", str(species), "--threshold", f"{middle:.5f}", "--workers", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    with (tmp_path / "out/a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert {row["label"] for row in rows} <= {"dipper", "owl", "wren"}
    assert all(1 / 3 <= float(row["label_score"]) <= 1 for row in rows)
    with (tmp_path / "out/_summary.csv").open() as file:
        summary = list(csv.DictReader(file))
    assert sum(int(row["events"]) for row in summary) == len(rows)
    assert {row["label"] for row in summary} == {row["label"] for row in rows}
    page = (tmp_path / "out/_summary.html").read_text()
    assert re.search(r"<b>(dipper|owl|wren)</b>\s*\(0\.\d\d\)", page)
    # The library says the same of the audio itself.
    read, rate = soundfile.read(tmp_path / "in/a.wav", dtype="float32")
    found = birdlab.load(masks, species=species).predict(read, rate, threshold=float(f"{middle:.5f}"))
    labels = [(event.label, round(event.label_score, 2)) for event in found.events if event.end_s <= 3]
    assert labels[:5] == [(row["label"], round(float(row["label_score"]), 2)) for row in rows[:5]]
    # Nothing is that sure, and another confidence is another result.
    unsure = [*words, "--min-confidence", "0.999"]
    assert CliRunner().invoke(app, unsure).exit_code != 0
    done = CliRunner().invoke(app, [*unsure, "--overwrite"])
    assert done.exit_code == 0, done.output
    with (tmp_path / "out/a.csv").open() as file:
        assert {(row["label"], row["label_score"]) for row in csv.DictReader(file)} == {("bird", "")}
    assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 0
    # Another namer is another result.
    words[words.index("--species") + 1] = str(runs.species_run(tmp_path / "other", "seed=1").directory)
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert "with other settings" in again.stderr


def test_runs_of_the_wrong_task(runs: ModuleType, species: Path, tmp_path: Path) -> None:
    masks = runs.mask_run(tmp_path / "masks").directory
    soundfile.write(tmp_path / "a.wav", np.zeros(900), 8000)
    common = [str(tmp_path / "a.wav"), "--output", str(tmp_path / "out")]
    for words, message in (
        (
            [str(masks), *common, "--species", str(masks)],
            r"another task \(SegmentationTask\).*task=class",
        ),
        ([str(masks), *common, "--species", str(tmp_path / "absent")], "no such run directory"),
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2
        assert re.search(message, done.stderr.replace("\n", " ")), done.stderr
        assert not (tmp_path / "out").exists()
    with pytest.raises(BirdlabError, match=r"another task \(ClassificationTask\).*--species"):
        birdlab.load(species)


def test_reading_around_an_event_is_reading_the_recording(tmp_path: Path) -> None:
    """A file's stretch equals the whole file's, cut."""
    audio = np.random.default_rng(1).normal(0, 0.1, 44_100).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", audio, 44_100, subtype="FLOAT")
    whole = io.read(tmp_path / "a.wav", RATE)
    part = io.read(tmp_path / "a.wav", RATE, start_s=0.25, duration_s=0.5)
    np.testing.assert_allclose(part, whole[4000:12_000], atol=1e-5)


def test_who_learnt_to_mark_alone_names_nobody(runs: ModuleType, tmp_path: Path) -> None:
    """Though its network has a second head."""
    both = runs.callers_run(tmp_path / "both").directory
    marks = runs.callers_run(tmp_path / "marks", "task.module.callers_weight=0").directory
    assert birdlab.load(both).namer is not None
    assert birdlab.load(marks).namer is None
    with pytest.raises(BirdlabError, match=r"names nobody: .*callers_weight=0"):
        birdlab.load_species(marks)
