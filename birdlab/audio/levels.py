"""Spectrograms in decibels: from audio to a picture of levels, and from that to what a network is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from birdlab.audio.mel import pcen
from birdlab.errors import BirdlabError

LOWEST_DB, STEP_DB = -110.0, 0.5
"""Level of a byte of 0, and from one byte to the next: 255 is +17.5 dB."""
FAINTEST = 10 ** (LOWEST_DB / 10)
"""Power of `LOWEST_DB`: what has no more is as good as digital silence."""

Channel = Literal["level", "excess", "pcen", "frequency"]

_SCALE_DB = 20.0
_SILENT = -2.0
_SILENCE_DB = LOWEST_DB + STEP_DB / 2
_PCEN_UNIT_DB = -60.0


@dataclass(frozen=True)
class LevelPicture:
    """Audio to levels [rows, columns] that cover it evenly, from 0 Hz to half the sample rate.

    Column i is one frame under a Hann window, centred at (i + 1/2) / columns of the audio, beyond whose ends
    there is silence. Row i is the mean power of the Fourier bins in its share of the band, so that all of the
    sound is in the picture, however few rows there are. A sine of full scale has 0 dB in its bin.

    Attributes:
        rows, columns: of the picture.
        window_length: samples under the window, and points of the transform; even.
    """

    rows: int
    columns: int
    window_length: int = 1024

    def __post_init__(self) -> None:
        if self.window_length % 2 or self.window_length < 2 * self.rows:
            raise BirdlabError(
                f"data.window_length={self.window_length}: a picture of {self.rows} rows needs an even "
                f"number of samples, {2 * self.rows} at least."
            )

    def hop(self, samples: int) -> int:
        """Samples from one column to the next, for audio of so many.

        Raises:
            BirdlabError: if they aren't whole, or windows would leave gaps.
        """
        hop, rest = divmod(samples, self.columns)
        if rest or not 0 < hop <= self.window_length:
            steps = [step for step in range(1, self.window_length + 1) if samples % step == 0]
            nearest = min((samples // step for step in steps), key=lambda n: abs(n - self.columns))
            raise BirdlabError(
                f"data.image_size: {self.columns} columns don't divide a window of {samples} samples "
                f"(data.window_s * data.sample_rate) into steps of {self.window_length} at most: choose "
                f"{nearest}."
            )
        return hop

    def padding(self, samples: int) -> tuple[int, int]:
        """Zeros before and behind so many samples."""
        spare = self.window_length - self.hop(samples)
        return spare // 2, spare - spare // 2

    def window(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Hann's, of which the spectrum of a sine of full scale is 1 in its bin."""
        window = torch.hann_window(self.window_length, periodic=True, dtype=dtype)
        return window / (window.sum() / 2)

    def pooling(self) -> Tensor:
        """[rows, bins] whose rows are the shares of the bins in each row's band; their sum is 1."""
        bins = self.window_length // 2 + 1
        # The bin at fs/2 belongs to the last row.
        row = (torch.arange(bins) * self.rows // (bins - 1)).clamp(max=self.rows - 1)
        member = F.one_hot(row, self.rows).float().T
        return member / member.sum(dim=1, keepdim=True)

    def levels(self, audio: Tensor) -> Tensor:
        """Levels in dB, [..., rows, columns], of audio [..., n]; at least `LOWEST_DB`.

        Raises:
            BirdlabError: see `hop`.
        """
        padded = F.pad(audio, self.padding(audio.shape[-1]))
        frames = padded.unfold(-1, self.window_length, self.hop(audio.shape[-1]))
        power = torch.fft.rfft(frames * self.window(audio.dtype).to(audio.device)).abs().square()
        return of_power(self.pooling().to(power) @ power.transpose(-1, -2))

    def image(self, audio: Tensor) -> Tensor:
        """The same as bytes, uint8: see `STEP_DB`."""
        return to_bytes(self.levels(audio))


def of_power(power: Tensor) -> Tensor:
    """Decibels, at least `LOWEST_DB`."""
    return 10 * power.clamp(min=FAINTEST).log10()


def to_bytes(level: Tensor) -> Tensor:
    """Levels in dB as uint8, half a decibel each."""
    return ((level - LOWEST_DB) / STEP_DB).round().clamp(0, 255).to(torch.uint8)


def to_unit(level: Tensor) -> Tensor:
    """Levels in dB as pictures travel to a network: what bytes / 255 are, without the rounding."""
    return (level - LOWEST_DB) / (255 * STEP_DB)


def from_unit(picture: Tensor) -> Tensor:
    """Levels in dB of a picture in 0..1."""
    return picture * (255 * STEP_DB) + LOWEST_DB


class LevelChannels(nn.Module):
    """What a network is given of a picture of levels, each window by itself:

    - ``level``: above the middle one of its rows' backgrounds, so that loud and quiet recordings look alike;
    - ``excess``: above the steady background of its row, the level that a quarter of its cells don't exceed,
      leaving out those of digital silence, such as what fills up a recording shorter than the window;
    - ``pcen``: per-channel energy normalisation (Wang et al. 2017), which starts from that background;
    - ``frequency``: -1 at 0 Hz to 1 at half the sample rate: convolutions don't know where they are.

    Levels are in units of 20 dB; what lies 40 dB below the background and further is as good as silent.

    Args:
        channels: which of them.
        window_s: seconds that a picture lasts; ``pcen`` needs it.

    Raises:
        BirdlabError: for another channel, or none.
    """

    def __init__(self, channels: Sequence[Channel], window_s: float | None) -> None:
        super().__init__()
        unknown = [channel for channel in channels if channel not in get_args(Channel)]
        if unknown or not channels:
            raise BirdlabError(
                f"task.module.front_end.channels={list(channels)}: give some of "
                f"{', '.join(get_args(Channel))}."
            )
        if "pcen" in channels and window_s is None:
            raise BirdlabError("task.module.front_end.channels: pcen needs data.window_s.")
        self.channels: tuple[Channel, ...] = tuple(channels)
        self.window_s = window_s

    def forward(self, picture: Tensor) -> Tensor:
        """float32 [B, C, F, T] of a picture [B, F, T] in 0..1, whose unit is `to_unit`'s."""
        level = from_unit(picture.float())
        rows = level.shape[1]
        steady = above_silence(level, 0.25)
        made = []
        for channel in self.channels:
            if channel == "level":
                middle = above_silence(steady.transpose(1, 2), 0.5)
                made.append(((level - middle) / _SCALE_DB).clamp(min=_SILENT))
            elif channel == "excess":
                made.append(((level - steady) / _SCALE_DB).clamp(min=_SILENT))
            elif channel == "pcen":
                made.append(self._pcen(level, steady))
            else:
                place = torch.linspace(-1, 1, rows, device=level.device)
                made.append(place[:, None].expand_as(level))
        return torch.stack(made, dim=1)

    def _pcen(self, level: Tensor, steady: Tensor) -> Tensor:
        energy, background = (10 ** ((each - _PCEN_UNIT_DB) / 10) for each in (level, steady))
        assert self.window_s is not None
        frames_per_s = round(level.shape[-1] / self.window_s)
        return pcen(energy, sample_rate=frames_per_s, hop=1, initial=background)


def above_silence(level: Tensor, share: float) -> Tensor:
    """The level that a share of the cells along the last axis [..., n] don't exceed: [..., 1].

    Cells of digital silence don't count, unless there is nothing else. Unlike quantiles, sorting has a
    counterpart in ONNX.
    """
    ascending = level.sort(dim=-1).values
    silent = (level <= _SILENCE_DB).sum(dim=-1, keepdim=True)
    place = silent + ((level.shape[-1] - 1 - silent).clamp(min=0) * share).long()
    return ascending.gather(-1, place.clamp(max=level.shape[-1] - 1))
