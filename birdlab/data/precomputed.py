"""Mel spectrograms that somebody else computed, in place of recordings."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from birdlab.data.png import image_size, read_image
from birdlab.errors import BirdlabError

MEL_SUFFIXES = frozenset({".npy", ".png"})

_LOUDEST_DB = 1000.0
RANGE_DB = 80.0
"""What 0 to 255 stand for: -80 to 0 dB, as ``librosa.power_to_db(ref=np.max)`` scaled to a picture."""


def columns(path: Path, n_mels: int) -> int:
    """How many frames a file holds, from its header alone.

    Raises:
        BirdlabError: for what isn't an array [n_mels, T] or a picture of that size.
    """
    rows, frames = image_size(path) if path.suffix.lower() == ".png" else _mapped(path).shape
    if rows != n_mels or frames == 0:
        raise BirdlabError(
            f"{path}: a mel spectrogram of {rows} bands and {frames} frames, and data.n_mels={n_mels}. "
            f"Set data.n_mels={rows} if all files are like this one."
        )
    return int(frames)


def is_of_size(path: Path, n_mels: int) -> bool:
    """Whether a file is what `columns` takes."""
    try:
        columns(path, n_mels)
    except BirdlabError:
        return False
    return True


def read_levels(path: Path, n_mels: int) -> NDArray[np.float32]:
    """Levels in dB [M, T], row 0 the lowest band.

    A ``.npy`` file holds levels in dB, row 0 the lowest band, as librosa gives them; or bytes. A PNG is a
    picture: the highest band on top. Bytes from 0 to 255 stand for -80 to 0 dB.

    Raises:
        BirdlabError: for what ``columns`` refuses, damaged files, and values that aren't finite.
    """
    columns(path, n_mels)
    values = read_image(path)[::-1] if path.suffix.lower() == ".png" else np.array(_mapped(path))
    if values.dtype == np.uint8:
        return values.astype(np.float32) * np.float32(RANGE_DB / 255) - np.float32(RANGE_DB)
    if not np.issubdtype(values.dtype, np.floating):
        raise BirdlabError(f"{path}: holds {values.dtype}: save levels in dB as floats, or bytes.")
    if not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise BirdlabError(f"{path}: {bad} values are NaN or infinite. Compute it anew.")
    if np.abs(values).max(initial=0) > _LOUDEST_DB:
        raise BirdlabError(
            f"{path}: holds {np.abs(values).max():.3g}, which is no level in dB. Save 10 * log10(power)."
        )
    levels: NDArray[np.float32] = values.astype(np.float32)
    return levels


def _mapped(path: Path) -> NDArray[np.generic]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BirdlabError(f"{path}: cannot be read as an array of NumPy ({error}). Save it anew.") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2:
        raise BirdlabError(f"{path}: expected one array [bands, frames].")
    return array
