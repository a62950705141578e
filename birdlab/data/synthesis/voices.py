"""Bird voices: what a syllable sounds like, which ones a voice draws, and how they make a phrase.

``Voice`` holds ranges, the habits of a kind of bird. ``Voice.phrase`` draws a ``Phrase`` from them: a few
syllables (``Syllable``: a set of numbers) in an order. ``Phrase.render`` sings it, never twice the same way.
An individual (or a species) is therefore a phrase that is kept; a new one is a new draw.

The source is additive, with the parameters by which bird sounds are described in bioacoustics (Catchpole &
Slater, Bird Song, 2008; Marler & Slabbekoorn, Nature's Music, 2004): a fundamental that glides, harmonics
shaped by a resonance, frequency and amplitude modulation, and turbulence around the fundamental.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from birdlab.data.synthesis.draws import Range, amplitude, between, count

Audio = NDArray[np.float32]

Glide = Literal["level", "up", "down", "arch", "dip", "wave", "hook", "late"]
"""How the pitch moves within a syllable."""

_GLIDES: dict[Glide, tuple[float, ...]] = {
    "level": (0.0, 0.05, 0.0),
    "up": (-0.5, -0.1, 0.5),
    "down": (0.5, 0.1, -0.5),
    "arch": (-0.5, 0.5, -0.4),
    "dip": (0.5, -0.5, 0.4),
    "wave": (0.0, 0.5, -0.5, 0.2),
    "hook": (-0.3, 0.5, -0.3, -0.5),
    "late": (0.4, 0.4, 0.3, -0.6),
}
"""Pitch at evenly spaced moments, as shares of the syllable's span."""

PITCH_LIMITS_HZ = (200.0, 12_000.0)
"""What birds of the open country sing; fundamentals are kept inside."""

_HIGHEST_HARMONIC_HZ = 14_500.0
_NOISE_CYCLES = 4


