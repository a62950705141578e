"""Recordings to embeddings, once."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdlab.data.source import Sample
from birdlab.errors import BirdlabError
from birdlab.probing.embeddings import BATCH, embedded, windows_of

RATE = 8000


@dataclass
class Levels:
    """Says of a window its mean and its largest value, and counts the windows that it was asked for."""

    name: str = "levels"
    licence: str = ""
    sample_rate: int = RATE
    seconds: float = 0.5
    asked: list[int] = field(default_factory=list)
    scale: float = 1.0

    def embed(self, windows: np.ndarray) -> np.ndarray:
        assert windows.shape[1] == RATE // 2
        self.asked.append(len(windows))
        return self.scale * np.stack([windows.mean(axis=1), windows.max(axis=1)], axis=1)


@pytest.fixture
def recordings(tmp_path: Path) -> list[Sample]:
    """One of two and a half windows, .2, .4 and .6 of full scale half a second each; one shorter than any."""
    loudness = np.repeat([0.2, 0.4, 0.6], [RATE // 2, RATE // 2, RATE // 4])
    soundfile.write(tmp_path / "long.wav", loudness, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", np.full(RATE // 8, 0.3), RATE, subtype="FLOAT")
    return [Sample(id=name, group=name, files=(tmp_path / f"{name}.wav",)) for name in ("short", "long")]


def found(recordings: list[Sample], backbone: Levels, folder: Path) -> dict[str, list[float]]:
    made = embedded(backbone, recordings, folder / "cache")
    return {name: embedding.tolist() for name, embedding in made.items()}


def test_windows_cover_all_and_the_last_one_ends_with_the_recording() -> None:
    audio = np.arange(5, dtype=np.float32)
    assert windows_of(audio, 2).tolist() == [[0, 1], [2, 3], [3, 4]]
    assert windows_of(audio, 5).tolist() == [[0, 1, 2, 3, 4]]
    assert windows_of(audio[:2], 5).tolist() == [[0, 1, 0, 1, 0]]


def test_an_embedding_is_the_mean_over_windows(recordings: list[Sample], tmp_path: Path) -> None:
    made = found(recordings, Levels(), tmp_path)
    # The third window is half of .4 and half of .6.
    assert made["long"] == pytest.approx([(0.2 + 0.4 + 0.5) / 3, (0.2 + 0.4 + 0.6) / 3])
    assert made["short"] == pytest.approx([0.3, 0.3])


def test_nobody_is_asked_twice(recordings: list[Sample], tmp_path: Path) -> None:
    first, second = Levels(), Levels()
    made = found(recordings, first, tmp_path)
    assert sum(first.asked) == 3 + 1
    assert max(first.asked) <= BATCH
    assert found(recordings[::-1], second, tmp_path) == made
    assert second.asked == []


def test_another_recording_is_the_only_one_to_wait_for(recordings: list[Sample], tmp_path: Path) -> None:
    """Nor does anybody lose what was made before something went wrong."""
    absent = Sample(id="absent", group="absent", files=(tmp_path / "absent.wav",))
    with pytest.raises(BirdlabError, match=r"absent\.wav"):
        found([*recordings[:1], absent], Levels(), tmp_path)
    then = Levels()
    found(recordings, then, tmp_path)
    assert sum(then.asked) == 3


def test_a_damaged_embedding_is_made_again(recordings: list[Sample], tmp_path: Path) -> None:
    made = found(recordings, Levels(), tmp_path)
    for file in (tmp_path / "cache").rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:-3])
    assert found(recordings, Levels(), tmp_path) == made


@pytest.mark.parametrize("changed", ["name", "seconds", "file"])
def test_what_changes_embeddings_makes_them_anew(
    recordings: list[Sample], tmp_path: Path, changed: str
) -> None:
    found(recordings, Levels(), tmp_path)
    again = Levels(name="others", scale=2.0) if changed == "name" else Levels()
    if changed == "seconds":
        again.seconds = 0.50001  # rounded to as many samples
    if changed == "file":
        os.utime(recordings[0].files[0], (1, 1))
    found(recordings, again, tmp_path)
    assert sum(again.asked) == (1 if changed == "file" else 4)


def test_long_recordings_come_in_batches(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.full(RATE * 10, 0.1), RATE)
    backbone = Levels()
    found([Sample(id="long", group="long", files=(tmp_path / "long.wav",))], backbone, tmp_path)
    assert sum(backbone.asked) == 20
    assert max(backbone.asked) <= BATCH


def test_embeddings_must_be_numbers(recordings: list[Sample], tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match=r"short\.wav.*NaN"):
        found(recordings, Levels(scale=np.nan), tmp_path)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_spectrograms_are_no_recordings(tmp_path: Path) -> None:
    (tmp_path / "mel.npy").touch()
    with pytest.raises(BirdlabError, match=r"mel\.npy.*spectrogram"):
        found([Sample(id="mel", group="mel", files=(tmp_path / "mel.npy",))], Levels(), tmp_path)
