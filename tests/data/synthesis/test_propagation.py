"""What distance and the place do to a call."""

import numpy as np
import pytest

from birdlab.data.synthesis.propagation import REVERBERATION_S, heard_from

RATE = 32_000


def energy(audio: np.ndarray) -> float:
    return float(np.sum(audio.astype(np.float64) ** 2))


def test_near_and_in_the_open_a_call_arrives_as_it_was() -> None:
    call = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    heard = heard_from(call, np.random.default_rng(1), RATE, distance_m=0.01, openness=1.0)
    assert len(heard) == 4000 + round(REVERBERATION_S * RATE)
    assert np.allclose(heard[:4000], call, atol=2e-3)


def test_air_absorbs_treble_as_stated() -> None:
    call = np.zeros(4096, np.float32)
    call[1000] = 1
    heard = heard_from(call, np.random.default_rng(1), RATE, distance_m=100.0, openness=1.0)
    response = np.abs(np.fft.rfft(heard[:4000], 32_000))
    # 0.01 dB/m * 4^1.5 * 100 m = 8 dB at 4 kHz, 1 dB at 1 kHz.
    assert 20 * np.log10(response[4000]) == pytest.approx(-8, abs=0.1)
    assert 20 * np.log10(response[1000]) == pytest.approx(-1, abs=0.1)


def test_a_forest_reverberates_the_more_the_farther() -> None:
    call = np.zeros(1600, np.float32)
    call[:800] = np.sin(2 * np.pi * 2000 * np.arange(800) / RATE)

    def tail(distance_m: float, openness: float) -> float:
        heard = [
            heard_from(call, np.random.default_rng(seed), RATE, distance_m=distance_m, openness=openness)
            for seed in range(8)
        ]
        return float(np.mean([energy(each[1600:]) / energy(each) for each in heard]))

    assert tail(100, 0.1) > 2 * tail(10, 0.1) > 0
    assert tail(100, 0.1) > 10 * tail(100, 0.95)