@dataclass(frozen=True)
class Syllable:
    """One unbroken sound.

    Attributes:
        duration_s: seconds.
        pitch_hz: the fundamental at evenly spaced moments, joined smoothly.
        harmonics: amplitudes of the fundamental, of twice its frequency, and so on.
        vibrato_hz, vibrato_octaves: rate and half width of the frequency modulation; fast and wide is a buzz.
        tremolo_hz, tremolo_depth: rate and depth (0..1) of the amplitude modulation.
        breath: share (0..1) of the amplitude that is noise around the pitch.
        breath_hz: half the bandwidth of that noise.
        attack, decay: shares of the duration in which it rises and falls.
    """

    duration_s: float
    pitch_hz: tuple[float, ...]
    harmonics: tuple[float, ...]
    vibrato_hz: float
    vibrato_octaves: float
    tremolo_hz: float
    tremolo_depth: float
    breath: float
    breath_hz: float
    attack: float
    decay: float

    def render(self, rng: np.random.Generator, sample_rate: int, transpose: float = 0.0) -> Audio:
        """The sound, float32 [n], its root mean square near 0.5 whatever it is made of.

        Args:
            rng: of phases, breath and small irregularities.
            sample_rate: Hz.
            transpose: octaves up.
        """
        n = max(32, round(self.duration_s * sample_rate))
        time = np.arange(n, dtype=np.float32) / np.float32(sample_rate)
        position = np.linspace(0, 1, n, dtype=np.float32)
        pitch = self._pitch(position, time, rng) * 2.0**transpose
        phase = np.cumsum(pitch, dtype=np.float64) * (2 * np.pi / sample_rate)
        # Wrapped in double precision: float32 cosines of large arguments would hiss.
        phase = np.mod(phase, 2 * np.pi).astype(np.float32)
        top = float(pitch.max())

        voiced = np.zeros(n, np.float32)
        power = 0.0
        for number, strength in enumerate(self.harmonics, start=1):
            if number > 1 and number * top > _HIGHEST_HARMONIC_HZ:
                break
            voiced += np.float32(strength) * np.cos(number * phase + rng.uniform(0, 2 * np.pi))
            power += strength**2 / 2
        sound = voiced * np.float32((1 - self.breath) * 0.5 / math.sqrt(power))
        if self.breath > 0:
            sound += np.float32(self.breath * 0.7) * np.cos(phase) * self._noise(n, sample_rate, rng)
        return sound * self._envelope(position, time, rng)

    def _pitch(self, position: Audio, time: Audio, rng: np.random.Generator) -> Audio:
        knots = np.linspace(0, 1, len(self.pitch_hz))
        octaves = PchipInterpolator(knots, np.log2(self.pitch_hz))(position)
        if self.vibrato_octaves > 0:
            turn = 2 * np.pi * self.vibrato_hz * time + rng.uniform(0, 2 * np.pi)
            octaves = octaves + self.vibrato_octaves * np.sin(turn)
        pitch: Audio = np.exp2(octaves).astype(np.float32)
        return pitch

    def _envelope(self, position: Audio, time: Audio, rng: np.random.Generator) -> Audio:
        rise = np.clip(position / self.attack, 0, 1)
        fall = np.clip((1 - position) / self.decay, 0, 1)
        # Raised cosines, and a slow swell so that no two syllables are loud at the same place.
        envelope = np.sin(np.pi / 2 * rise) ** 2 * np.sin(np.pi / 2 * fall) ** 2
        envelope *= 1 + rng.uniform(0, 0.35) * np.cos(
            2 * np.pi * (position * rng.uniform(0.4, 1.6) + rng.random())
        )
        if self.tremolo_depth > 0:
            turn = 2 * np.pi * self.tremolo_hz * time + rng.uniform(0, 2 * np.pi)
            envelope *= 1 - self.tremolo_depth * (0.5 + 0.5 * np.cos(turn))
        shaped: Audio = envelope.astype(np.float32)
        return shaped

    def _noise(self, n: int, sample_rate: int, rng: np.random.Generator) -> Audio:
        """Noise of unit power below ``breath_hz``, by interpolating draws at that rate."""
        knots = max(4, math.ceil(2 * self.breath_hz * n / sample_rate)) + _NOISE_CYCLES
        draws = rng.standard_normal(knots)
        at = np.linspace(1, knots - 2, n)
        whole = at.astype(np.intp)
        part = at - whole
        # Cosine interpolation; 0.75 is the mean power it leaves of unit draws.
        weight = 0.5 - 0.5 * np.cos(np.pi * part)
        noise = draws[whole] * (1 - weight) + draws[np.minimum(whole + 1, knots - 1)] * weight
        scaled: Audio = (noise / math.sqrt(0.75)).astype(np.float32)
        return scaled


@dataclass(frozen=True)
class Phrase:
    """What one bird sings at a time: syllables in an order.

    Attributes:
        voice: name of the voice it was drawn from.
        syllables: the repertoire.
        order: which of them is sung, one after the other.
        gap_s: silence after each.
        tempo: factor on the gaps from first to last; below 1 the phrase accelerates.
        drift_octaves: how far the pitch has moved by the end.
        crescendo_db: how much louder the last syllable is than the first.
        variation: how different one rendering is from the next: standard deviation of level (in units of
            10 dB), timing (relative) and pitch (in units of half an octave).
    """

    voice: str
    syllables: tuple[Syllable, ...]
    order: tuple[int, ...]
    gap_s: float
    tempo: float
    drift_octaves: float
    crescendo_db: float
    variation: float

    def render(self, rng: np.random.Generator, sample_rate: int) -> Audio:
        """The phrase at close range, in still air: float32 [n]."""
        last = max(1, len(self.order) - 1)
        pieces: list[Audio] = []
        for number, which in enumerate(self.order):
            progress = number / last
            octaves = self.drift_octaves * progress + rng.normal(0, self.variation / 2)
            level_db = self.crescendo_db * (progress - 0.5) + rng.normal(0, 10 * self.variation)
            pause_s = self.gap_s * self.tempo**progress * math.exp(rng.normal(0, self.variation))
            sound = self.syllables[which].render(rng, sample_rate, octaves)
            pieces += [
                sound * np.float32(amplitude(level_db)),
                np.zeros(round(pause_s * sample_rate), np.float32),
            ]
        return np.concatenate(pieces[:-1])


