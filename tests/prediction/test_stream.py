"""Windows, cross-fading, and that nothing depends on how a stream comes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from birdlab.audio.grid import Grid
from birdlab.prediction.network import Network
from birdlab.prediction.stream import _rechunked, joined, mono_at, stitched, stitched_image

FOUND = [HealthCheck.function_scoped_fixture]


@dataclass(frozen=True)
class Numbered:
    """Says 0 for its first window, 1 for the second and so on, to see how they are put together."""

    grid: Grid = field(default_factory=lambda: Grid(8, window_length=2, hop=1, n_fft=2))
    window_columns: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "calls", [])

    def probabilities(self, windows: np.ndarray) -> np.ndarray:
        numbers = len(self.calls) + np.arange(len(windows))
        self.calls.extend(windows.copy())
        return np.repeat(numbers, 16).reshape(-1, 2, 8).astype(np.float32)


def test_windows_by_hand() -> None:
    """Windows of 8 columns each 6; of 17 columns the third is moved back from 12 to 9."""
    network = Numbered()
    audio = np.arange(18, dtype=np.float32)
    stretches = list(stitched(network, [audio[:5], audio[5:]]))
    assert [window[[0, -1]].tolist() for window in network.calls] == [[0, 8], [6, 14], [9, 17]]
    # Two columns fade: cos from 0 to 1 at a quarter and three quarters of the way.
    rise = [0.5 - 0.5 * np.cos(np.pi / 4), 0.5 - 0.5 * np.cos(3 * np.pi / 4)]
    expected = [0] * 6 + rise + [1] * 4 + [1 + rise[0], 1 + rise[1]] + [2] * 3
    np.testing.assert_allclose(joined(stretches), [expected, expected], atol=1e-6)
    assert [stretch.first for stretch in stretches] == [0, 6, 12, 15]
    for stretch in stretches:
        assert stretch.samples.tolist() == list(range(stretch.first, stretch.end + 1))


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 8, 9])
def test_short_recordings_are_one_window(samples: int) -> None:
    network = Numbered()
    columns = joined(list(stitched(network, [np.ones(samples, np.float32)]))).shape[1]
    assert len(network.calls) == 1
    assert network.calls[0].sum() == samples
    assert columns == max(1, samples - 1)


@settings(max_examples=40, suppress_health_check=FOUND)
@given(sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=12), seconds=st.floats(0.01, 4.0))
def test_the_result_does_not_depend_on_chunks(loud_tones: Network, sizes: list[int], seconds: float) -> None:
    """From 11 kHz stereo to probabilities, bit for bit, however the samples come."""
    audio = np.random.default_rng(1).normal(0, 0.1, (round(seconds * 11_025), 2)).astype(np.float32)
    parts = np.split(audio, np.cumsum(sizes)[np.cumsum(sizes) < len(audio)])

    def through(blocks: list[np.ndarray]) -> np.ndarray:
        mono = mono_at(blocks, 11_025, loud_tones.grid.sample_rate)
        return joined(list(stitched(loud_tones, mono)))

    assert np.array_equal(through(parts), through([audio]))


def test_windows_leave_no_trace(loud_tones: Network, make_tones: Callable[..., np.ndarray]) -> None:
    """A network that sees each cell alone says the same of a stream as of one long window."""
    audio = make_tones((0.1, 0.6, 1000.0), duration_s=1.0)
    columns = loud_tones.grid.covering_columns(len(audio))
    whole = np.pad(audio, (0, loud_tones.grid.samples(columns) - len(audio)))
    streamed = joined(list(stitched(loud_tones, [audio])))
    np.testing.assert_allclose(streamed, loud_tones.probabilities(whole[None])[0], atol=1e-6)


def test_resampling_in_blocks_is_resampling_at_once(make_tones: Callable[..., np.ndarray]) -> None:
    import soxr

    audio = make_tones((0.1, 0.6, 1000.0), duration_s=1.0, rate=44_100)
    blocks = np.concatenate(list(mono_at(np.split(audio[:, None], 7), 44_100, 32_000)))
    np.testing.assert_allclose(blocks, soxr.resample(audio, 44_100, 32_000), atol=1e-5)
    stereo = np.stack([audio, np.zeros_like(audio)], axis=1)
    (mono,) = mono_at([stereo], 44_100, 44_100)
    np.testing.assert_allclose(mono, audio / 2)


def test_rechunking() -> None:
    blocks = [np.arange(3), np.arange(3, 4), np.arange(4, 11), np.zeros(0, int)]
    assert [block.tolist() for block in _rechunked(blocks, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


@pytest.mark.parametrize("columns", [7, 40, 41, 100])
def test_pictures(loud_tones: Network, columns: int) -> None:
    image = np.random.default_rng(2).integers(0, 256, (64, columns), dtype=np.uint8)
    stretches = list(stitched_image(loud_tones, image))
    np.testing.assert_allclose(joined(stretches), image[-33:] / 255, atol=1e-6)
    assert np.array_equal(np.concatenate([stretch.samples for stretch in stretches], axis=1), image)
