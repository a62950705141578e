"""Where the cells of a spectrogram lie in time and frequency; needs no torch."""

from dataclasses import dataclass, replace
from typing import Literal, Self, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from birdlab.errors import BirdlabError

Cell = TypeVar("Cell", bound=np.generic)
Sides = Literal["two", "one"]


@dataclass(frozen=True)
class Grid:
    """Rows and columns of a short-time Fourier transform.

    The defaults are the images of BirdSoundsDenoising (Zhang & Li, WACV 2023), which follow MATLAB's centred
    ``stft``: a symmetric Hamming window of 128 samples each 64, zero-padded to 1024 points, nothing padded in
    time. Two-sided rows run from -fs/2 + fs/1024 up to and including fs/2: of 1024 rows, row 511 is 0 Hz,
    rows 511 - k and 511 + k are equal, and row 1023, the Nyquist frequency, stands alone. The published files
    have their rows in this order already: no flip (real audio cannot tell f from -f). One-sided rows are
    rows 511 to 1023 of that: 513 rows from 0 Hz up.

    Attributes:
        sample_rate: Hz.
        window_length: samples under the window.
        hop: samples between two columns.
        n_fft: points of the transform; even and not shorter than the window.
        sides: ``two`` has ``n_fft`` rows, ``one`` has ``n_fft / 2 + 1``.
    """

    sample_rate: int = 32_000
    window_length: int = 128
    hop: int = 64
    n_fft: int = 1024
    sides: Sides = "two"

    def __post_init__(self) -> None:
        if not 0 < self.hop <= self.window_length <= self.n_fft or self.n_fft % 2:
            raise BirdlabError(
                f"hop={self.hop}, window_length={self.window_length}, n_fft={self.n_fft}: expected "
                "0 < hop <= window_length <= n_fft and an even n_fft."
            )
        if self.sides not in get_args(Sides):
            raise BirdlabError(f"sides={self.sides}: give {' or '.join(get_args(Sides))}.")

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.n_fft if self.sides == "two" else self.n_fft // 2 + 1

    @property
    def row_hz(self) -> float:
        """Hz from one row to the next."""
        return self.sample_rate / self.n_fft

    def one_sided(self) -> Self:
        """The same cells from 0 Hz up."""
        return replace(self, sides="one")

    def frequencies(self) -> NDArray[np.float64]:
        """Hz of each row [F], ascending."""
        half = self.n_fft // 2
        first = 0 if self.sides == "one" else 1 - half
        rows: NDArray[np.float64] = np.arange(first, half + 1, dtype=np.float64)
        return rows * self.row_hz

    def times(self, columns: int) -> NDArray[np.float64]:
        """Seconds at the centre of each column's window [T], as MATLAB and ``scipy.signal`` give them."""
        return (np.arange(columns) * self.hop + self.window_length / 2) / self.sample_rate

    def columns(self, samples: int) -> int:
        """How many columns so many samples give; 0 if they are fewer than one window."""
        return max(0, (samples - self.window_length) // self.hop + 1)

    def covering_columns(self, samples: int) -> int:
        """How many columns cover every one of so many samples, once zeros fill up the last; at least one."""
        return max(1, -(-(samples - self.window_length) // self.hop) + 1)

    def samples(self, columns: int) -> int:
        """How many samples so many columns span."""
        return (columns - 1) * self.hop + self.window_length if columns > 0 else 0


def as_picture(half: NDArray[Cell], sides: str) -> NDArray[Cell]:
    """Rows from 0 Hz up, as a picture file has them: of two sides see `Grid`, of one the highest on top."""
    return np.concatenate([half[-2:0:-1], half]) if sides == "two" else half[::-1]


def from_picture(picture: NDArray[Cell], sides: str) -> NDArray[Cell]:
    """The rows of a picture file in the order of `Grid`, the lowest frequency first."""
    return picture if sides == "two" else picture[::-1]