@dataclass(frozen=True)
class Voice:
    """The habits of a kind of bird, as ranges to draw from.

    Ranges whose ends are both positive are drawn uniformly in their logarithm.

    Attributes:
        name: what the sound is called.
        pitch_hz: mean fundamental of a phrase.
        leap_octaves: how far apart the syllables of one phrase lie.
        span_octaves: how far the pitch glides within a syllable.
        glides: how it may glide.
        duration_s: of a syllable.
        gap_s: between syllables.
        repertoire: different syllables in a phrase.
        repeats: how many times the repertoire is run through; of a repertoire of one, how many syllables.
        harmonics: how many partials.
        slope_db: by how much each partial is softer than the one before, away from the resonance.
        resonance_hz: centre of the vocal tract's resonance, or None.
        vibrato_hz, vibrato_octaves, tremolo_hz, tremolo_depth, breath, breath_hz: see ``Syllable``.
        attack, decay: see ``Syllable``.
        weight: how often the voice is chosen, relative to the others.
    """

    name: str
    pitch_hz: Range
    duration_s: Range
    gap_s: Range
    repeats: tuple[int, int]
    glides: tuple[Glide, ...] = ("level", "up", "down", "arch", "dip", "wave", "hook", "late")
    span_octaves: Range = (0.0, 0.2)
    leap_octaves: float = 0.0
    repertoire: tuple[int, int] = (1, 1)
    harmonics: tuple[int, int] = (1, 2)
    slope_db: Range = (10.0, 30.0)
    resonance_hz: Range | None = None
    vibrato_hz: Range = (5.0, 30.0)
    vibrato_octaves: Range = (0.0, 0.01)
    tremolo_hz: Range = (10.0, 60.0)
    tremolo_depth: Range = (0.0, 0.15)
    breath: Range = (0.0, 0.06)
    breath_hz: Range = (60.0, 300.0)
    attack: Range = (0.1, 0.4)
    decay: Range = (0.15, 0.6)
    weight: float = 1.0

    def syllable(self, rng: np.random.Generator, pitch_hz: float) -> Syllable:
        """A draw of one syllable around a pitch."""
        glide = _GLIDES[self.glides[rng.integers(len(self.glides))]]
        span = between(rng, self.span_octaves)
        shape = np.array(glide) * span + rng.normal(0, 0.06 * span + 1e-9, len(glide))
        center = math.log2(pitch_hz) + rng.uniform(-0.5, 0.5) * self.leap_octaves
        contour = np.clip(np.exp2(center + shape), *PITCH_LIMITS_HZ)
        return Syllable(
            duration_s=between(rng, self.duration_s),
            pitch_hz=tuple(contour.tolist()),
            harmonics=self._partials(rng, float(contour.mean())),
            vibrato_hz=between(rng, self.vibrato_hz),
            vibrato_octaves=between(rng, self.vibrato_octaves),
            tremolo_hz=between(rng, self.tremolo_hz),
            tremolo_depth=between(rng, self.tremolo_depth),
            breath=between(rng, self.breath),
            breath_hz=between(rng, self.breath_hz),
            attack=between(rng, self.attack),
            decay=between(rng, self.decay),
        )

    def phrase(self, rng: np.random.Generator) -> Phrase:
        """A draw of one phrase: the grammar and its syllables."""
        pitch = between(rng, self.pitch_hz)
        syllables = tuple(self.syllable(rng, pitch) for _ in range(count(rng, self.repertoire)))
        # Either the whole motif again and again (abcabc), or each syllable several times (aabbcc).
        times = count(rng, self.repeats)
        motif = list(range(len(syllables)))
        order = motif * times if rng.random() < 0.6 else [which for which in motif for _ in range(times)]
        return Phrase(
            voice=self.name,
            syllables=syllables,
            order=tuple(order),
            gap_s=between(rng, self.gap_s),
            tempo=between(rng, (0.6, 1.6)),
            drift_octaves=rng.normal(0, 0.06),
            crescendo_db=rng.normal(1, 4),
            variation=between(rng, (0.01, 0.15)) ** 1.5,
        )

    def _partials(self, rng: np.random.Generator, pitch_hz: float) -> tuple[float, ...]:
        number = np.arange(1, count(rng, self.harmonics) + 1)
        level_db = -between(rng, self.slope_db) * (number - 1) + rng.normal(0, 2.5, len(number))
        if self.resonance_hz is not None:
            center, width = between(rng, self.resonance_hz), rng.uniform(0.35, 0.8)
            away = np.log2(number * pitch_hz / center) / width
            level_db += 26 * np.exp(-0.5 * away**2)
        return tuple((10 ** ((level_db - level_db.max()) / 20)).tolist())


