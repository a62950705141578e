"""Recordings in and out: mono float32 in memory, any common format on disk."""

import errno
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from birdlab import search
from birdlab.audio import mpeg
from birdlab.errors import BirdlabError
from birdlab.files import replacing

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff"})
"""What recordings in a folder are found by; what a file is, its content says."""

FULL_SCALE = 32768
"""PCM16 counts that stand for an amplitude of 1."""

_RESAMPLER_MARGIN_S = 0.05
"""Context read on both sides of an excerpt, far longer than the resampler's filter, so that an excerpt equals
the same stretch of the whole recording."""

_MISSING_S = 0.1
"""MP3 headers may promise a frame or two (26 ms each) more than there is; beyond this the file was cut."""

_STREAM_BYTES = (1 << 31, (1 << 32) - 1)
"""Programs that write WAV into a pipe don't know its length and claim about the most that a signed or an
unsigned number of 32 bits holds."""
_STREAM_SLACK = 1 << 16
"""How far from that a claim may be: programs count headers and buffers in, or out."""

_OGG_PAGE_BYTES = 27 + 255 + 255 * 255
_OGG_END = 0x04

_WRITABLE = {".wav": "PCM_16", ".flac": "PCM_16", ".ogg": "VORBIS"}

_UNCOUNTED = (1 << 63) - 1
"""libsndfile's count of frames where a header has none."""

_BLOCK = 1 << 16
"""Frames per call: libvorbis keeps all that one call writes on the stack."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a recording says.

    Attributes:
        sample_rate: Hz.
        channels: number of channels.
        frames: samples per channel.
    """

    sample_rate: int
    channels: int
    frames: int

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return self.frames / self.sample_rate


def files_below(folder: Path) -> list[Path]:
    """The recordings in a folder and its subfolders, in order; see `search.files_below`."""
    return search.files_below(folder, SUFFIXES)


def info(path: Path) -> AudioInfo:
    """What the header of a recording says; an MP3 that doesn't say how long it is has its frames counted.

    Args:
        path: WAV, FLAC, Ogg, MP3 or AIFF, recognised by content: the suffix doesn't matter.

    Raises:
        BirdlabError: for a file that is absent, empty, visibly truncated or not a recording.
    """
    with opened(path) as file:
        return AudioInfo(file.samplerate, file.channels, frame_count(path, file))


