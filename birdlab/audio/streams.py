"""Recordings that don't fit into memory: read and written in blocks, with all their channels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from birdlab.audio.io import check_complete, check_finite, frame_count, opened
from birdlab.files import replacing

BLOCK_FRAMES = 1 << 16

_FLAC_CHANNELS, _FLAC_RATE = 8, 655_350
_WAV_BYTES = 4_000_000_000
"""The header of a WAV counts its bytes in 32 bits; RF64 (EBU Tech 3306) in 64."""

_FLOATS = {"FLOAT", "DOUBLE"}
_BYTES = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}


@dataclass(frozen=True)
class Recording:
    """A file of audio, recognised by content.

    Attributes:
        path: the file.
        sample_rate: Hz.
        channels: how many.
        frames: samples per channel.
        subtype: libsndfile's name of how samples are stored, e.g. ``PCM_24``.
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int
    subtype: str

    @classmethod
    def open(cls, path: Path) -> "Recording":
        """What the header says; see `birdlab.audio.io.info`.

        Raises:
            BirdlabError: for a file that is absent, empty, visibly truncated or not a recording.
        """
        with opened(path) as file:
            return cls(path, file.samplerate, file.channels, frame_count(path, file), file.subtype)

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return self.frames / self.sample_rate

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All samples, [n, channels] each; integer formats span [-1, 1).

        Raises:
            BirdlabError: for samples that aren't finite, and for less audio than the header promises.
        """
        with opened(self.path) as file:
            first = 0
            while len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
                check_finite(self.path, file, block, first)
                first += len(block)
                yield block
            check_complete(self.path, file, self.frames, first)


@dataclass(frozen=True)
class Encoding:
    """How processed audio is stored: lossless, and no coarser than it was.

    Attributes:
        suffix: of the file.
        format: libsndfile's name of the container.
        subtype: and of the samples.
    """

    suffix: str
    format: str
    subtype: str

    @classmethod
    def like(cls, recording: Recording) -> "Encoding":
        """FLAC of 16 or 24 bits; WAV for what FLAC can't hold: floats, more channels, higher rates.

        Audio of more than 4 GB becomes WAV, too, of the kind that can be so long (RF64).
        """
        subtype = "PCM_16"
        if recording.subtype in _FLOATS:
            subtype = "FLOAT"
        elif recording.subtype in {"PCM_24", "PCM_32"}:
            subtype = "PCM_24"
        long = recording.frames * recording.channels * _BYTES[subtype] > _WAV_BYTES
        fits = recording.channels <= _FLAC_CHANNELS and _flac_holds(recording.sample_rate)
        if fits and subtype != "FLOAT" and not long:
            return cls(".flac", "FLAC", subtype)
        return cls(".wav", "RF64" if long else "WAV", subtype)


def _flac_holds(sample_rate: int) -> bool:
    """Frames of a FLAC stream state a rate in 16 bits of Hz or of tens of Hz (RFC 9639, section 9.1.2)."""
    return sample_rate < 1 << 16 or (sample_rate % 10 == 0 and sample_rate <= _FLAC_RATE)


@contextmanager
def writing(path: Path, recording: Recording) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Write audio like a recording's in blocks [n, C]; the file is whole or absent.

    Integers are the nearest ones, and what lies beyond full scale, as masking a clipped recording may leave
    it, becomes full scale.

    Raises:
        OSError: if there is no room.
    """
    encoding = Encoding.like(recording)
    bits = {"PCM_16": 15, "PCM_24": 23}.get(encoding.subtype)

    frames = 0

    def write(block: NDArray[np.float32]) -> None:
        nonlocal frames
        try:
            file.write(block if bits is None else _integers(block, bits))
        except AssertionError as error:  # soundfile's way to say that only some of it was written
            raise OSError(f"{path} can't be written: is the disk full?") from error
        frames += len(block)

    try:
        with replacing(path) as temporary:
            with soundfile.SoundFile(
                temporary,
                "w",
                samplerate=recording.sample_rate,
                channels=recording.channels,
                format=encoding.format,
                subtype=encoding.subtype,
            ) as file:
                yield write
            # What was buffered is written on closing, which says nothing if it fails.
            if soundfile.info(temporary).frames != frames:
                raise OSError(f"{path} can't be written whole: is the disk full?")
    except soundfile.SoundFileError as error:
        raise OSError(f"{path} can't be written ({error}): is the disk full?") from error


def _integers(block: NDArray[np.float32], bits: int) -> NDArray[np.int16] | NDArray[np.int32]:
    """As libsndfile reads them back: full scale is 2^bits. Its own writing scales by one less."""
    scaled = np.rint(block * np.float32(1 << bits))
    # float32 can't hold the largest 24-bit number but one; integers can.
    counts: NDArray[np.int32] = np.clip(scaled, -(1 << bits), 1 << bits).astype(np.int32)
    np.minimum(counts, (1 << bits) - 1, out=counts)
    return counts.astype(np.int16) if bits == 15 else np.left_shift(counts, 8)
