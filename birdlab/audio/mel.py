"""Mel spectrograms, decibels and PCEN, batched, as librosa defines them."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from birdlab.errors import BirdlabError

FLOOR = 1e-10
"""Least power that decibels tell apart from silence, as in librosa: -100 dB."""

_LINEAR_HZ, _LINEAR_MELS = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27
_FORGOTTEN = 1e-40


class MelSpectrogram(nn.Module):
    """Power of audio in mel bands, as ``librosa.feature.melspectrogram`` computes it.

    A centred STFT (periodic Hann window of ``n_fft`` samples, zeros beyond both ends), its squared magnitude,
    summed by triangular filters of equal area on Slaney's mel scale (Slaney, Auditory Toolbox, 1998).

    Args:
        sample_rate: Hz.
        n_fft: samples under the window.
        hop: samples between two frames.
        n_mels: bands.
        fmin, fmax: Hz where the lowest band begins and the highest ends.

    Raises:
        BirdlabError: for limits out of order or beyond sample_rate / 2, and bands too narrow to hold a bin.
    """

    filters: Tensor
    window: Tensor

    def __init__(
        self,
        sample_rate: int,
        n_fft: int,
        hop: int,
        n_mels: int,
        fmin: float = 0.0,
        fmax: float | None = None,
    ) -> None:
        super().__init__()
        fmax = sample_rate / 2 if fmax is None else fmax
        if not 0 <= fmin < fmax <= sample_rate / 2:
            raise BirdlabError(
                f"data.fmin={fmin:g}, data.fmax={fmax:g}: expected 0 <= fmin < fmax <= {sample_rate / 2:g}, "
                "half of data.sample_rate."
            )
        if not 0 < hop <= n_fft or n_mels < 1:
            raise BirdlabError(
                f"data.hop={hop}, data.n_fft={n_fft}, data.n_mels={n_mels}: expected 0 < hop <= n_fft and at "
                "least one band."
            )
        filters = mel_filters(sample_rate, n_fft, n_mels, fmin, fmax)
        if empty := int((filters.sum(dim=1) == 0).sum()):
            raise BirdlabError(
                f"data.n_mels={n_mels}: {empty} bands between {fmin:g} and {fmax:g} Hz hold no bin of a "
                f"transform of data.n_fft={n_fft} points. Take fewer bands, or more points."
            )
        self.n_fft, self.hop = n_fft, hop
        # Only the bins that some filter uses are squared and summed.
        used = filters.any(dim=0).nonzero()[:, 0]
        self.first, self.end = int(used[0]), int(used[-1]) + 1
        self.register_buffer("filters", filters[:, self.first : self.end].contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Power [..., M, 1 + n // hop] of audio [..., n]; frame t is centred at sample t * hop."""
        batch = audio.shape[:-1]
        stft = torch.stft(
            audio.reshape(-1, audio.shape[-1]),
            self.n_fft,
            self.hop,
            window=self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )[:, self.first : self.end]
        power = stft.real.square() + stft.imag.square()
        return (self.filters @ power).reshape(*batch, len(self.filters), -1)


def whole_frames(seconds: float, sample_rate: int, hop: int) -> int:
    """The frames that fit into so many seconds; at least one. A rounding error is not a frame less."""
    return max(1, int(seconds * sample_rate / hop + 1e-6))


def mel_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> Tensor:
    """Triangular filters of equal area, float32 [M, n_fft // 2 + 1], as ``librosa.filters.mel``."""
    limits = torch.tensor([fmin, fmax], dtype=torch.float64)
    low, high = hz_to_mel(limits).tolist()
    edges = mel_to_hz(torch.linspace(low, high, n_mels + 2, dtype=torch.float64))
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate / n_fft)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    area = 2 / (edges[2:] - edges[:-2])
    return (torch.minimum(rising, falling).clamp(min=0) * area[:, None]).float()


def hz_to_mel(hz: Tensor) -> Tensor:
    """Slaney's scale: linear up to 1000 Hz (15 mel), logarithmic above (27 mel for a factor of 6.4)."""
    above = _LINEAR_MELS + (hz.clamp(min=_LINEAR_HZ) / _LINEAR_HZ).log() / _LOG_STEP
    return torch.where(hz < _LINEAR_HZ, hz * (_LINEAR_MELS / _LINEAR_HZ), above)


def mel_to_hz(mel: Tensor) -> Tensor:
    """The inverse of `hz_to_mel`."""
    above = _LINEAR_HZ * ((mel - _LINEAR_MELS) * _LOG_STEP).exp()
    return torch.where(mel < _LINEAR_MELS, mel * (_LINEAR_HZ / _LINEAR_MELS), above)


def decibels(power: Tensor, top_db: float | None = None) -> Tensor:
    """10 log10 of power, at least -100 dB and at least ``top_db`` below the largest of the whole tensor.

    ``librosa.power_to_db(power, ref=1.0, top_db=top_db)``.
    """
    level = 10 * power.clamp(min=FLOOR).log10()
    return level if top_db is None else level.maximum(level.max() - top_db)


def power_of(level: Tensor) -> Tensor:
    """The power that so many decibels are."""
    return torch.exp(level * (math.log(10) / 10))


def pcen(
    energy: Tensor,
    *,
    sample_rate: int,
    hop: int,
    gain: float = 0.98,
    bias: float = 2.0,
    power: float = 0.5,
    time_constant_s: float = 0.4,
    eps: float = 1e-6,
    initial: Tensor | None = None,
) -> Tensor:
    """Per-channel energy normalisation (Wang et al. 2017; Lostanlen et al. 2019), as ``librosa.pcen``.

    ``(E / (eps + M)^gain + bias)^power - bias^power``, M being E smoothed by a first-order filter whose
    response to a step settles within ``time_constant_s``. No loop over time: any length exports to ONNX.

    Args:
        energy: [..., T], 0 or more.
        sample_rate, hop: of the frames.
        gain: of the automatic gain control, 0 for none.
        bias, power: of the compression that follows.
        time_constant_s: seconds of the filter.
        eps: what counts as silence.
        initial: M before the first frame, broadcast to [..., 1]; 1 by default, as in librosa.

    Returns:
        [..., T].
    """
    frames = time_constant_s * sample_rate / hop
    weight = (math.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)
    before = energy.new_ones(()) if initial is None else initial
    # (eps + M)^-gain in logarithms, which neither overflow nor lose a small M beside eps.
    smooth = torch.exp(-gain * (math.log(eps) + torch.log1p(smoothed(energy, weight, before) / eps)))
    compressed: Tensor = bias**power * torch.expm1(power * torch.log1p(energy * smooth / bias))
    return compressed


def smoothed(energy: Tensor, weight: float, initial: Tensor) -> Tensor:
    """The filter M[t] = (1 - weight) M[t-1] + weight E[t] along the last axis, without a loop over time.

    Sums over the last 1, 2, 4, 8, ... frames, each made of two of the ones before, until what is further back
    has decayed below rounding (1e-40): a dozen additions, whatever the length.

    Args:
        energy: [..., T].
        weight: of the newest frame, above 0, at most 1.
        initial: M[-1], broadcast to [..., 1].

    Returns:
        [..., T].
    """
    keep, length = 1 - weight, energy.shape[-1]
    steps = torch.arange(1, length + 1, device=energy.device, dtype=energy.dtype)
    total, lag = weight * energy, 1
    while keep**lag > _FORGOTTEN:
        total = total + keep**lag * F.pad(total, (lag, 0))[..., :length]
        lag *= 2
    return total + keep**steps * initial
