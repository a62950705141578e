"""Clips made fit for mixing."""

import numpy as np

from birdlab.audio import io
from birdlab.data.clips import isolated, repeated, without_silence

RATE = 32_000
TONE_HZ = 4000.0


def tone(seconds: float, hertz: float = TONE_HZ) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def white(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.02 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def test_the_background_of_a_clip_is_removed(tmp_path):
    # 30 dB below the tone and as broad as can be.
    noise = white(0.6, seed=5) * 0.16
    clip = noise.copy()
    clip[RATE // 5 : 2 * RATE // 5] += tone(0.2)
    io.write(tmp_path / "clip.wav", clip, RATE)
    call = isolated(tmp_path / "clip.wav", RATE, 0.0, 1.0)
    pause = slice(0, RATE // 5 - 300)
    assert np.abs(call[pause]).max() < 0.05 * np.abs(noise[pause]).max()
    middle = slice(RATE // 5 + 1000, 2 * RATE // 5 - 1000)
    error = call[middle] - clip[middle]
    assert np.square(error).mean() < np.square(noise[middle]).mean() * 1.5


def test_digital_silence_is_cut_out():
    sound = np.ones(1000, np.float32)
    gap = np.zeros(500, np.float32)
    padded = np.concatenate([gap, sound, gap, sound, gap[:99], sound, gap])
    assert len(without_silence(padded, shortest=100)) == 3099
    assert len(without_silence(gap, shortest=100)) == 0


def test_repetitions_keep_the_power():
    audio = white(0.5, seed=3)
    longer = repeated(audio, 3 * RATE, crossfade=1600)
    assert len(longer) >= 3 * RATE
    np.testing.assert_array_equal(longer[: len(audio) - 1600], audio[:-1600])
    power = [float(np.square(part).mean()) for part in np.array_split(longer, 40)]
    assert max(power) / min(power) < 1.6
    assert repeated(audio, 100, crossfade=1600) is audio