def read(
    path: Path, sample_rate: int | None = None, *, start_s: float = 0.0, duration_s: float | None = None
) -> NDArray[np.float32]:
    """A recording or a stretch of it, as the mean of its channels.

    Only the stretch asked for is decoded.

    Args:
        path: WAV, FLAC, Ogg, MP3 or AIFF, recognised by content: the suffix doesn't matter.
        sample_rate: Hz to resample to (soxr, high quality); None keeps the file's own.
        start_s: seconds to skip.
        duration_s: seconds to read; None reads to the end, and so does more than there is.

    Returns:
        float32 [n]; integer formats span [-1, 1).

    Raises:
        BirdlabError: for what ``info`` refuses, for samples that aren't finite, for less audio than the
            header promises, and for a start at or after the end.
    """
    with opened(path) as file:
        native, frames = file.samplerate, frame_count(path, file)
        target = sample_rate or native
        first = round(start_s * native)
        last = frames if duration_s is None else min(first + round(duration_s * native), frames)
        # By the clock: rounded at the file's rate first, a stretch could lack a sample at the target's.
        there_s = (frames - first) / native
        wanted = round((there_s if duration_s is None else min(duration_s, there_s)) * target)
        if not 0 <= first < last:
            raise BirdlabError(
                f"{path}: nothing to read from {start_s:g} s on for {duration_s} s: "
                f"it lasts {frames / native:.3f} s. Ask for a stretch inside it."
            )
        # Whole numbers of samples at both rates, so that the margin cuts off exactly.
        unit = native // math.gcd(native, target)
        margin = unit * math.ceil(_RESAMPLER_MARGIN_S * native / unit) if target != native else 0
        before = min(first // unit * unit, margin)
        audio = _decode(path, file, first - before, min(last + margin, frames))
    if target == native:
        return audio
    resampled: NDArray[np.float32] = soxr.resample(audio, native, target, quality="HQ")
    skip = before * target // native
    return resampled[skip : skip + wanted]


def write(path: Path, audio: NDArray[np.float32], sample_rate: int) -> None:
    """Write a mono recording, whole or not at all; an existing file is replaced.

    WAV and FLAC hold 16 bits: an amplitude x becomes round(32768 x), and what rounds to +1, which 16 bits
    lack, becomes 32767. 16-bit audio therefore survives unchanged, and any other within half a step (one step
    next to +1). Nothing is clipped or scaled behind the caller's back: audio beyond 1 is refused.

    Args:
        path: its suffix chooses the format: .wav, .flac, or .ogg (Vorbis, lossy).
        audio: float [n] within [-1, 1].
        sample_rate: Hz.

    Raises:
        BirdlabError: for another suffix, an empty or multichannel array, and samples that aren't finite or
            exceed 1.
        OSError: if the file can't be written.
    """
    subtype = _WRITABLE.get(path.suffix.lower())
    if subtype is None:
        raise BirdlabError(f"{path}: cannot write '{path.suffix}' audio. Use {', '.join(_WRITABLE)}.")
    if audio.ndim != 1 or audio.size == 0:
        raise BirdlabError(f"{path}: expected mono audio of shape [n], found {list(audio.shape)}.")
    peak = float(np.abs(audio).max())
    if not peak <= 1:
        raise BirdlabError(
            f"{path}: the audio peaks at {peak:g}, but a file holds at most 1. Divide it by its peak."
        )
    samples = audio
    if subtype == "PCM_16":
        samples = np.minimum(np.rint(audio * FULL_SCALE), FULL_SCALE - 1).astype(np.int16)
    try:
        with (
            replacing(path) as temporary,
            soundfile.SoundFile(temporary, "w", samplerate=sample_rate, channels=1, subtype=subtype) as file,
        ):
            for start in range(0, len(samples), _BLOCK):
                file.write(samples[start : start + _BLOCK])
    except soundfile.LibsndfileError as error:
        # libsndfile doesn't say which of the system's errors it was.
        raise OSError(errno.EIO, "the disk is full, or fails", str(path)) from error


@contextmanager
def opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """The open recording, refused where its container shows that something is missing."""
    if not os.path.isfile(path):  # noqa: PTH113 (Path.is_file raises for names that are too long)
        raise BirdlabError(f"{path}: no such audio file.")
    if not os.access(path, os.R_OK):
        raise BirdlabError(f"{path}: may not be read. Change its permissions (chmod u+r) or leave it out.")
    if path.stat().st_size == 0:
        raise BirdlabError(f"{path}: the file is empty (0 bytes). Remove it or fetch it again.")
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames == 0:
                raise BirdlabError(f"{path}: holds no samples. Remove it or fetch it again.")
            if file.frames == _UNCOUNTED:
                raise BirdlabError(
                    f"{path}: its header doesn't count its samples, as that of FLAC written into a pipe. "
                    "Write it again, e.g. with: ffmpeg -i FILE NEW.flac"
                )
            _check_whole(path, file)
            yield file
    except soundfile.SoundFileError as error:
        # What libsndfile says isn't passed on: of an MP3 that it can't decode, that there is no such file
        raise BirdlabError(
            f"{path}: cannot be read as WAV, FLAC, Ogg, MP3 or AIFF. "
            "It is damaged, truncated or something else: fetch or convert it again."
        ) from error


def frame_count(path: Path, file: soundfile.SoundFile) -> int:
    """Samples per channel: the header's count, or, where an MP3 has none, that of its frames.

    Raises:
        BirdlabError: for an MP3 that can't be decoded to its end.
    """
    if file.format != "MP3" or _mp3_states_length(path):
        return int(file.frames)
    # libmpg123 extrapolates from the file's size and its first frames, and never decodes beyond that: too far
    # by a tenth on published recordings, and to a third of those whose bit rate grows.
    frames = mpeg.counted(path)
    if frames == 0:
        raise BirdlabError(f"{path}: holds no samples. Remove it or fetch it again.")
    if frames - file.frames > _MISSING_S * file.samplerate:
        raise BirdlabError(
            f"{path}: lasts {frames / file.samplerate:.3f} s, but doesn't say so, and only "
            f"{file.frames / file.samplerate:.3f} s can be decoded. Write it again, e.g. with: "
            "ffmpeg -i FILE NEW.flac"
        )
    return min(frames, int(file.frames))


def _mp3_states_length(path: Path) -> bool:
    """Whether the first MPEG frame is a Xing, Info or VBRI header, which count the frames."""
    with path.open("rb") as handle:
        handle.seek(mpeg.after_tag(handle.read(10)))
        first_frame = handle.read(2058)
    return any(header in first_frame for header in (b"Xing", b"Info", b"VBRI"))


def _check_whole(path: Path, file: soundfile.SoundFile) -> None:
    """Refuse a container that ends before it says it would; libsndfile shortens such files without a word."""
    promised = re.search(r"^\s*(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if promised and all(abs(int(promised[1]) - most) > _STREAM_SLACK for most in _STREAM_BYTES):
        raise BirdlabError(
            f"{path}: truncated: its header promises {promised[1]} bytes of audio, it holds {promised[2]}. "
            "Fetch it again."
        )
    if file.format == "OGG" and not _ends_with_whole_page(path):
        raise BirdlabError(
            f"{path}: truncated: its last Ogg page is incomplete, or not marked as the last. Fetch it again."
        )


def _ends_with_whole_page(path: Path) -> bool:
    """Whether the last Ogg page has all its bytes and ends the stream (RFC 3533, section 6)."""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - _OGG_PAGE_BYTES))
        tail = handle.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26] or not page[5] & _OGG_END:
        return False
    lengths = page[27 : 27 + page[26]]
    return len(page) >= 27 + len(lengths) + sum(lengths)


def _decode(path: Path, file: soundfile.SoundFile, first: int, last: int) -> NDArray[np.float32]:
    """Frames ``first`` to ``last`` as the mean of the channels, checked."""
    file.seek(first)
    frames = file.read(last - first, dtype="float32", always_2d=True)
    check_complete(path, file, last - first, len(frames))
    audio: NDArray[np.float32] = frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1)
    check_finite(path, file, audio, first)
    return audio


def check_complete(path: Path, file: soundfile.SoundFile, promised: int, found: int) -> None:
    """Refuse a file that decodes to fewer frames than its header promised."""
    missing_s = (promised - found) / file.samplerate
    if found == 0 or missing_s > _MISSING_S:
        raise BirdlabError(
            f"{path}: truncated: its header promises {file.frames / file.samplerate:.3f} s, "
            f"{missing_s:.3f} s of it are missing. Fetch it again."
        )


def check_finite(path: Path, file: soundfile.SoundFile, audio: NDArray[np.float32], first: int) -> None:
    """Refuse samples [n, ...] that are no numbers; ``first`` is the frame they begin at."""
    finite = np.isfinite(audio)
    if not finite.all():
        bad = int(np.argmin(finite.reshape(len(audio), -1).all(axis=1)))
        raise BirdlabError(
            f"{path}: {np.count_nonzero(~finite)} samples are NaN or infinite, the first at "
            f"{(first + bad) / file.samplerate:.3f} s. Repair the recording or leave it out."
        )
