"""Recordings survive the way to disk and back, and damaged ones are named."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from birdlab.audio.io import AudioInfo, info, read, write
from birdlab.errors import BirdlabError

FORMATS = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3", "aiff": "AIFF"}


def tone(frequency: float, seconds: float, sample_rate: int) -> np.ndarray:
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two seconds of noise in every format."""
    folder = tmp_path_factory.mktemp("audio")
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    paths = {suffix: folder / f"noise.{suffix}" for suffix in FORMATS}
    for suffix, path in paths.items():
        soundfile.write(path, noise, 16_000, format=FORMATS[suffix])
    return paths


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    audio=arrays(np.float32, st.integers(1, 300), elements=st.floats(-1, 1, width=32)),
    suffix=st.sampled_from([".wav", ".flac"]),
)
def test_written_audio_comes_back_within_half_a_step(tmp_path: Path, audio: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, audio, 32_000)
    back = read(path)
    assert back.dtype == np.float32
    assert np.abs(back - np.minimum(audio, 32767 / 32768)).max() <= 0.5 / 32768


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=arrays(np.int16, st.integers(1, 300)))
def test_16_bit_audio_survives_unchanged(tmp_path: Path, counts: np.ndarray) -> None:
    soundfile.write(tmp_path / "in.wav", counts, 32_000, subtype="PCM_16")
    write(tmp_path / "out.wav", read(tmp_path / "in.wav"), 32_000)
    assert np.array_equal(soundfile.read(tmp_path / "out.wav", dtype="int16")[0], counts)


def test_ogg_is_written_in_one_piece_however_long(tmp_path: Path) -> None:
    audio = tone(1000, 10, 32_000)
    write(tmp_path / "a.ogg", audio, 32_000)
    back = read(tmp_path / "a.ogg")
    assert len(back) == len(audio)
    assert np.corrcoef(back, audio)[0, 1] > 0.999


@pytest.mark.parametrize("peak", [1.001, -40.0, np.nan, np.inf])
def test_audio_beyond_full_scale_is_refused_and_nothing_is_left(tmp_path: Path, peak: float) -> None:
    with pytest.raises(BirdlabError, match=r"loud\.wav"):
        write(tmp_path / "loud.wav", np.array([0, peak], np.float32), 32_000)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write(path, np.array([0.5], np.float32), 32_000)
    with pytest.raises(BirdlabError):
        write(path, np.array([2.0], np.float32), 32_000)
    assert read(path).tolist() == [0.5]


def test_write_refuses_other_formats_and_shapes(tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match=r"\.mp3"):
        write(tmp_path / "a.mp3", np.zeros(3, np.float32), 32_000)
    with pytest.raises(BirdlabError, match=r"\[2, 3\]"):
        write(tmp_path / "a.wav", np.zeros((2, 3), np.float32), 32_000)


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([[0.5, 0.25], [-0.5, 0.0]]), 8000, subtype="FLOAT")
    assert read(tmp_path / "a.wav").tolist() == [0.375, -0.25]
    assert info(tmp_path / "a.wav") == AudioInfo(sample_rate=8000, channels=2, frames=2)


def test_24_bit_and_float(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([2**-23, -1.0]), 8000, subtype="PCM_24")
    assert read(tmp_path / "a.wav").tolist() == [2**-23, -1.0]
    soundfile.write(tmp_path / "b.wav", np.array([3.5, -1.0]), 8000, subtype="FLOAT")
    assert read(tmp_path / "b.wav").tolist() == [3.5, -1.0]


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats_are_recognised_by_content(whole: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    disguised = tmp_path / ("Vögel.wav" if suffix != "wav" else "Vögel.mp3")
    disguised.write_bytes(whole[suffix].read_bytes())
    assert info(disguised).sample_rate == 16_000
    assert np.corrcoef(read(disguised)[:32_000], read(whole["wav"]))[0, 1] > 0.6


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_stretch_equals_the_same_stretch_of_the_whole(whole: dict[str, Path], suffix: str) -> None:
    stretch = read(whole[suffix], start_s=0.5, duration_s=0.25)
    assert np.abs(stretch - read(whole[suffix])[8000:12_000]).max() < 1e-6


@pytest.mark.parametrize("target", [8000, 11_025, 44_100])
def test_a_resampled_stretch_equals_the_same_stretch_of_the_whole(
    whole: dict[str, Path], target: int
) -> None:
    stretch = read(whole["wav"], target, start_s=0.48, duration_s=0.24)
    start, length = round(0.48 * target), round(0.24 * target)
    assert len(stretch) == length
    assert np.abs(stretch - read(whole["wav"], target)[start : start + length]).max() < 1e-4


def test_resampling_keeps_a_tone_and_its_length(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(1000, 1, 48_000), 48_000)
    resampled = read(tmp_path / "a.wav", 32_000)
    assert len(resampled) == 32_000
    assert np.abs(resampled - tone(1000, 1, 32_000))[1000:-1000].max() < 1e-4


@pytest.mark.parametrize("native", [11_025, 22_050, 44_100])
def test_a_stretch_has_as_many_samples_as_asked_for(tmp_path: Path, native: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 2 * native), native)
    for frames in range(1, 90):
        asked = frames * 500
        assert len(read(tmp_path / "a.wav", 32_000, start_s=0.1, duration_s=asked / 32_000)) == asked


