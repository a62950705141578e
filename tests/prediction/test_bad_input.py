"""Whatever lies in a folder of recordings: it is read, or it is named and the rest goes on."""

import csv
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdlab.data.boxes import read_boxes
from birdlab.data.png import write_image
from birdlab.errors import BirdlabError
from birdlab.prediction import batch, summaries
from birdlab.prediction.inputs import collect
from birdlab.prediction.network import Network
from birdlab.prediction.outputs import Marking, Wanted

RATE = 8_000
WANTED = Wanted(threshold=0.5)


def outcome(network: Network, tmp_path: Path) -> tuple[list, list[str]]:
    (tmp_path / "in").mkdir(exist_ok=True)
    soundfile.write(tmp_path / "in/fine.wav", np.zeros(900), RATE)
    todo = batch.plan(
        collect([tmp_path / "in"], tmp_path / "out"), tmp_path / "out", Marking(network, WANTED)
    )
    records, failures = batch.run(todo)
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


def a_link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere.wav")


def a_picture(path: Path) -> None:
    write_image(path.with_suffix(".png"), np.zeros((64, 40), np.uint8))
    path.with_suffix(".png").rename(path)


def infinite(path: Path) -> None:
    soundfile.write(path, np.where(np.arange(9000) == 10, np.inf, 0.0), RATE, subtype="DOUBLE")


