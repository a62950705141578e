"""Whatever lies in a folder of recordings: it is read, or it is named and the rest goes on."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdlab.prediction import batch
from birdlab.prediction.inputs import collect
from birdlab.prediction.network import Network
from birdlab.prediction.outputs import Wanted

RATE = 8_000
WANTED = Wanted(threshold=0.5)


def outcome(network: Network, tmp_path: Path) -> tuple[list, list[str]]:
    (tmp_path / "in").mkdir(exist_ok=True)
    soundfile.write(tmp_path / "in/fine.wav", np.zeros(900), RATE)
    todo = batch.plan(collect([tmp_path / "in"], tmp_path / "out"), tmp_path / "out", network, WANTED)
    records, failures = batch.run(todo, tmp_path / "out", network, WANTED)
    assert any(record.source.endswith("fine.wav") for record in records), "a bad file stopped the rest"
    return records, [failure.reason for failure in failures]


def empty(path: Path) -> None:
    path.touch()


def truncated(path: Path) -> None:
    soundfile.write(path, np.zeros(90_000), RATE)
    path.write_bytes(path.read_bytes()[:50_000])


def cut_in_the_stream(path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 90_000)
    soundfile.write(path.with_suffix(".flac"), noise, RATE)
    path.write_bytes(path.with_suffix(".flac").read_bytes()[:60_000])
    path.with_suffix(".flac").unlink()


def not_a_number(path: Path) -> None:
    soundfile.write(path, np.where(np.arange(9000) == 8000, np.nan, 0.0), RATE, subtype="FLOAT")


def no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), RATE)


def text(path: Path) -> None:
    path.write_text("not a recording")


def folder(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere.wav")


@pytest.mark.parametrize(
    "make", [empty, truncated, cut_in_the_stream, not_a_number, no_samples, text, folder]
)
def test_bad_files_are_named_and_leave_nothing(
    loud_tones: Network, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    (tmp_path / "in").mkdir()
    make(tmp_path / "in/bad.wav")
    records, reasons = outcome(loud_tones, tmp_path)
    assert len(records) == len(reasons) == 1
    assert "bad.wav" in reasons[0]
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith("bad")]


@pytest.mark.parametrize(
    ("audio", "rate", "settings"),
    [
        (np.zeros(9000), RATE, {}),  # silent
        (np.sign(np.sin(np.arange(9000.0))) * 2, RATE, {}),  # clipped
        (np.ones(1) * 0.5, RATE, {}),  # one sample
        (np.ones(1) * 0.5, 192_000, {}),
        (np.ones(9000) * 0.1, RATE, {"subtype": "PCM_U8"}),
        (np.random.default_rng(0).normal(0, 0.1, 50_000), 192_000, {}),
        (np.random.default_rng(0).normal(0, 0.1, (9000, 12)), RATE, {}),
        (np.random.default_rng(0).normal(0, 0.1, (9000, 2)), 11_025, {"subtype": "PCM_24"}),
        (np.random.default_rng(0).normal(0, 0.1, 32_000), 32_000, {"format": "MP3"}),  # an MP3 called .wav
    ],
)
def test_unusual_recordings_are_predicted(
    loud_tones: Network, tmp_path: Path, audio: np.ndarray, rate: int, settings: dict[str, str]
) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/odd.wav", audio, rate, **{"format": "WAV", **settings})
    records, reasons = outcome(loud_tones, tmp_path)
    assert reasons == []
    odd = records[1]
    header = soundfile.info(tmp_path / "in/odd.wav")
    clean = soundfile.info(tmp_path / "out" / odd.outputs["denoised"])
    if settings.get("format") != "MP3":
        assert clean.frames == len(audio)
    assert (clean.samplerate, clean.channels) == (rate, header.channels)
    assert odd.duration_s == pytest.approx(clean.frames / rate)
    assert (header.subtype == "PCM_24") == (clean.subtype == "PCM_24")


NAMES = ["a b", "a (1)", "[a]", "a'b\"c", "ä ö 鸟", "a,b;c", "#%&{}$!", "-a", "<script>", "a.b.c"]


def test_any_name_will_do(loud_tones: Network, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in NAMES:
        soundfile.write(tmp_path / "in" / f"{name}.wav", np.zeros(900), RATE)
    records, reasons = outcome(loud_tones, tmp_path)
    assert reasons == []
    assert len(records) == len(NAMES) + 1
    for name in NAMES:
        assert (tmp_path / "out" / f"{name}.selections.txt").is_file()


def test_a_file_that_may_not_be_read(
    loud_tones: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    locked = tmp_path / "in/locked.wav"
    soundfile.write(locked, np.zeros(900), RATE)
    # Whoever runs tests as root may read everything.
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked.resolve() and real(path, mode))
    _, reasons = outcome(loud_tones, tmp_path)
    assert reasons == [
        f"{locked.resolve()}: may not be read. Change its permissions (chmod u+r) or leave it out."
    ]