def test_reading_past_the_end_gives_what_there_is(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(100, 1, 1000), 1000)
    assert len(read(tmp_path / "a.wav", start_s=0.75, duration_s=3)) == 250
    with pytest.raises(BirdlabError, match=r"a\.wav.*1\.000 s"):
        read(tmp_path / "a.wav", start_s=1.0)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_a_truncated_recording_is_refused(
    whole: dict[str, Path], tmp_path: Path, suffix: str, share: float
) -> None:
    data = whole[suffix].read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BirdlabError, match=r"cut\."):
        read(cut)


def test_an_ogg_cut_between_two_pages_is_truncated(tmp_path: Path) -> None:
    write(tmp_path / "a.ogg", np.random.default_rng(0).normal(0, 0.1, 96_000).astype(np.float32), 32_000)
    content = (tmp_path / "a.ogg").read_bytes()
    (tmp_path / "cut.ogg").write_bytes(content[: content.rindex(b"OggS")])
    with pytest.raises(BirdlabError, match=r"cut\.ogg: truncated: its last Ogg page"):
        info(tmp_path / "cut.ogg")


def test_a_wav_from_a_pipe_is_no_truncated_one(whole: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(whole["wav"].read_bytes())
    size_at = data.index(b"data") + 4
    data[4:8] = data[size_at : size_at + 4] = struct.pack("<I", 0xFFFFFFFF)
    (tmp_path / "piped.wav").write_bytes(data)
    assert len(read(tmp_path / "piped.wav")) == 32_000


@pytest.mark.parametrize(
    ("promised", "piped"), [(0x7FFF_F000, True), (0x8000_0024, True), (2_760_000_000, False)]
)
def test_a_long_wav_that_was_cut_is_truncated(
    whole: dict[str, Path], tmp_path: Path, promised: int, piped: bool
) -> None:
    """Twelve hours promise more than two gigabytes, as do programs that don't know what will follow."""
    data = bytearray(whole["wav"].read_bytes())
    size_at = data.index(b"data") + 4
    data[4:8] = data[size_at : size_at + 4] = struct.pack("<I", promised)
    (tmp_path / "long.wav").write_bytes(data)
    if piped:
        assert info(tmp_path / "long.wav").frames == 32_000
    else:
        with pytest.raises(BirdlabError, match=r"long\.wav: truncated: its header promises 2760000000 bytes"):
            info(tmp_path / "long.wav")


def test_a_flac_from_a_pipe_is_no_damaged_one(whole: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(whole["flac"].read_bytes())
    # The last 36 bits of these 8 bytes of STREAMINFO are the total of samples.
    counted = int.from_bytes(data[18:26], "big")
    data[18:26] = (counted >> 36 << 36).to_bytes(8, "big")
    (tmp_path / "piped.flac").write_bytes(data)
    with pytest.raises(BirdlabError, match=r"piped\.flac: its header doesn't count its samples.*ffmpeg"):
        info(tmp_path / "piped.flac")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_located(tmp_path: Path, bad: float) -> None:
    audio = np.zeros(1000)
    audio[250] = bad
    soundfile.write(tmp_path / "bad.wav", audio, 1000, subtype="FLOAT")
    with pytest.raises(BirdlabError, match=r"bad\.wav: 1 samples.*0\.250 s"):
        read(tmp_path / "bad.wav")


def test_absent_empty_and_foreign_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("not a recording")
    (tmp_path / "text.mp3").write_text("not a recording")
    soundfile.write(tmp_path / "silent.wav", np.zeros(0), 8000)
    for name, found in (
        ("absent.wav", "no such"),
        ("x" * 300 + ".wav", "no such"),
        ("empty.wav", "empty"),
        ("text.wav", "cannot be read"),
        ("text.mp3", "cannot be read as WAV, FLAC, Ogg, MP3 or AIFF. It is damaged"),
        ("silent.wav", "no samples"),
    ):
        with pytest.raises(BirdlabError, match=f"{name}.*{found}"):
            info(tmp_path / name)


def test_an_mp3_without_a_length_is_counted(real_data: Path) -> None:
    """The published recording: an MP3 named .wav, whose length libmpg123 overestimates by 10 %."""
    path = real_data / "birdsoundsdenoising_sample/Valid/Raw_audios/XC41136.wav"
    assert info(path) == AudioInfo(sample_rate=48_000, channels=1, frames=195_840)
    assert len(read(path)) == 195_840
    assert np.abs(read(path, start_s=4.0)[:500] - read(path)[192_000:192_500]).max() < 1e-6