VOICES: tuple[Voice, ...] = (
    Voice(
        "whistle",
        pitch_hz=(1000, 6500), duration_s=(0.1, 0.8), gap_s=(0.04, 0.4), repeats=(1, 3), repertoire=(1, 4),
        span_octaves=(0.0, 0.3), leap_octaves=0.7, harmonics=(1, 4), vibrato_octaves=(0.0, 0.03), weight=2.0,
    ),
    Voice(
        "slur",
        pitch_hz=(1500, 6500), duration_s=(0.08, 0.5), gap_s=(0.05, 0.5), repeats=(1, 4), repertoire=(1, 2),
        glides=("up", "down", "arch", "dip", "hook", "late"),
        span_octaves=(0.3, 1.2), leap_octaves=0.3, harmonics=(1, 4), weight=1.5,
    ),
    Voice(
        "trill",
        pitch_hz=(1800, 8000), duration_s=(0.012, 0.07), gap_s=(0.008, 0.06), repeats=(8, 36),
        glides=("up", "down", "arch", "dip"),
        span_octaves=(0.1, 0.8), harmonics=(1, 3), attack=(0.2, 0.5), decay=(0.3, 0.6), weight=1.5,
    ),
    Voice(
        "two-note",
        pitch_hz=(1500, 7000), duration_s=(0.05, 0.3), gap_s=(0.02, 0.12), repeats=(2, 5), repertoire=(2, 2),
        leap_octaves=1.0, span_octaves=(0.0, 0.4), harmonics=(1, 4), slope_db=(8, 25),
    ),
    Voice(
        "chirp",
        pitch_hz=(2200, 6500), duration_s=(0.03, 0.12), gap_s=(0.06, 0.5), repeats=(1, 6), repertoire=(1, 2),
        glides=("up", "down", "arch", "dip", "hook"),
        span_octaves=(0.3, 1.1), leap_octaves=0.5, harmonics=(1, 4), slope_db=(8, 22), weight=1.5,
    ),
    Voice(
        "warble",
        pitch_hz=(1800, 6000), duration_s=(0.03, 0.2), gap_s=(0.01, 0.09), repeats=(1, 2), repertoire=(5, 11),
        leap_octaves=1.2, span_octaves=(0.1, 0.9), harmonics=(1, 4), tremolo_depth=(0.0, 0.5), weight=1.5,
    ),
    Voice(
        "buzz",
        pitch_hz=(2500, 8000), duration_s=(0.12, 0.9), gap_s=(0.06, 0.4), repeats=(1, 3),
        harmonics=(1, 3), vibrato_hz=(60, 250), vibrato_octaves=(0.04, 0.22), tremolo_hz=(30, 160),
        tremolo_depth=(0.2, 0.9), breath=(0.1, 0.6), breath_hz=(200, 1500), attack=(0.05, 0.4),
    ),
    Voice(
        "nasal",
        pitch_hz=(500, 1800), duration_s=(0.07, 0.45), gap_s=(0.05, 0.4), repeats=(1, 5), repertoire=(1, 2),
        span_octaves=(0.05, 0.35), harmonics=(4, 10), slope_db=(2, 9), resonance_hz=(1500, 5000),
        breath=(0.0, 0.15), weight=1.5,
    ),
    Voice(
        "croak",
        pitch_hz=(300, 800), duration_s=(0.12, 0.5), gap_s=(0.1, 0.5), repeats=(1, 4),
        glides=("level", "arch", "down"), harmonics=(6, 16), slope_db=(2, 6), resonance_hz=(1000, 2600),
        vibrato_hz=(20, 70), vibrato_octaves=(0.01, 0.06), tremolo_hz=(25, 90), tremolo_depth=(0.1, 0.7),
        breath=(0.2, 0.55), breath_hz=(80, 350), attack=(0.05, 0.3),
    ),
    Voice(
        "honk",
        pitch_hz=(250, 650), duration_s=(0.1, 0.5), gap_s=(0.1, 0.5), repeats=(1, 4), repertoire=(1, 2),
        glides=("level", "arch", "up", "hook"), span_octaves=(0.05, 0.5), leap_octaves=0.4,
        harmonics=(6, 18), slope_db=(2, 7), resonance_hz=(700, 2500), breath=(0.02, 0.25),
    ),
    Voice(
        "screech",
        pitch_hz=(1000, 3200), duration_s=(0.1, 0.7), gap_s=(0.05, 0.4), repeats=(1, 4),
        span_octaves=(0.05, 0.5), harmonics=(3, 8), slope_db=(3, 10), resonance_hz=(2500, 6000),
        vibrato_hz=(25, 110), vibrato_octaves=(0.02, 0.1), breath=(0.3, 0.75), breath_hz=(200, 900),
    ),
    Voice(
        "chatter",
        pitch_hz=(1800, 5500), duration_s=(0.03, 0.12), gap_s=(0.03, 0.12), repeats=(3, 14),
        span_octaves=(0.1, 0.5), harmonics=(1, 3), breath=(0.5, 1.0), breath_hz=(500, 2200),
        attack=(0.1, 0.3),
    ),
    Voice(
        "rattle",
        pitch_hz=(900, 4000), duration_s=(0.007, 0.02), gap_s=(0.02, 0.07), repeats=(8, 28),
        harmonics=(1, 3), breath=(0.6, 1.0), breath_hz=(700, 2500), attack=(0.05, 0.15), decay=(0.5, 0.8),
    ),
    Voice(
        "tick",
        pitch_hz=(2500, 7500), duration_s=(0.006, 0.025), gap_s=(0.1, 0.6), repeats=(2, 8),
        span_octaves=(0.1, 0.7), harmonics=(1, 3), breath=(0.1, 0.7), breath_hz=(400, 1800),
        attack=(0.05, 0.2), weight=0.7,
    ),
    Voice(
        "coo",
        pitch_hz=(220, 800), duration_s=(0.12, 0.8), gap_s=(0.08, 0.5), repeats=(1, 3), repertoire=(1, 3),
        span_octaves=(0.0, 0.25), leap_octaves=0.3, harmonics=(1, 3), slope_db=(14, 30), weight=1.5,
    ),
    Voice(
        "hoot",
        pitch_hz=(350, 1300), duration_s=(0.1, 0.5), gap_s=(0.1, 0.6), repeats=(1, 4), repertoire=(1, 2),
        span_octaves=(0.05, 0.5), leap_octaves=0.5, harmonics=(1, 5), slope_db=(8, 22),
    ),
    Voice(
        "seep",
        pitch_hz=(5500, 11_000), duration_s=(0.06, 0.6), gap_s=(0.08, 0.6), repeats=(1, 4),
        span_octaves=(0.0, 0.25), harmonics=(1, 1), vibrato_octaves=(0.0, 0.03),
        tremolo_depth=(0.0, 0.6), weight=1.2,
    ),
)  # fmt: skip
"""From 200 Hz (coo) to 12 kHz (seep)."""


def draw_voice(rng: np.random.Generator) -> Voice:
    """One of ``VOICES``, by weight."""
    weights = np.array([voice.weight for voice in VOICES])
    return VOICES[int(rng.choice(len(VOICES), p=weights / weights.sum()))]
