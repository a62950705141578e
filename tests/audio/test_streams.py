"""Recordings in blocks: nothing is lost on the way in and out."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdlab.audio import streams
from birdlab.audio.streams import Encoding, Recording, writing
from birdlab.errors import BirdlabError

RATE = 8_000


def written(path: Path, audio: np.ndarray, subtype: str, rate: int = RATE, **settings: str) -> Recording:
    soundfile.write(path, audio, rate, subtype=subtype, **settings)
    return Recording.open(path)


def noise(frames: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (frames, channels))


@pytest.mark.parametrize(
    ("subtype", "channels", "expected"),
    [
        ("PCM_U8", 1, (".flac", "FLAC", "PCM_16")),
        ("PCM_16", 2, (".flac", "FLAC", "PCM_16")),
        ("PCM_24", 2, (".flac", "FLAC", "PCM_24")),
        ("PCM_16", 12, (".wav", "WAV", "PCM_16")),
        ("FLOAT", 1, (".wav", "WAV", "FLOAT")),
    ],
)
def test_audio_comes_out_as_it_went_in(
    tmp_path: Path, subtype: str, channels: int, expected: tuple[str, str, str]
) -> None:
    recording = written(tmp_path / "a.wav", noise(100_000, channels), subtype)
    encoding = Encoding.like(recording)
    assert (encoding.suffix, encoding.format, encoding.subtype) == expected
    out = tmp_path / f"b{encoding.suffix}"
    with writing(out, recording) as write:
        for block in recording.blocks():
            assert block.shape[1] == channels
            write(block)
    assert soundfile.info(out).subtype == expected[2]
    assert np.array_equal(
        soundfile.read(out, dtype="float32")[0], soundfile.read(recording.path, dtype="float32")[0]
    )


def test_four_gigabytes_and_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day = Recording(Path("a.wav"), 48_000, 1, 24 * 3600 * 48_000, "PCM_16")
    assert Encoding.like(day) == Encoding(".wav", "RF64", "PCM_16")
    assert Encoding.like(Recording(Path("a.wav"), 192_000, 1, 10, "PCM_16")).suffix == ".flac"
    monkeypatch.setattr(streams, "_WAV_BYTES", 1000)
    recording = written(tmp_path / "a.wav", noise(600, 1), "PCM_16")
    with writing(tmp_path / "b.wav", recording) as write:
        write(next(recording.blocks()))
    assert soundfile.info(tmp_path / "b.wav").format == "RF64"
    assert np.array_equal(soundfile.read(tmp_path / "b.wav")[0], soundfile.read(tmp_path / "a.wav")[0])


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_16", 15), ("PCM_24", 23)])
def test_beyond_full_scale_is_full_scale(tmp_path: Path, subtype: str, bits: int) -> None:
    recording = written(tmp_path / "a.wav", np.zeros(3), subtype)
    with writing(tmp_path / "b.flac", recording) as write:
        write(np.array([[1.5], [-1.5], [1.0]], np.float32))
    counts = soundfile.read(tmp_path / "b.flac")[0] * 2**bits
    assert counts.tolist() == [2**bits - 1, -(2**bits), 2**bits - 1]


@pytest.mark.parametrize(("rate", "suffix"), [(192_000, ".flac"), (192_001, ".wav"), (65_535, ".flac")])
def test_rates_that_flac_has_no_words_for(tmp_path: Path, rate: int, suffix: str) -> None:
    recording = written(tmp_path / "a.wav", noise(1000, 1), "PCM_16", rate)
    out = tmp_path / f"b{suffix}"
    assert Encoding.like(recording).suffix == suffix
    with writing(out, recording) as write:
        write(next(recording.blocks()))
    assert soundfile.info(out).samplerate == rate


def test_what_is_no_number_is_refused_with_its_time(tmp_path: Path) -> None:
    audio = np.zeros((100_000, 2))
    audio[80_000, 1] = np.nan
    recording = written(tmp_path / "a.wav", audio, "FLOAT")
    with pytest.raises(BirdlabError, match=r"a\.wav: 1 samples are NaN or infinite, the first at 10\.000 s"):
        list(recording.blocks())


def test_a_recording_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "a.flac", noise(100_000, 1), "PCM_16")
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    with pytest.raises(BirdlabError, match=r"a\.flac"):
        list(Recording.open(tmp_path / "a.flac").blocks())


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    recording = written(tmp_path / "a.wav", noise(100, 1), "PCM_16")

    def fail() -> None:
        with writing(tmp_path / "b.flac", recording) as write:
            write(np.zeros((10, 1), np.float32))
            raise BirdlabError("the input is damaged")

    with pytest.raises(BirdlabError, match="damaged"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """A process that may not write more than 10 kB into a file is told what one on a full disk is told."""
    written(tmp_path / "a.wav", noise(400_000, 1), "PCM_16")
    program = (
        "import resource, sys; from pathlib import Path; from birdlab.audio.streams import *\n"
        "recording = Recording.open(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n"
        "    with writing(Path(sys.argv[2]), recording) as write:\n"
        "        [write(block) for block in recording.blocks()]\n"
        "except OSError as error: print(error)\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "a.wav"), str(tmp_path / "b.flac")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "b.flac can't be written" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
