"""Species that can be told by how they sing and by nothing else: grammars, and recordings of them.

A species is a voice whose ranges have been narrowed. Species come in pairs of one voice, at one pitch and of
one timbre; what differs is the grammar: which glides, how long a syllable, how many, how fast. Level, noise,
distance and the recorder are drawn alike for all.

A visit is one bird in one place: its few phrases, heard from one distance. The recordings of a visit resemble
each other as those of neighbouring numbers on xeno-canto do, so they belong on one side of a split.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from birdlab.audio.io import FULL_SCALE
from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.mixing import gain_for
from birdlab.data.synthesis.backgrounds import background
from birdlab.data.synthesis.draws import Range, amplitude, between, count
from birdlab.data.synthesis.propagation import heard_from
from birdlab.data.synthesis.scene import SAMPLE_RATE, Recipe, recording_chain
from birdlab.data.synthesis.voices import VOICES, Audio, Phrase, Voice, draw_voice
from birdlab.parallel import one_thread

VERSION = 1
"""Of the code here: raised whenever the same parameters give other recordings."""

MOST = 2 * len(VOICES)
_SHARE = 0.6
"""Of a voice's range that one species keeps: those of a pair overlap by a fifth."""
_TOLD_BY = ("duration_s", "gap_s", "vibrato_hz", "tremolo_hz", "span_octaves", "leap_octaves")
_COUNTED = ("repeats", "repertoire")
_SNR = Spectrogram(sample_rate=SAMPLE_RATE, window_length=1024, hop=512, n_fft=1024, sides="one")


@dataclass(frozen=True, kw_only=True)
class FieldRecipe:
    """What recordings are drawn from, whatever the species.

    Attributes:
        duration_s: seconds, uniform in the logarithm.
        snr_db: signal-to-noise ratio of the song, uniform; see ``birdlab.data.mixing``.
        pause_s: between phrases.
        peak_db: of the file, re full scale, uniform.
        stranger: probability of another bird, of a voice at random, in the background.
        stranger_db: its level relative to the song's, uniform.
        chain: the recorder: tilt, high-pass and low-pass; see `Recipe`.
    """

    duration_s: Range = (10.0, 25.0)
    snr_db: Range = (-6.0, 15.0)
    pause_s: Range = (0.5, 5.0)
    peak_db: Range = (-30.0, -1.0)
    stranger: float = 0.35
    stranger_db: Range = (-15.0, -3.0)
    chain: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True)
class Take:
    """Which recording: the ``take``-th of the ``visit``-th visit to the ``species``-th species."""

    species: int
    visit: int
    take: int

    def rng(self, seed: int) -> np.random.Generator:
        """Of this recording alone."""
        return np.random.default_rng([seed, self.species, self.visit, self.take + 1])

    def visit_rng(self, seed: int) -> np.random.Generator:
        """What all recordings of the visit share."""
        return np.random.default_rng([seed, self.species, self.visit, 0])


def grammar(number: int, seed: int) -> Voice:
    """The ``number``-th species of a seed; 2 n and 2 n + 1 are a pair.

    The name is the voice's and ``_1`` or ``_2``.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(VOICES))
    voice = VOICES[order[number // 2]]
    pair = np.random.default_rng([seed, 1, number // 2])
    second = number % 2 == 1

    def narrowed(limits: Range, upper: bool) -> Range:
        low, high = (math.log(limit) for limit in limits) if limits[0] > 0 else limits
        width = _SHARE * (high - low)
        kept = (high - width, high) if upper else (low, low + width)
        return (math.exp(kept[0]), math.exp(kept[1])) if limits[0] > 0 else kept

    pitch = narrowed(voice.pitch_hz, bool(pair.integers(2)))
    told = {
        name: narrowed(getattr(voice, name), bool(pair.integers(2)) ^ second)
        for name in _TOLD_BY
        if isinstance(getattr(voice, name), tuple)
    }
    counted: dict[str, Any] = {}
    for name in _COUNTED:
        low, high = getattr(voice, name)
        middle = (low + high) // 2
        counted[name] = (low, middle) if bool(pair.integers(2)) ^ second else (min(middle + 1, high), high)
    glides = tuple(pair.permutation(np.array(voice.glides)).tolist())
    half = max(1, len(glides) // 2)
    own = glides[half:] if second and len(glides) > 1 else glides[:half]
    name = f"{voice.name}_{number % 2 + 1}"
    species: Voice = replace(voice, name=name, pitch_hz=pitch, glides=own, **told, **counted)
    return species


def duration_s(take: Take, seed: int, recipe: FieldRecipe) -> float:
    """Seconds of a recording, known without making it; whole samples."""
    return round(between(take.rng(seed), recipe.duration_s) * SAMPLE_RATE) / SAMPLE_RATE


@one_thread()
def recording(take: Take, seed: int, recipe: FieldRecipe) -> Audio:
    """Make one recording, float32 [n]: bit for bit the same on one machine, whoever makes it."""
    rng, visit = take.rng(seed), take.visit_rng(seed)
    n = round(between(rng, recipe.duration_s) * SAMPLE_RATE)
    voice = grammar(take.species, seed)
    song = [voice.phrase(visit) for _ in range(count(visit, (2, 3)))]
    distance_m, openness = between(visit, recipe.chain.distance_m), visit.uniform(*recipe.chain.openness)
    chain = recording_chain(visit, recipe.chain, n)

    noise = chain(background(rng, n, SAMPLE_RATE))
    noise_level = _SNR.magnitude(torch.from_numpy(noise))
    dry = _sung(song, rng, n, recipe.pause_s)
    heard = heard_from(dry, rng, SAMPLE_RATE, distance_m=distance_m, openness=openness)[:n]
    if rng.random() < recipe.stranger:
        other = _sung([draw_voice(rng).phrase(rng)], rng, n, recipe.pause_s)
        far = heard_from(other, rng, SAMPLE_RATE, distance_m=between(rng, (40, 120)), openness=openness)[:n]
        heard = heard + far * np.float32(amplitude(rng.uniform(*recipe.stranger_db)) * _ratio(heard, far))
    call = chain(heard)
    gain = gain_for(rng.uniform(*recipe.snr_db), _SNR.magnitude(torch.from_numpy(call)), noise_level)
    audio = noise + np.float32(gain) * call
    audio *= np.float32(amplitude(rng.uniform(*recipe.peak_db)) / max(float(np.abs(audio).max()), 1e-9))
    whole: Audio = np.rint(audio * FULL_SCALE).astype(np.float32)
    return whole / np.float32(FULL_SCALE)


def _sung(song: list[Phrase], rng: np.random.Generator, n: int, pause_s: Range) -> Audio:
    """The phrases in any order with pauses, begun before the recording does: float32 [n]."""
    pieces: list[Audio] = []
    skipped = int(rng.integers(0, SAMPLE_RATE))
    length = 0
    while length < n + skipped:
        phrase = song[int(rng.integers(len(song)))].render(rng, SAMPLE_RATE)
        pause = np.zeros(round(between(rng, pause_s) * SAMPLE_RATE), np.float32)
        pieces += [phrase, pause]
        length += len(phrase) + len(pause)
    return np.concatenate(pieces)[skipped : skipped + n]


def _ratio(one: Audio, other: Audio) -> float:
    """Of root mean squares; 0 where the other is silent."""
    power = float(np.mean(other**2))
    return math.sqrt(float(np.mean(one**2)) / power) if power > 0 else 0.0
