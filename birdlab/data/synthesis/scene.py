"""One soundscape: birds in a background, and exactly where they are.

Everything is a function of (seed, split, index): the n-th scene is the same whoever makes it, in whatever
order, and however many there are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from birdlab.audio.io import FULL_SCALE
from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.masks import background_level, bird_mask
from birdlab.data.mixing import gain_for, loud_box
from birdlab.data.source import SPLITS, Split
from birdlab.data.synthesis.backgrounds import background
from birdlab.data.synthesis.draws import Range, between
from birdlab.data.synthesis.propagation import heard_from
from birdlab.data.synthesis.voices import Audio, Phrase, draw_voice
from birdlab.parallel import one_thread

SAMPLE_RATE = 32_000
SPECTROGRAM = Spectrogram(sample_rate=SAMPLE_RATE, sides="one")
_FREQUENCIES = SPECTROGRAM.frequencies()
_ROW_HZ = SAMPLE_RATE / SPECTROGRAM.n_fft
_COLUMN_S = SPECTROGRAM.hop / SAMPLE_RATE
_WRAP_S = 0.05
_GREY_STEP = 1 / 255
_HIGHEST_PEAK = 0.98


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What scenes are drawn from.

    Attributes:
        duration_s: seconds of a scene.
        events: probabilities of 0, 1, 2, ... phrases in a scene.
        again: probability that the bird which sang one phrase sings the next.
        snr_db: signal-to-noise ratio of an event, uniform; see ``birdlab.data.mixing``: mean power of the
            call over mean power of the background in the call's own time-frequency box.
        level: mean of |STFT| of the background, which is its mean grey over 255, uniform in the logarithm; of
            the published example it is .1.
        distance_m: of a bird, uniform in the logarithm.
        openness: of the place, uniform; 0 dense forest, 1 open country.
        tilt_db: the recording's treble relative to its bass, per octave around 1 kHz.
        highpass_hz: of the recording, in half of the scenes.
        lowpass_hz: of the recording, in a third of the scenes, as MP3 encoders and old recorders leave it.
    """

    duration_s: float = 3.0
    events: tuple[float, ...] = (0.15, 0.31, 0.28, 0.17, 0.09)
    again: float = 0.4
    snr_db: Range = (-10.0, 20.0)
    level: Range = (0.02, 0.2)
    distance_m: Range = (3.0, 120.0)
    openness: Range = (0.0, 1.0)
    tilt_db: Range = (-1.5, 2.5)
    highpass_hz: Range = (60.0, 400.0)
    lowpass_hz: Range = (9_000.0, 15_900.0)


