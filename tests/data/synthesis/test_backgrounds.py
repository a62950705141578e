"""Layers of background and their mixture."""

import numpy as np
import pytest

from birdlab.data.synthesis.backgrounds import LAYERS, Layer, background, crickets, hum, recorder, wind

RATE = 32_000
N = 2 * RATE


@pytest.mark.parametrize(
    "layer", [*(each.layer for each in LAYERS), recorder], ids=lambda layer: layer.__name__
)
def test_a_layer_is_sound_of_the_right_length(layer: Layer) -> None:
    for seed in range(6):
        audio = layer(np.random.default_rng(seed), N, RATE)
        assert audio.shape == (N,)
        assert audio.dtype == np.float32
        assert np.isfinite(audio).all()
        assert audio.std() > 0
        assert np.array_equal(audio, layer(np.random.default_rng(seed), N, RATE))


def share_below(audio: np.ndarray, hz: float) -> float:
    power = np.abs(np.fft.rfft(audio)) ** 2
    return float(power[: round(hz * len(audio) / RATE)].sum() / power.sum())


def test_wind_is_low_and_crickets_are_high() -> None:
    for seed in range(6):
        assert share_below(wind(np.random.default_rng(seed), N, RATE), 1000) > 0.8
        assert share_below(crickets(np.random.default_rng(seed), N, RATE), 1500) < 0.05


def test_hum_consists_of_harmonics_of_the_mains() -> None:
    power = np.abs(np.fft.rfft(hum(np.random.default_rng(1), 5 * RATE, RATE))) ** 2
    strongest = np.flatnonzero(power > 0.01 * power.max()) / 5
    assert any(np.allclose(np.mod(strongest + 1, mains), 1, atol=0.3) for mains in (50, 60))


def test_backgrounds_have_unit_power_and_differ() -> None:
    tracks = [background(np.random.default_rng(seed), N, RATE) for seed in range(12)]
    assert [float(np.mean(track**2)) for track in tracks] == pytest.approx([1.0] * 12, rel=1e-3)
    low = [share_below(track, 1000) for track in tracks]
    assert max(low) - min(low) > 0.5
