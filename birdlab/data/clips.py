"""Clips made fit for mixing: calls without what is around them, backgrounds without silence, long enough."""

import math
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import percentile_filter
from torch import Tensor

from birdlab.audio import io
from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.masks import bird_mask
from birdlab.errors import BirdlabError

Audio = NDArray[np.float32]

_FADE_S = 0.01
_SILENCE = 1e-5
_GATE_EDGE = (9, 9)
_QUIET = 0.3
_VOTE, _VOTING_ROWS = 65, 97
_EXCEEDED_BY_NO_NOISE = 5.0
"""Times the 30th percentile of a Rayleigh distribution, as of noise: 1 in 7 000 exceeds it."""


@lru_cache(maxsize=256)
def isolated(file: Path, sample_rate: int, start_s: float, duration_s: float) -> Audio:
    """A call without the background in its clip, its ends faded; kept, since few calls make many mixtures.

    What doesn't stand out of the clip's own background is removed from its spectrogram: at a high
    signal-to-noise ratio it would be heard as a patch of another place around the call.
    """
    audio = io.read(file, sample_rate, start_s=start_s, duration_s=duration_s)
    if not audio.any():
        if not io.read(file, sample_rate).any():
            raise BirdlabError(f"{file}: holds nothing but digital silence. Take it out of data.calls.")
        audio.flags.writeable = False
        return audio  # a pause
    spectrogram = Spectrogram(sample_rate=sample_rate, sides="one")
    audio = np.pad(audio, (0, max(0, spectrogram.window_length - len(audio))))
    stft = spectrogram.stft(torch.from_numpy(_faded(audio, round(_FADE_S * sample_rate))))
    magnitude = stft.abs()
    call = bird_mask(magnitude, _own_background(magnitude), peak_range_db=math.inf)
    gate = torch.from_numpy(cv2.blur(call.numpy().astype(np.float32), _GATE_EDGE))
    isolated: Audio = spectrogram.inverse(stft * gate, len(audio)).numpy()
    isolated.flags.writeable = False
    return isolated


def _own_background(clip: Tensor) -> Tensor:
    """Magnitudes [F, 1] that the background inside a clip [F, T] doesn't exceed.

    Most calls pause, so a row's quieter third tells its background. One that doesn't pause is narrow, or so
    it is assumed: its rows are outvoted by their neighbours within 1.5 kHz. A clip that was cropped closely
    around a broad call without pauses leaves no background to measure, hence the limit.
    """
    columns = clip[:, ::2]
    quiet = columns.kthvalue(1 + int(_QUIET * columns.shape[1]), dim=1, keepdim=True).values
    voted = torch.from_numpy(percentile_filter(quiet.numpy(), _VOTE, size=(_VOTING_ROWS, 1), mode="nearest"))
    return (voted * _EXCEEDED_BY_NO_NOISE).clamp_(max=float(clip.max()) / 2)


def without_silence(audio: Audio, shortest: int) -> Audio:
    """The audio without its runs of at least so many samples of digital silence."""
    silent = np.abs(audio) < _SILENCE
    edges = np.flatnonzero(np.diff(silent, prepend=False, append=False)).reshape(-1, 2)
    sounding = np.ones(len(audio), np.bool_)
    for first, end in edges:
        if end - first >= shortest:
            sounding[first:end] = False
    return audio[sounding]


def repeated(audio: Audio, n: int, crossfade: int) -> Audio:
    """The audio as often as it takes for n samples, each repetition faded into the next at equal power."""
    crossfade = min(crossfade, len(audio) // 2)
    fade_in = np.sin(np.linspace(0, np.pi / 2, crossfade, dtype=np.float32))
    repeated = audio
    while len(repeated) < n:
        seam = repeated[len(repeated) - crossfade :] * fade_in[::-1] + audio[:crossfade] * fade_in
        repeated = np.concatenate([repeated[: len(repeated) - crossfade], seam, audio[crossfade:]])
    return repeated


def _faded(audio: Audio, fade: int) -> Audio:
    """A copy with raised-cosine ends, each at most half of it."""
    fade = min(fade, len(audio) // 2)
    ramp = np.float32(0.5) - np.float32(0.5) * np.cos(np.linspace(0, np.pi, fade, dtype=np.float32))
    faded = audio.copy()
    faded[:fade] *= ramp
    faded[len(faded) - fade :] *= ramp[::-1]
    return faded
