"""The soft mask: same length, same phases, quieter where there is no bird."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from birdlab.audio.grid import Grid
from birdlab.prediction.denoise import Denoiser

GRID = Grid(sample_rate=32_000)


def denoised(
    audio: np.ndarray, rate: int, probability: np.ndarray, cuts: list[int], **settings: float
) -> np.ndarray:
    """The probability [F, T] of a whole recording, in parts, and its audio in as many."""
    stage = Denoiser(GRID, rate, audio.shape[1], settings.pop("threshold", 0.5), **settings)
    parts = np.split(probability, sorted(cuts), axis=1)
    out = []
    for number, part in enumerate(parts):
        begin, end = (len(audio) * index // len(parts) for index in (number, number + 1))
        stage.hear(audio[begin:end])
        out.append(stage.see(part))
    return np.concatenate([*out, stage.finish()])


def noise(samples: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (samples, channels)).astype(np.float32)


def columns(samples: int, rate: int) -> int:
    return GRID.covering_columns(round(samples * 32_000 / rate))


@settings(max_examples=25)
@given(
    samples=st.integers(1, 12_000),
    rate=st.sampled_from([8_000, 22_050, 32_000]),
    cuts=st.lists(st.integers(0, 300), max_size=3),
)
def test_certain_bird_is_unchanged_to_the_sample(samples: int, rate: int, cuts: list[int]) -> None:
    audio = noise(samples, channels=2)
    ones = np.ones((513, columns(samples, rate)), np.float32)
    np.testing.assert_allclose(denoised(audio, rate, ones, cuts), audio, atol=1e-6)


def test_certain_background_is_at_the_floor() -> None:
    audio = noise(20_000)
    zeros = np.zeros((513, columns(20_000, 32_000)), np.float32)
    np.testing.assert_allclose(denoised(audio, 32_000, zeros, [100], floor_db=-20), audio / 10, atol=1e-6)


def test_the_threshold_is_half_way_down() -> None:
    """q is 1/2 at the threshold, so the gain is the mean of 1 and the floor."""
    audio = noise(20_000)
    at_threshold = np.full((513, columns(20_000, 32_000)), 0.8, np.float32)
    out = denoised(audio, 32_000, at_threshold, [], threshold=0.8, floor_db=-20)
    np.testing.assert_allclose(out, 0.55 * audio, atol=1e-6)


def test_the_gain_of_a_probability_by_hand() -> None:
    """p = .6 at t = .5: b = .3 and n = .2, so q = .09 / .13."""
    audio = np.random.default_rng(0).normal(0, 0.1, (20_000, 1)).astype(np.float32)
    everywhere = np.full((513, columns(20_000, 32_000)), 0.6, np.float32)
    out = denoised(audio, 32_000, everywhere, [], threshold=0.5, floor_db=-20)
    assert out.std() / audio.std() == pytest.approx(0.1 + 0.9 * 9 / 13, rel=0.01)


def test_what_the_network_cannot_see_is_at_the_floor() -> None:
    time = np.arange(48_000) / 48_000
    ones = np.ones((513, columns(48_000, 48_000)), np.float32)
    for hertz, gain in ((15_000, 1.0), (17_000, 0.1)):
        audio = np.sin(2 * np.pi * hertz * time).astype(np.float32)[:, None]
        out = denoised(audio, 48_000, ones, [], floor_db=-20)
        assert out.std() / audio.std() == pytest.approx(gain, rel=0.02)


def test_a_call_stays_where_it_is_and_noise_goes() -> None:
    """Two tones; the mask knows one of them, for the second half. It keeps it with its phase."""
    time = np.arange(32_000) / 32_000
    bird = np.sin(2 * np.pi * 4000 * time) * (time > 0.5)
    hum = np.sin(2 * np.pi * 1000 * time)
    audio = np.stack([bird + hum, hum], axis=1).astype(np.float32)
    mask = np.zeros((513, columns(32_000, 32_000)), np.float32)
    mask[112:144, 250:] = 1
    left, right = denoised(audio, 32_000, mask, [250, 260], floor_db=-40).T
    inside = slice(17_000, 31_000)
    np.testing.assert_allclose(left[inside], bird[inside] + 0.01 * hum[inside], atol=0.03)
    assert np.abs(right).max() < 0.03
    assert np.abs(left[:14_000]).max() < 0.03


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(1, 600), max_size=5))
def test_stretches_may_be_of_any_length(cuts: list[int]) -> None:
    rate, samples = 44_100, 50_000
    probability = np.random.default_rng(1).uniform(0, 1, (513, columns(samples, rate))).astype(np.float32)
    audio = noise(samples)
    np.testing.assert_allclose(
        denoised(audio, rate, probability, cuts), denoised(audio, rate, probability, []), atol=1e-6
    )