@dataclass(frozen=True, kw_only=True)
class Event:
    """A phrase of one bird.

    Its box is the smallest rectangle of the spectrogram that holds all cells within 20 dB of its loudest.

    Attributes:
        voice: name of the voice.
        begin_s, end_s: seconds.
        low_hz, high_hz: Hz.
        snr_db: mean power of the call over that of the background, in the box.
        distance_m: from the microphone.
    """

    voice: str
    begin_s: float
    end_s: float
    low_hz: float
    high_hz: float
    snr_db: float
    distance_m: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A soundscape and the truth about it.

    Attributes:
        audio: what is heard, float32 [n] in steps of 16 bits, as the file will hold it.
        clean: the birds alone, with their reverberation, as they are in ``audio``.
        background: everything else; ``audio`` is the sum of both but for the 16 bits.
        image: uint8 [513, T], the one-sided official spectrogram of ``audio``.
        mask: uint8 [513, T], 1 where a bird is.
        events: those that left something in the mask, by their beginning.
    """

    audio: Audio
    clean: Audio
    background: Audio
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    events: tuple[Event, ...]


@one_thread()
def scene(recipe: Recipe, *, seed: int, split: Split, index: int) -> Scene:
    """Make the scene number ``index`` of a split: bit for bit the same on one machine, whoever makes it."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    n = round(recipe.duration_s * SAMPLE_RATE)
    recording = _recording_chain(rng, recipe, n)

    noise = recording(background(rng, n, SAMPLE_RATE))
    noise_magnitude = SPECTROGRAM.magnitude(torch.from_numpy(noise))
    loudness = between(rng, recipe.level) / float(noise_magnitude.mean())
    noise *= np.float32(loudness)
    noise_magnitude.mul_(loudness)
    # A call that 8 bits of grey cannot show is not there for whoever looks at the image.
    level = background_level(noise_magnitude).clamp_(min=_GREY_STEP)

    clean = np.zeros(n, np.float32)
    mask = torch.zeros(noise_magnitude.shape, dtype=torch.bool)
    events: list[Event] = []
    openness = rng.uniform(*recipe.openness)
    bird: _Bird | None = None
    for _ in range(int(rng.choice(len(recipe.events), p=recipe.events))):
        # The one that sang before sings again, or another one.
        if bird is None or rng.random() > recipe.again:
            bird = _Bird.draw(rng, recipe, openness)
        call = recording(bird.sing(rng, n))
        snr_db = rng.uniform(*recipe.snr_db)
        magnitude = SPECTROGRAM.magnitude(torch.from_numpy(call))
        if float(magnitude.max()) < 1e-6:
            continue  # what fell into the scene was a pause
        rows, columns = loud_box(magnitude)
        gain = gain_for(snr_db, magnitude, noise_magnitude)
        found = bird_mask(magnitude.mul_(gain), level)
        # A bird that leaves no mark would be in the clean track and not in the truth: it stays away.
        if found.any():
            clean += np.float32(gain) * call
            mask |= found
            events.append(
                Event(
                    voice=bird.phrase.voice,
                    begin_s=columns.start * _COLUMN_S,
                    end_s=columns.stop * _COLUMN_S,
                    low_hz=max(0.0, float(_FREQUENCIES[rows.start]) - _ROW_HZ / 2),
                    high_hz=float(_FREQUENCIES[rows.stop - 1]) + _ROW_HZ / 2,
                    snr_db=snr_db,
                    distance_m=bird.distance_m,
                )
            )

    audio = noise + clean
    # Turned down together, so that nothing is clipped and no ratio changes.
    turned = np.float32(min(1.0, _HIGHEST_PEAK / max(float(np.abs(track).max()) for track in (audio, clean))))
    audio = np.rint(audio * (turned * FULL_SCALE)) / np.float32(FULL_SCALE)
    return Scene(
        audio=audio,
        clean=clean * turned,
        background=noise * turned,
        image=SPECTROGRAM.image(torch.from_numpy(audio)).numpy(),
        mask=mask.numpy().astype(np.uint8),
        events=tuple(sorted(events, key=lambda event: event.begin_s)),
    )


@dataclass(frozen=True)
class _Bird:
    """Who sings what, and from where."""

    phrase: Phrase
    distance_m: float
    openness: float

    @classmethod
    def draw(cls, rng: np.random.Generator, recipe: Recipe, openness: float) -> "_Bird":
        return cls(draw_voice(rng).phrase(rng), between(rng, recipe.distance_m), openness)

    def sing(self, rng: np.random.Generator, n: int) -> Audio:
        """The phrase at a random moment, perhaps begun before the scene or going on after it: float32 [n]."""
        phrase = self.phrase.render(rng, SAMPLE_RATE)
        # At least half of a phrase shorter than the scene is inside, and of a longer one half a scene.
        inside = min(len(phrase), n) // 2
        start = int(rng.integers(inside - len(phrase), n - inside + 1))
        skipped = max(0, -start)
        dry = phrase[skipped : skipped + n - max(0, start)]
        wet = heard_from(dry, rng, SAMPLE_RATE, distance_m=self.distance_m, openness=self.openness)
        track = np.zeros(n, np.float32)
        first = max(0, start)
        track[first : first + len(wet)] = wet[: n - first]
        return track


def _recording_chain(rng: np.random.Generator, recipe: Recipe, n: int) -> Callable[[Audio], Audio]:
    """What microphone, recorder and encoder do to all that is heard alike: tilt, high-pass and low-pass."""
    # Room for what a zero-phase filter answers before it is asked, which would wrap around to the end.
    size = fft.next_fast_len(n + round(_WRAP_S * SAMPLE_RATE), real=True)
    frequencies = np.maximum(fft.rfftfreq(size, 1 / SAMPLE_RATE), 1).astype(np.float32)
    response = (frequencies / 1000) ** np.float32(rng.uniform(*recipe.tilt_db) / 6.02)
    np.clip(response, 0.1, 10, out=response)
    if rng.random() < 0.5:
        response /= np.sqrt(1 + (between(rng, recipe.highpass_hz) / frequencies) ** 4)
    if rng.random() < 0.33:
        response /= np.sqrt(1 + (frequencies / between(rng, recipe.lowpass_hz)) ** 40)

    def recording(audio: Audio) -> Audio:
        heard: Audio = fft.irfft(fft.rfft(audio, size) * response, size)[:n]
        return heard

    return recording
