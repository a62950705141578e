"""The short-time Fourier transform behind every image, as BirdSoundsDenoising draws it, and the way back."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from birdlab.errors import BirdlabError


@dataclass(frozen=True)
class Spectrogram:
    """Audio to image and back.

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
    sides: Literal["two", "one"] = "two"

    def __post_init__(self) -> None:
        if not 0 < self.hop <= self.window_length <= self.n_fft or self.n_fft % 2:
            raise BirdlabError(
                f"hop={self.hop}, window_length={self.window_length}, n_fft={self.n_fft}: expected "
                "0 < hop <= window_length <= n_fft and an even n_fft."
            )

    def stft(self, audio: Tensor) -> Tensor:
        """Complex spectrogram.

        Args:
            audio: real [..., n] with at least ``window_length`` samples. Samples behind the last whole window
                are not covered; pad with zeros up to ``samples(columns)`` to have them.

        Returns:
            complex [..., F, T], lowest frequency first; phases count from each window's first sample.
        """
        return self._rows(self._half(audio), conjugate=True)

    def magnitude(self, audio: Tensor) -> Tensor:
        """|STFT| as real [..., F, T], without the phase; see ``stft``."""
        return self._rows(self._half(audio).abs(), conjugate=False)

    def image(self, audio: Tensor) -> Tensor:
        """|STFT| clipped to [0, 1], times 255, rounded to the nearest: uint8 [..., F, T]; see ``stft``.

        Rounding is what the published images do: on the one public example 97.6 % of the pixels come out
        equal, and 55 % with truncation.
        """
        grey = self._half(audio).abs().clamp_(max=1).mul_(255).round_().to(torch.uint8)
        return self._rows(grey, conjugate=False).contiguous()

    def inverse(self, stft: Tensor, length: int) -> Tensor:
        """The audio whose spectrogram is nearest to ``stft`` in the least-squares sense.

        Overlap-add with the window, divided by the summed squares of the windows (Griffin & Lim 1984, eq. 6).
        The Hamming window is nowhere zero, so this is exact up to both ends.

        Args:
            stft: complex [..., F, T] as ``stft`` returns it, perhaps multiplied by a mask. Of a two-sided one
                the two halves are averaged, since the audio is real.
            length: samples wanted; those behind the last window are zero.

        Returns:
            real [..., length].
        """
        frames = torch.fft.irfft(self._fold(stft).transpose(-1, -2), n=self.n_fft)[..., : self.window_length]
        window = self._window(frames)
        batch, columns = frames.shape[:-2], frames.shape[-2]
        samples = self.samples(columns)
        energy = self._overlap_add(window.square().expand(1, columns, -1), samples)
        audio = (
            self._overlap_add((frames * window).reshape(-1, columns, self.window_length), samples) / energy
        )
        return F.pad(audio, (0, max(0, length - samples)))[:, :length].reshape(*batch, length)

    def frequencies(self) -> NDArray[np.float64]:
        """Hz of each row [F], ascending."""
        half = self.n_fft // 2
        first = 0 if self.sides == "one" else 1 - half
        rows: NDArray[np.float64] = np.arange(first, half + 1, dtype=np.float64)
        return rows * (self.sample_rate / self.n_fft)

    def times(self, columns: int) -> NDArray[np.float64]:
        """Seconds at the centre of each column's window [T], as MATLAB and ``scipy.signal`` give them."""
        return (np.arange(columns) * self.hop + self.window_length / 2) / self.sample_rate

    def columns(self, samples: int) -> int:
        """How many columns so many samples give; 0 if they are fewer than one window."""
        return max(0, (samples - self.window_length) // self.hop + 1)

    def samples(self, columns: int) -> int:
        """How many samples so many columns span."""
        return (columns - 1) * self.hop + self.window_length if columns > 0 else 0

    def _window(self, like: Tensor) -> Tensor:
        return torch.hamming_window(self.window_length, periodic=False, dtype=like.dtype, device=like.device)

    def _half(self, audio: Tensor) -> Tensor:
        """The non-negative frequencies, complex [..., n_fft / 2 + 1, T]: all that real audio needs."""
        if audio.shape[-1] < self.window_length:
            raise BirdlabError(
                f"{audio.shape[-1]} samples of audio are less than one window of {self.window_length}. "
                "Pad the recording with zeros or leave it out."
            )
        # torch.stft centres a short window within n_fft, which moves every column by half the difference.
        frames = audio.unfold(-1, self.window_length, self.hop) * self._window(audio)
        half: Tensor = torch.fft.rfft(frames, n=self.n_fft).transpose(-1, -2)
        return half

    def _rows(self, half: Tensor, *, conjugate: bool) -> Tensor:
        """The half as asked for by ``sides``."""
        if self.sides == "one":
            return half
        mirror = half[..., 1:-1, :].flip(-2)
        return torch.cat([mirror.conj() if conjugate else mirror, half], dim=-2)

    def _fold(self, stft: Tensor) -> Tensor:
        """The half spectrum nearest to ``stft``: inverse of ``_rows``."""
        if self.sides == "one":
            return stft
        negative, half = stft[..., : self.n_fft // 2 - 1, :], stft[..., self.n_fft // 2 - 1 :, :]
        mirrored = torch.cat([half[..., :1, :], negative.flip(-2).conj(), half[..., -1:, :]], dim=-2)
        return (half + mirrored) / 2

    def _overlap_add(self, frames: Tensor, samples: int) -> Tensor:
        """[B, T, window] frames summed where they lie: [B, samples]."""
        columns = frames.transpose(-1, -2)
        summed = F.fold(columns, (1, samples), (1, self.window_length), stride=(1, self.hop))
        return summed.reshape(-1, samples)
