"""MP3 files that don't say how long they are."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdlab.audio import mpeg
from birdlab.audio.io import info, read
from birdlab.errors import BirdlabError

TAG = b"ID3\x04\x00\x00\x00\x00\x01\x02" + bytes(130)  # of 1 x 128 + 2 bytes


def unsaid(path: Path, rate: int, mode: str) -> bytes:
    """Three seconds that grow louder, without the first frame, which says how many there are."""
    draw = np.random.default_rng(0)
    audio = draw.normal(0, 1, 3 * rate) * np.repeat([0.0005, 0.05, 0.2], rate)
    soundfile.write(path, audio, rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
    content = path.read_bytes()
    first = content.index(b"\xff")
    return content[content.index(content[first : first + 2], first + 2) :]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_frames_are_counted_as_they_are_decoded(tmp_path: Path, rate: int) -> None:
    file = tmp_path / "a.mp3"
    file.write_bytes(unsaid(file, rate, "CONSTANT"))
    with soundfile.SoundFile(file) as opened:
        decoded = len(opened.read())
    assert mpeg.counted(file) == decoded
    assert info(file).frames == len(read(file)) == decoded
    file.write_bytes(TAG + file.read_bytes() + b"TAG" + b"\xff" * 125)
    assert mpeg.counted(file) == decoded


def test_what_cannot_be_decoded_to_its_end_is_refused(tmp_path: Path) -> None:
    """At a bit rate that grows, libmpg123 takes the first frames for all others, and stops too early."""
    file = tmp_path / "a.mp3"
    file.write_bytes(unsaid(file, 44_100, "VARIABLE"))
    assert mpeg.counted(file) == pytest.approx(3 * 44_100, abs=3 * 1152)
    for look in (info, read):
        with pytest.raises(BirdlabError, match=r"a\.mp3: lasts 3\.0\d\d s, but .* only .*ffmpeg"):
            look(file)
