"""Mean and deviation of each mel band: an embedding without a network, to compare with."""

from dataclasses import dataclass
from functools import cached_property

import torch

from birdlab.audio.mel import MelSpectrogram, decibels
from birdlab.probing.backbone import Audio, Embeddings


@dataclass(frozen=True, kw_only=True)
class MelStatistics:
    """Mean and standard deviation over time of the level in each mel band, dB, [B, 2 M]; see `Backbone`.

    Attributes:
        sample_rate: Hz.
        seconds: of a window.
        n_fft, hop, n_mels, fmin, fmax: see `MelSpectrogram`.
    """

    sample_rate: int = 32_000
    seconds: float = 10.0
    n_fft: int = 1024
    hop: int = 500
    n_mels: int = 64
    fmin: float = 200.0
    fmax: float = 10_000.0

    licence = ""
    heard = frozenset[str]()

    def __post_init__(self) -> None:
        _ = self._mel  # refuses impossible settings now

    @property
    def name(self) -> str:
        """See `Backbone.name`."""
        return repr(self)

    @torch.inference_mode()
    def embed(self, windows: Audio) -> Embeddings:
        """See `Backbone.embed`."""
        levels = decibels(self._mel(torch.from_numpy(windows)))
        made: Embeddings = torch.cat([levels.mean(dim=-1), levels.std(dim=-1)], dim=1).numpy()
        return made

    @cached_property
    def _mel(self) -> MelSpectrogram:
        return MelSpectrogram(self.sample_rate, self.n_fft, self.hop, self.n_mels, self.fmin, self.fmax)
