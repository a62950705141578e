"""A network that needs no training, and the sounds it finds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from birdlab.audio.grid import Grid

RATE = 8_000


@dataclass(frozen=True)
class LoudTones:
    """A network whose bird is what is loud: of a cell it looks at that cell alone, so windows don't matter.

    Frames of 32 samples each 16 in 33 rows of 125 Hz; windows of 40 columns, 82 ms.
    """

    grid: Grid = field(default_factory=lambda: Grid(RATE, window_length=32, hop=16, n_fft=64))
    window_columns: int = 40
    classes: Mapping[int, str] = field(default_factory=lambda: {0: "background", 255: "bird"})
    threshold: float = 0.5
    box_threshold: float = 0.7
    validation_precision: Mapping[float, float] = field(default_factory=dict)
    validation_recall: Mapping[float, float] = field(default_factory=dict)
    name: str = "loud tones"

    def probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        frames = np.lib.stride_tricks.sliding_window_view(windows, 32, axis=1)[:, ::16]
        magnitude = np.abs(np.fft.rfft(frames * np.hamming(32).astype(np.float32), 64))
        return np.clip(magnitude.transpose(0, 2, 1), 0, 1).astype(np.float32)

    def image_probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ascontiguousarray(images[:, -33:]).astype(np.float32) / 255


@pytest.fixture
def loud_tones() -> LoudTones:
    return LoudTones()


Tone = tuple[float, float, float]


def tones(*each: Tone, duration_s: float, rate: int = RATE) -> NDArray[np.float32]:
    """Sines of (begin s, end s, Hz), .5 high, on faint noise: float32 [n]."""
    time = np.arange(round(duration_s * rate)) / rate
    audio = np.random.default_rng(0).normal(0, 0.002, len(time))
    for begin, end, hertz in each:
        audio += 0.5 * np.sin(2 * np.pi * hertz * time) * ((begin <= time) & (time < end))
    return audio.astype(np.float32)


@pytest.fixture
def make_tones() -> Callable[..., NDArray[np.float32]]:
    return tones


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with two recordings of one name in two folders."""
    for folder, hertz in (("dawn", 1500.0), ("dusk", 2500.0)):
        (tmp_path / "in" / folder).mkdir(parents=True)
        audio = tones((0.3, 0.5, hertz), (1.1, 1.2, hertz), duration_s=1.5)
        soundfile.write(tmp_path / "in" / folder / "a [1] é.wav", audio, RATE)
    return tmp_path / "in"
