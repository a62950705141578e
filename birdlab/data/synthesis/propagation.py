"""From the beak to the microphone: air that swallows treble, early echoes and reverberation."""

import numpy as np
from scipy import fft

from birdlab.data.synthesis.draws import between
from birdlab.data.synthesis.voices import Audio

REVERBERATION_S = 0.9
"""Longest tail that is computed."""

_WRAP_SAMPLES = 1600


def heard_from(
    audio: Audio, rng: np.random.Generator, sample_rate: int, *, distance_m: float, openness: float
) -> Audio:
    """A call as it arrives from some way off; its level is left to the caller.

    Air absorbs about ``0.01 dB/m * (f / 1 kHz)^1.5`` more in the treble (a smooth fit to ISO 9613-1 at 15 °C
    and 60 % humidity up to 12 kHz; foliage doubles it). Trees and slopes return discrete early echoes and a
    diffuse tail, noise whose 60 dB decay time shortens with frequency, and which is the louder beside the
    direct sound the farther the bird.

    Args:
        audio: float32 [n] at the beak.
        rng: of the echoes.
        sample_rate: Hz.
        distance_m: metres, 2 to 150.
        openness: 0 in a dense forest, 1 in the open, where there is hardly anything to return an echo.

    Returns:
        float32, as long as ``audio`` plus ``REVERBERATION_S``.
    """
    n = len(audio) + round(REVERBERATION_S * sample_rate)
    # Zero-phase filters answer before they are asked: room for that, or it would wrap around to the end.
    size = fft.next_fast_len(n + _WRAP_SAMPLES, real=True)
    frequencies = fft.rfftfreq(size, 1 / sample_rate).astype(np.float32)
    loss_db = (2 - openness) * 0.01 * distance_m * (frequencies / 1000) ** 1.5
    path = np.exp(loss_db * np.float32(-np.log(10) / 20)) * fft.rfft(
        _impulse_response(rng, sample_rate, distance_m, openness), size
    )
    heard: Audio = fft.irfft(fft.rfft(audio, size) * path, size)[:n]
    return heard


def _impulse_response(
    rng: np.random.Generator, sample_rate: int, distance_m: float, openness: float
) -> Audio:
    """Direct sound, up to eight echoes within 80 ms, and the tail."""
    size = fft.next_fast_len(round(REVERBERATION_S * sample_rate), real=True)
    time = np.arange(size, dtype=np.float32) / sample_rate
    decay_s = between(rng, (0.15, 0.4)) + between(rng, (0.1, 1.2)) * (1 - openness)
    # The diffuse field hardly depends on distance, the direct sound falls with it: equal at the critical one.
    diffuse = min(2.0, (1 - openness) * distance_m / between(rng, (25, 100)))

    white = fft.rfft(rng.standard_normal(size, dtype=np.float32))
    octave = np.log2(np.maximum(fft.rfftfreq(size, 1 / sample_rate), 100) / 1000)
    tail = np.zeros(size, np.float32)
    for center, share in ((-1.5, 1.0), (0.5, 0.75), (2.0, 0.5), (3.5, 0.3)):
        band = np.exp(-(((octave - center) / 1.2) ** 2)).astype(np.float32)
        tail += fft.irfft(white * band, size) * np.exp(-6.91 / (decay_s * share) * time)
    # It builds up within 20 ms, as sound from ever farther reflectors arrives.
    tail *= 1 - np.exp(-time / 0.02)
    response = tail * np.float32(diffuse / np.sqrt(np.sum(tail**2) + 1e-12))

    echoes = rng.integers(0, 9)
    delays = rng.integers(1, round(0.08 * sample_rate), echoes)
    response[delays] += (diffuse * 0.5 * rng.uniform(-1, 1, echoes)).astype(np.float32)
    response[0] += 1
    return response
