"""The short-time Fourier transform behind every image, as BirdSoundsDenoising draws it, and the way back."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from birdlab.audio.grid import Grid
from birdlab.errors import BirdlabError


@dataclass(frozen=True)
class Spectrogram(Grid):
    """Audio to image and back, on the cells that `Grid` describes."""

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
