"""What else there is to hear: weather, water, insects, machines, frogs and mammals, the recorder itself.

Each layer is a function of (rng, n, sample_rate) that returns float32 [n] at any level and whose docstring
gives the ranges it draws from; ``background`` chooses layers and sets their levels. There is no distant
chorus of birds among them: it would be bird in the ear and background in the truth.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from birdlab.data.synthesis.draws import Range, amplitude, between, count
from birdlab.data.synthesis.voices import Audio

Spectrum = NDArray[np.float32]
Layer = Callable[[np.random.Generator, int, int], Audio]


def wind(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """Rumble that falls by 6 to 14 dB per octave above 30 to 150 Hz, in gusts of 0.3 to 3 s, and leaves:
    noise around 1 to 6 kHz, 20 to 45 dB below, that swells with them."""
    rumble = _shaped(rng, n, sample_rate, _slope(-between(rng, (6, 14)), between(rng, (30, 150))))
    leaves = _shaped(rng, n, sample_rate, _hump(between(rng, (1000, 6000)), between(rng, (0.7, 2.0))))
    gusts = _slow(rng, n, sample_rate, between(rng, (0.3, 3.0)))
    depth = rng.uniform(0.2, 1.0)
    audio: Audio = rumble * np.exp(depth * gusts) + amplitude(rng.uniform(-45, -20)) * leaves * np.exp(
        1.2 * depth * gusts
    )
    return audio


def surf(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """Sea, a waterfall or a distant road: noise falling by 1 to 5 dB per octave that swells over seconds."""
    noise = _shaped(rng, n, sample_rate, _slope(-between(rng, (1, 5)), between(rng, (100, 800))))
    audio: Audio = noise * np.exp(rng.uniform(0.1, 0.7) * _slow(rng, n, sample_rate, between(rng, (0.5, 4))))
    return audio


def rain(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """A Poisson process of 5 to 1500 drops per second on two kinds of surface, log-normal in strength, each a
    resonance that dies away in 1 to 15 ms, over a hiss that rises or falls by up to 4 dB per octave."""
    hiss = _shaped(rng, n, sample_rate, _slope(rng.uniform(-4, 4), between(rng, (500, 6000))))
    drops = np.zeros(n, np.float32)
    for _ in range(2):
        drops += _unit(
            _impacts(rng, n, sample_rate, rate=between(rng, (5, 1500)), spread=between(rng, (0.5, 1.5)))
        )
    return drops + hiss * np.float32(amplitude(rng.uniform(-20, 10)))


def crackle(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """Fire, twigs, steps, handling of the microphone: 0.5 to 25 unequal impacts per second."""
    return _impacts(rng, n, sample_rate, rate=between(rng, (0.5, 25)), spread=between(rng, (0.8, 2)))


def stream(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """Running water: noise around 400 to 3000 Hz, and 20 to 150 bubbles per second, each a tone of 300 to
    3500 Hz that rises a little while it dies away in 5 to 30 ms (Minnaert resonance)."""
    noise = _shaped(rng, n, sample_rate, _hump(between(rng, (400, 3000)), between(rng, (1, 2.5))))
    length = round(0.03 * sample_rate)
    number = min(rng.poisson(between(rng, (20, 150)) * n / sample_rate), 400)
    starts = rng.integers(0, n, number)
    time = np.arange(length, dtype=np.float32) / sample_rate
    pitch = np.exp(rng.uniform(np.log(300), np.log(3500), (number, 1))).astype(np.float32)
    decay = rng.uniform(0.005, 0.03, (number, 1)).astype(np.float32) / 3
    strength = np.exp(rng.normal(0, 0.7, (number, 1))).astype(np.float32)
    tones = strength * np.sin(2 * np.pi * pitch * time * (1 + 4 * time)) * np.exp(-time / decay)
    bubbles = np.zeros(n + length, np.float32)
    for start, tone in zip(starts, tones, strict=True):
        bubbles[start : start + length] += tone
    return noise + _unit(bubbles[:n]) * np.float32(amplitude(rng.uniform(-12, 6)))


def insect_band(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """Grasshoppers and cicadas near and far: 1 to 3 steady bands of noise at 2.5 to 11 kHz, 60 to 1500 Hz
    wide, their strength beating at 8 to 120 Hz and swelling over seconds."""
    bands = np.zeros(n, np.float32)
    center = between(rng, (2500, 10_000))
    for _ in range(count(rng, (1, 3))):
        band = _shaped(rng, n, sample_rate, _band(center, between(rng, (60, 1500))))
        beat = rng.uniform(0, 1) * _pulses(rng, n, sample_rate, between(rng, (8, 120)), rng.uniform(0.3, 0.8))
        swell = np.exp(rng.uniform(0, 0.6) * _slow(rng, n, sample_rate, between(rng, (0.5, 3))))
        bands += _unit(band * (beat + rng.uniform(0.05, 1)) * swell) * np.float32(
            amplitude(rng.uniform(-15, 0))
        )
        center = min(center * between(rng, (1.05, 1.9)), 11_500)
    return bands


def crickets(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """1 to 4 crickets that each keep to one pitch of 2 to 8 kHz and chirp evenly all the time: 1 to 6 chirps
    per second of pulses at 15 to 60 Hz, or, in every third, pulses without a pause."""
    choir = np.zeros(n, np.float32)
    time = np.arange(n, dtype=np.float32) / sample_rate
    for _ in range(count(rng, (1, 4))):
        pulses = _pulses(rng, n, sample_rate, between(rng, (15, 60)), rng.uniform(0.3, 0.7))
        if rng.random() < 0.67:
            pulses = pulses * _pulses(rng, n, sample_rate, between(rng, (1, 6)), rng.uniform(0.15, 0.6))
        pitch, wander = between(rng, (2000, 8000)), rng.uniform(0, 3)
        tone = np.sin(2 * np.pi * pitch * time + wander * _slow(rng, n, sample_rate, 0.02))
        choir += tone * pulses * np.float32(amplitude(rng.uniform(-24, 0)))
    return choir


def katydids(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """Broad rasps: noise at 5 to 13 kHz in evenly spaced ticks, 3 to 25 per second, lasting a tenth to a half
    of that, in bouts or throughout."""
    rasp = _shaped(rng, n, sample_rate, _band(between(rng, (5000, 12_000)), between(rng, (1000, 4000))))
    ticks = _pulses(rng, n, sample_rate, between(rng, (3, 25)), rng.uniform(0.1, 0.5))
    bouts = _pulses(rng, n, sample_rate, between(rng, (0.2, 1.5)), rng.uniform(0.4, 1.0))
    return rasp * ticks * (bouts + np.float32(0.02))


def hum(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """Mains at 50 or 60 Hz with up to 30 harmonics that fall by 3 to 9 dB per octave, and in every third case
    an electronic tone at 1 to 15.6 kHz."""
    time = np.arange(n) / sample_rate
    base = 2 * np.pi * rng.choice([50.0, 60.0]) * time
    slope = between(rng, (3, 9)) / 6.02
    tones = np.zeros(n, np.float32)
    for number in range(1, count(rng, (4, 30))):
        strength = number**-slope * np.exp(rng.normal(0, 0.5))
        tones += (strength * np.sin(number * base + rng.uniform(0, 2 * np.pi))).astype(np.float32)
    if rng.random() < 0.33:
        whine = np.sin(2 * np.pi * between(rng, (1000, 15_600)) * time).astype(np.float32)
        tones += amplitude(rng.uniform(-25, -5)) * whine
    return tones


def engine(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """Cars, aeroplanes, chainsaws and helicopters: pulses at 8 to 180 Hz whose rate drifts by up to a third,
    through resonances up to 600 to 9000 Hz, and noise of the same colour that throbs with them."""
    rate = between(rng, (8, 180)) * np.exp2(rng.uniform(0, 0.25) * _slow(rng, n, sample_rate, 0.8))
    turns = np.cumsum(rate, dtype=np.float64) / sample_rate
    phase = np.mod(turns, 1).astype(np.float32)
    throb = np.exp(-phase * np.float32(between(rng, (2, 12))))
    top, slope = between(rng, (600, 9000)), -between(rng, (3, 12))
    resonances = _bumps(rng, between(rng, (0.3, 1.2)))
    noise = rng.standard_normal(n, dtype=np.float32) * np.float32(between(rng, (0.05, 1.5)))
    source = throb * (1 + noise) + 0.05 * noise
    size = fft.next_fast_len(n, real=True)
    frequencies = fft.rfftfreq(size, 1 / sample_rate).astype(np.float32)
    colour = resonances(frequencies) * _slope(slope, top)(frequencies) * (frequencies > 25)
    audio: Audio = fft.irfft(fft.rfft(source - source.mean(), size) * colour, size)[:n]
    return audio


def frogs(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """1 to 4 frogs: calls of 0.05 to 0.6 s every 0.3 to 1.5 s, each a train of 20 to 150 pulses per second
    that ring at 400 to 3000 Hz, with a weaker second resonance."""
    pond = np.zeros(n, np.float32)
    time = np.arange(n, dtype=np.float32) / sample_rate
    for _ in range(count(rng, (1, 4))):
        train = _pulses(rng, n, sample_rate, between(rng, (20, 150)), rng.uniform(0.3, 0.7))
        calls = _pulses(rng, n, sample_rate, 1 / between(rng, (0.3, 1.5)), rng.uniform(0.15, 0.5))
        pitch = between(rng, (400, 3000))
        jitter = 1.5 * _slow(rng, n, sample_rate, 0.01)
        ring = np.sin(2 * np.pi * pitch * time + jitter) + rng.uniform(0.05, 0.6) * np.sin(
            2 * np.pi * pitch * between(rng, (1.7, 3.2)) * time + 2 * jitter
        )
        pond += (ring * train * calls * amplitude(rng.uniform(-20, 0))).astype(np.float32)
    return pond


def mammals(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """Dogs, deer, cattle or people: 1 to 6 barks of 0.08 to 0.6 s, harmonics of a voice at 80 to 450 Hz
    through two or three resonances below 3.5 kHz, rough with breath."""
    length = round(between(rng, (0.08, 0.6)) * sample_rate)
    position = np.linspace(0, 1, length, dtype=np.float32)
    pitch = between(rng, (80, 450)) * np.exp2(
        rng.uniform(-0.4, 0.4) * position + 0.15 * np.sin(np.pi * position)
    )
    phase = np.mod(np.cumsum(pitch) / sample_rate, 1).astype(np.float32)
    glottis = np.exp(-phase * 6) + rng.uniform(0.05, 0.6) * rng.standard_normal(length, dtype=np.float32)
    size = fft.next_fast_len(length, real=True)
    frequencies = fft.rfftfreq(size, 1 / sample_rate).astype(np.float32)
    tract = sum(
        _band(between(rng, limits), between(rng, (120, 500)))(frequencies) * rng.uniform(0.3, 1)
        for limits in ((300, 900), (800, 2000), (1800, 3500))
    )
    bark = fft.irfft(fft.rfft(glottis - glottis.mean(), size) * tract, size)[:length]
    # Clipped since sin(pi) falls a hair below zero, where a fractional power is not a number.
    bark *= np.clip(np.sin(np.pi * position ** rng.uniform(0.3, 1)), 0, 1) ** 0.7
    track = np.zeros(n + length, np.float32)
    for _ in range(count(rng, (1, 6))):
        start = rng.integers(0, n)
        track[start : start + length] += bark * np.float32(amplitude(rng.normal(0, 3)))
    return track[:n]


def recorder(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """Self-noise: from white to falling by 4 dB per octave, through a microphone with its ups and downs."""
    slope = _slope(-rng.uniform(0, 4), between(rng, (100, 2000)))
    bumps = _bumps(rng, rng.uniform(0.1, 0.5))
    return _shaped(rng, n, sample_rate, lambda frequencies: slope(frequencies) * bumps(frequencies))


@dataclass(frozen=True)
class Presence:
    """How often and how loud a layer is.

    Attributes:
        layer: the function that makes it.
        weight: how often it is chosen, relative to the others.
        level_db: its level relative to the loudest layer's, when it is not the loudest itself.
        can_dominate: whether it can be the loudest.
    """

    layer: Layer
    weight: float
    level_db: Range
    can_dominate: bool = True


LAYERS: tuple[Presence, ...] = (
    Presence(wind, 1.6, (-20, 0)),
    Presence(surf, 0.8, (-20, -3)),
    Presence(rain, 1.6, (-20, 0)),
    Presence(crackle, 2.0, (-20, 0)),
    Presence(stream, 0.8, (-20, -3)),
    Presence(insect_band, 1.8, (-20, 0)),
    Presence(crickets, 2.4, (-18, 0)),
    Presence(katydids, 1.6, (-16, 0)),
    Presence(hum, 0.5, (-25, -3)),
    Presence(engine, 1.4, (-20, 0)),
    Presence(frogs, 2.0, (-16, 0), can_dominate=False),
    Presence(mammals, 2.0, (-14, 2), can_dominate=False),
)
RECORDER_DB: Range = (-40, -5)
"""Self-noise relative to the loudest layer."""
EXTRA_LAYERS = (0.08, 0.25, 0.37, 0.3)
"""Probabilities of 0, 1, 2 or 3 layers beside the loudest one."""
QUIET = 0.06
"""Probability that there is nothing but the recorder."""


def background(rng: np.random.Generator, n: int, sample_rate: int) -> Audio:
    """A background of one to five layers: float32 [n], its root mean square 1."""
    total = _unit(recorder(rng, n, sample_rate))
    if rng.random() < QUIET:
        return total
    total *= np.float32(amplitude(rng.uniform(*RECORDER_DB)))
    weights = np.array([each.weight for each in LAYERS])
    loudest = np.where([each.can_dominate for each in LAYERS], weights, 0)
    first = int(rng.choice(len(LAYERS), p=loudest / loudest.sum()))
    weights[first] = 0
    extra = int(rng.choice(len(EXTRA_LAYERS), p=EXTRA_LAYERS))
    others = rng.choice(len(LAYERS), extra, replace=False, p=weights / weights.sum())
    total += _unit(LAYERS[first].layer(rng, n, sample_rate))
    for other in others:
        level = amplitude(rng.uniform(*LAYERS[other].level_db))
        total += np.float32(level) * _unit(LAYERS[other].layer(rng, n, sample_rate))
    return _unit(total)


Shape = Callable[[Spectrum], Spectrum]
"""Amplitude as a function of frequency in Hz."""


def _shaped(rng: np.random.Generator, n: int, sample_rate: int, shape: Shape) -> Audio:
    """Stationary noise of unit power with a given spectrum."""
    size = fft.next_fast_len(n, real=True)
    frequencies = fft.rfftfreq(size, 1 / sample_rate).astype(np.float32)
    draws = rng.standard_normal((2, len(frequencies)), dtype=np.float32)
    spectrum = (draws[0] + 1j * draws[1]) * shape(frequencies)
    spectrum[0] = 0
    noise: Audio = fft.irfft(spectrum, size)[:n]
    return _unit(noise)


def _slope(db_per_octave: float, corner_hz: float) -> Shape:
    """Flat below a corner, a slope above it, nothing below 15 Hz."""
    exponent = db_per_octave / 6.02 / 2

    def shape(frequencies: Spectrum) -> Spectrum:
        return (1 + (frequencies / np.float32(corner_hz)) ** 2) ** np.float32(exponent) * (frequencies > 15)

    return shape


def _hump(center_hz: float, octaves: float) -> Shape:
    """A bell over the logarithm of frequency."""

    def shape(frequencies: Spectrum) -> Spectrum:
        away = np.log2(np.maximum(frequencies, 10) / np.float32(center_hz)) / np.float32(octaves)
        bell: Spectrum = np.exp(-0.5 * away**2)
        return bell

    return shape


def _band(center_hz: float, width_hz: float) -> Shape:
    """A bell over frequency."""

    def shape(frequencies: Spectrum) -> Spectrum:
        bell: Spectrum = np.exp(
            -0.5 * ((frequencies - np.float32(center_hz)) / np.float32(width_hz / 2)) ** 2
        )
        return bell

    return shape


def _bumps(rng: np.random.Generator, roughness: float) -> Shape:
    """Smooth random ups and downs, some 9 dB times ``roughness`` each way."""
    knots = np.geomspace(20, 16_000, 14)
    levels = rng.normal(0, roughness, 14)

    def shape(frequencies: Spectrum) -> Spectrum:
        curve: Spectrum = np.exp(np.interp(frequencies, knots, levels)).astype(np.float32)
        return curve

    return shape


def _slow(rng: np.random.Generator, n: int, sample_rate: int, period_s: float) -> Audio:
    """A smooth random course, standard deviation near 1, that changes within ``period_s``."""
    knots = int(n / sample_rate / period_s) + 4
    at = np.linspace(0.5, knots - 2.5, n) + rng.uniform(-0.5, 0.5)
    whole = at.astype(np.intp)
    weight = 0.5 - 0.5 * np.cos(np.pi * (at - whole))
    draws = rng.standard_normal(knots)
    course: Audio = (draws[whole] * (1 - weight) + draws[whole + 1] * weight).astype(np.float32)
    return course


def _pulses(rng: np.random.Generator, n: int, sample_rate: int, rate_hz: float, duty: float) -> Audio:
    """Raised-cosine pulses, 0 to 1, at a rate that is steady within a few per cent; unequal in height."""
    turns = np.arange(n, dtype=np.float64) * (rate_hz / sample_rate) + rng.random()
    turns += 0.05 * _slow(rng, n, sample_rate, 4 / rate_hz)
    whole = np.maximum(turns, 0).astype(np.intp)
    phase = ((turns - whole) / duty).astype(np.float32)
    heights = rng.uniform(0.6, 1, whole[-1] + 2).astype(np.float32)
    pulses: Audio = np.where(phase < 1, np.sin(np.pi * np.clip(phase, 0, 1)) ** 2, 0) * heights[whole]
    return pulses.astype(np.float32, copy=False)


def _impacts(rng: np.random.Generator, n: int, sample_rate: int, *, rate: float, spread: float) -> Audio:
    """Impacts at random moments: ``rate`` per second, their strength log-normal with ``spread``."""
    number = rng.poisson(rate * n / sample_rate)
    impulses = np.zeros(n, np.float32)
    strengths = rng.choice([-1.0, 1.0], number) * np.exp(spread * rng.standard_normal(number))
    np.add.at(impulses, rng.integers(0, n, number), strengths.astype(np.float32))
    # Noise that dies away, coloured: what a surface answers to a blow.
    length = round(0.03 * sample_rate)
    time = np.arange(length, dtype=np.float32) / sample_rate
    answer = rng.standard_normal(length, dtype=np.float32) * np.exp(-time / between(rng, (0.0005, 0.005)))
    size = fft.next_fast_len(n + length, real=True)
    frequencies = fft.rfftfreq(size, 1 / sample_rate).astype(np.float32)
    colour = _bumps(rng, 0.8)(frequencies) * _slope(rng.uniform(-9, 0), between(rng, (200, 8000)))(
        frequencies
    )
    audio: Audio = fft.irfft(fft.rfft(impulses, size) * fft.rfft(answer, size) * colour, size)[:n]
    return audio


def _unit(audio: Audio) -> Audio:
    """Scaled to a root mean square of 1; silence stays silence."""
    scaled: Audio = audio * np.float32(1 / (np.sqrt(np.mean(audio**2)) + 1e-12))
    return scaled