@pytest.mark.parametrize(
    "make",
    [
        *(empty, truncated, cut_in_the_stream, not_a_number, infinite, no_samples),
        *(text, a_picture, a_link_to_nowhere),
    ],
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


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".aiff"])
def test_what_a_file_is_its_content_says(loud_tones: Network, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/a.flac", np.zeros(9000), RATE)
    (tmp_path / "in/a.flac").rename(tmp_path / f"in/a{suffix}")
    records, reasons = outcome(loud_tones, tmp_path)
    assert reasons == []
    assert records[0].duration_s == 9000 / RATE


def test_a_recording_called_picture(loud_tones: Network, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/a.flac", np.zeros(900), RATE)
    (tmp_path / "in/a.flac").rename(tmp_path / "in/a.png")
    _, (reason,) = outcome(loud_tones, tmp_path)
    assert "a.png" in reason
    assert "PNG" in reason


def test_the_published_mp3_called_wav(loud_tones: Network, tmp_path: Path, real_data: Path) -> None:
    (file,) = (real_data / "birdsoundsdenoising_sample/Valid/Raw_audios").glob("*.wav")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / file.name).write_bytes(file.read_bytes())
    records, reasons = outcome(loud_tones, tmp_path)
    assert reasons == []
    clean = soundfile.info(tmp_path / "out" / records[0].outputs["denoised"])
    assert clean.frames == len(soundfile.read(file)[0])


NAMES = ["a b", "a (1)", "[a]", "a'b\"c", "ä ö 鸟", "a,b;c", "#%&{}$!", "-a", "<script>", "a.b.c", "a\nb\tc"]


def test_any_name_will_do(loud_tones: Network, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    audio = np.zeros(900)
    audio[300:500] = 0.5 * np.sin(np.arange(200))
    for name in NAMES:
        soundfile.write(tmp_path / "in" / f"{name}.wav", audio, RATE)
    records, reasons = outcome(loud_tones, tmp_path)
    assert reasons == []
    assert len(records) == len(NAMES) + 1
    for name in NAMES:
        (box,) = read_boxes(tmp_path / "out" / f"{name}.selections.txt")
        assert box.begin_s == pytest.approx(300 / RATE, abs=0.005)
    summaries.write_tables(records, tmp_path / "out", all_events=True)
    with (tmp_path / "out/_summary.csv").open(newline="") as file:
        assert {Path(row["file"]).stem for row in csv.DictReader(file)} == {*NAMES, "fine"}
    summaries.write_page(records, tmp_path / "out", loud_tones.grid, [], 240)
    page = (tmp_path / "out/_summary.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses such names itself")
def test_names_of_which_none_can_be_made(loud_tones: Network, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in (b"\xff.wav", b"x" * 240 + b".wav"):
        soundfile.write(tmp_path / "in/a.wav", np.zeros(900), RATE)
        (tmp_path / "in/a.wav").rename(tmp_path / "in" / os.fsdecode(name))
    _, reasons = outcome(loud_tones, tmp_path)
    assert re.search(r"x\.wav: this name leaves no room .* Shorten it by 11 letters", reasons[0])
    assert reasons[1].endswith(r"in/\xff.wav: this name is no text in UTF-8. Rename the file.")


@contextmanager
def nobody() -> Iterator[Path]:
    """As a user without rights, in a folder that everybody may see; root may read and write everything."""
    root = os.getuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "in").mkdir()
        (Path(folder) / "out").mkdir()
        (Path(folder) / "out").chmod(0o777)
        try:
            yield Path(folder)
        finally:
            if root:
                os.setresuid(0, 0, 0)


def become_nobody() -> None:
    if os.getuid() == 0:
        os.setresuid(65534, 65534, 0)


posix = pytest.mark.skipif(not hasattr(os, "setresuid"), reason="needs POSIX users")


@posix
def test_files_and_folders_without_permission(loud_tones: Network) -> None:
    with nobody() as folder:
        for name in ("fine", "locked"):
            soundfile.write(folder / f"in/{name}.wav", np.zeros(900), RATE)
        (folder / "in/locked.wav").chmod(0)
        become_nobody()
        inputs = collect([folder / "in"], folder / "out")
        todo = batch.plan(inputs, folder / "out", Marking(loud_tones, WANTED))
        records, failures = batch.run(todo)
        assert [Path(record.source).name for record in records] == ["fine.wav"]
        assert [failure.reason for failure in failures] == [
            f"{(folder / 'in/locked.wav').resolve()}: may not be read. Change its permissions (chmod u+r) or "
            "leave it out."
        ]


@posix
def test_a_folder_that_may_not_be_written(loud_tones: Network) -> None:
    with nobody() as folder:
        soundfile.write(folder / "in/a.wav", np.zeros(900), RATE)
        (folder / "out").chmod(0o555)
        become_nobody()
        todo = batch.plan(
            collect([folder / "in"], folder / "out"), folder / "out", Marking(loud_tones, WANTED)
        )
        with pytest.raises(BirdlabError, match=r"Permission denied.*where you may write"):
            batch.run(todo)


def test_an_output_that_is_a_file(loud_tones: Network, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(900), RATE)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(BirdlabError, match="out is a file: choose a folder"):
        batch.plan(
            collect([tmp_path / "a.wav"], tmp_path / "out"), tmp_path / "out", Marking(loud_tones, WANTED)
        )
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("kind", ["denoised", "overlay", "masks", "raven"])
def test_a_full_disk(loud_tones: Network, tmp_path: Path, kind: str) -> None:
    """No file may become longer than 1 kB here, which to whoever writes it is a disk without room."""
    resource = pytest.importorskip("resource")
    (tmp_path / "in").mkdir()
    audio = np.random.default_rng(0).normal(0, 0.1, 3 * RATE)
    soundfile.write(tmp_path / "in/a.wav", audio, RATE)
    asked = {"denoised": kind == "denoised", "overlay": kind == "overlay", "mask": kind == "masks"}
    network = replace(loud_tones, window_columns=2000) if kind == "masks" else loud_tones  # type: ignore[type-var]
    wanted = replace(WANTED, tables=("raven",) if kind == "raven" else (), **asked)
    todo = batch.plan(
        collect([tmp_path / "in"], tmp_path / "out"), tmp_path / "out", Marking(network, wanted)
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(BirdlabError, match=r"stays: make room, and give the same command again"):
            batch.run(todo)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    made = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix != ".json"]
    assert made == []
    records, failures = batch.run(todo)
    assert (len(records), failures) == (1, [])
    assert any(path.suffix != ".json" and path.is_file() for path in (tmp_path / "out").rglob("*"))
