"""Syllables, phrases and the voices that draw them."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from birdlab.data.synthesis.voices import PITCH_LIMITS_HZ, VOICES, Phrase, Syllable, Voice, draw_voice

RATE = 32_000

TONE = Syllable(
    duration_s=0.5,
    pitch_hz=(3000.0, 3000.0, 3000.0),
    harmonics=(1.0, 0.1),
    vibrato_hz=5.0,
    vibrato_octaves=0.0,
    tremolo_hz=10.0,
    tremolo_depth=0.0,
    breath=0.0,
    breath_hz=100.0,
    attack=0.1,
    decay=0.1,
)


def spectrum(audio: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power per Hz of half a second."""
    return np.abs(np.fft.rfft(audio * np.hanning(len(audio)), RATE)) ** 2


def test_harmonics_stand_at_multiples_with_the_given_strength() -> None:
    power = spectrum(TONE.render(np.random.default_rng(0), RATE))
    assert abs(int(np.argmax(power)) - 3000) <= 2
    second = power[5900:6100].sum() / power[2900:3100].sum()
    assert 10 * np.log10(second) == pytest.approx(-20, abs=0.5)


def test_transposing_by_an_octave_doubles_the_pitch() -> None:
    power = spectrum(TONE.render(np.random.default_rng(0), RATE, transpose=1.0))
    assert abs(int(np.argmax(power)) - 6000) <= 2


def test_pitch_follows_its_contour() -> None:
    sweep = dataclasses.replace(TONE, pitch_hz=(2000.0, 4000.0, 8000.0), harmonics=(1.0,))
    audio = sweep.render(np.random.default_rng(0), RATE)
    for position, expected in ((0.25, 2000 * 2**0.5), (0.5, 4000), (0.75, 4000 * 2**0.5)):
        middle = round(position * len(audio))
        piece = audio[middle - 128 : middle + 128] * np.hanning(256)
        assert np.argmax(np.abs(np.fft.rfft(piece, RATE))) == pytest.approx(expected, rel=0.04)


def test_breath_spreads_a_tone_as_far_as_it_says() -> None:
    rng = np.random.default_rng(0)
    power = sum(
        spectrum(dataclasses.replace(TONE, breath=1.0, breath_hz=500.0).render(rng, RATE)) for _ in range(20)
    )
    inside = power[2400:3600].sum() / power.sum()
    assert inside > 0.9
    assert power[2800:3200].sum() / power.sum() < 0.7


def test_a_syllable_begins_and_ends_in_silence() -> None:
    audio = TONE.render(np.random.default_rng(0), RATE)
    assert len(audio) == RATE // 2
    assert abs(float(audio[0])) < 1e-3
    assert abs(float(audio[-1])) < 1e-3


def test_a_phrase_sings_its_syllables_in_order() -> None:
    high = dataclasses.replace(TONE, pitch_hz=(6000.0, 6000.0), duration_s=0.1)
    low = dataclasses.replace(TONE, pitch_hz=(1500.0, 1500.0), duration_s=0.1)
    phrase = Phrase("whistle", (high, low), (0, 1, 1, 0), 0.1, 1.0, 0.0, 0.0, 0.0)
    audio = phrase.render(np.random.default_rng(0), RATE)
    assert len(audio) == round(0.7 * RATE)  # four syllables and three gaps of 0.1 s
    heard = []
    for number in range(4):
        piece = audio[round(0.2 * number * RATE) :][: RATE // 10]
        heard.append(int(np.argmax(np.abs(np.fft.rfft(piece, RATE)))))
    assert heard == pytest.approx([6000, 1500, 1500, 6000], abs=10)
    gap = audio[round(0.1 * RATE) + 1 : round(0.2 * RATE)]
    assert not gap.any()


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)
def test_a_voice_stays_within_its_ranges(voice: Voice) -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        phrase = voice.phrase(rng)
        assert phrase.voice == voice.name
        assert set(phrase.order) == set(range(len(phrase.syllables)))
        for syllable in phrase.syllables:
            assert voice.duration_s[0] <= syllable.duration_s <= voice.duration_s[1]
            assert min(syllable.pitch_hz) >= PITCH_LIMITS_HZ[0]
            assert max(syllable.pitch_hz) <= PITCH_LIMITS_HZ[1]
            assert max(syllable.harmonics) == 1.0
    audio = phrase.render(rng, RATE)
    assert audio.dtype == np.float32
    assert np.isfinite(audio).all()
    # Nothing folds back from beyond half the sample rate.
    power = np.abs(np.fft.rfft(audio)) ** 2
    assert power[int(len(power) * 15.5 / 16) :].sum() < 1e-3 * power.sum()


def test_the_same_phrase_is_sung_alike_and_never_the_same() -> None:
    phrase = VOICES[0].phrase(np.random.default_rng(5))
    one, other = (phrase.render(np.random.default_rng(seed), RATE) for seed in (0, 1))
    again = phrase.render(np.random.default_rng(0), RATE)
    assert np.array_equal(one, again)
    assert len(one) != len(other) or not np.allclose(one, other)


def test_voices_differ_and_all_are_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = {draw_voice(rng).name for _ in range(600)}
    assert drawn == {voice.name for voice in VOICES}
    assert len(drawn) == len(VOICES)
