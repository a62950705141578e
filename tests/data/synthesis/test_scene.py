"""Composed scenes: reproducible, and true."""

from functools import cache

import numpy as np
import pytest
import torch

from birdlab.data.source import Split
from birdlab.data.synthesis.scene import SAMPLE_RATE, SPECTROGRAM, Recipe, Scene, scene

SHORT = Recipe(duration_s=1.0)


@cache
def made(index: int, split: Split = "train", seed: int = 0) -> Scene:
    return scene(SHORT, seed=seed, split=split, index=index)


def magnitude(audio: np.ndarray) -> np.ndarray:
    return SPECTROGRAM.magnitude(torch.from_numpy(audio)).numpy()


def test_a_scene_depends_on_nothing_but_its_number() -> None:
    first = made(3)
    scene(SHORT, seed=0, split="val", index=9)
    np.random.default_rng().random()
    again = scene(SHORT, seed=0, split="train", index=3)
    assert np.array_equal(first.audio, again.audio)
    assert np.array_equal(first.mask, again.mask)
    assert first.events == again.events


def test_a_scene_does_not_depend_on_threads() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        several = scene(SHORT, seed=0, split="train", index=3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(several.audio, made(3).audio)


def test_splits_seeds_and_numbers_give_other_scenes() -> None:
    scenes = [made(0), made(1), made(0, "val"), made(0, "test"), made(0, "train", 1)]
    for number, one in enumerate(scenes):
        for other in scenes[:number]:
            assert abs(np.corrcoef(one.audio, other.audio)[0, 1]) < 0.2


def test_audio_is_birds_and_background_in_16_bits_and_never_clips() -> None:
    for index in range(12):
        one = made(index)
        assert np.allclose(one.audio, one.clean + one.background, atol=0.51 / 32768)
        assert np.array_equal(one.audio, np.rint(one.audio * 32768) / np.float32(32768))
        assert np.abs(one.audio).max() <= 0.981
        assert np.abs(one.clean).max() <= 0.981


def test_image_is_the_official_spectrogram_of_the_audio() -> None:
    one = made(2)
    expected = np.rint(np.clip(magnitude(one.audio), 0, 1) * 255)
    assert one.image.shape == one.mask.shape == (513, (len(one.audio) - 128) // 64 + 1)
    assert np.abs(one.image.astype(int) - expected).max() <= 1


def test_snr_of_an_event_is_what_it_says() -> None:
    """By hand: mean power of the clean track over that of the background in the event's box."""
    lonely = [one for one in map(made, range(24)) if len(one.events) == 1]
    assert len(lonely) > 3
    for one in lonely:
        event = one.events[0]
        rows = slice(round((event.low_hz + 15.6) / 31.25), round((event.high_hz - 15.6) / 31.25) + 1)
        columns = slice(round(event.begin_s / 0.002), round(event.end_s / 0.002))
        call, rest = magnitude(one.clean)[rows, columns], magnitude(one.background)[rows, columns]
        assert 10 * np.log10(np.mean(call**2) / np.mean(rest**2)) == pytest.approx(event.snr_db, abs=0.1)


def test_every_event_is_marked_and_only_events_are() -> None:
    empty = 0
    for index in range(24):
        one = made(index)
        if not one.events:
            empty += 1
            assert not one.mask.any()
            assert not one.clean.any()
        for event in one.events:
            rows = slice(int(event.low_hz / 31.25), int(event.high_hz / 31.25) + 1)
            columns = slice(round(event.begin_s / 0.002), round(event.end_s / 0.002) + 1)
            assert one.mask[rows, columns].any(), event
    assert empty < 6


def test_mask_is_where_the_birds_are() -> None:
    """The clean track's energy lies in the mask, and hardly any of the background's does."""
    inside = [
        float((magnitude(one.clean) ** 2)[one.mask > 0].sum() / (magnitude(one.clean) ** 2).sum())
        for one in map(made, range(24))
        if one.events and max(event.snr_db for event in one.events) > 5
    ]
    assert len(inside) > 5
    assert np.median(inside) > 0.95


def test_empty_recipe_gives_empty_scenes() -> None:
    silent = scene(Recipe(duration_s=1.0, events=(1.0,)), seed=0, split="train", index=0)
    assert not silent.events
    assert not silent.mask.any()
    assert len(silent.audio) == SAMPLE_RATE


def test_faint_range_gives_fainter_birds() -> None:
    faint = [scene(Recipe(duration_s=1.0, snr_db=(-10, -8)), seed=0, split="val", index=i) for i in range(12)]
    loud = [scene(Recipe(duration_s=1.0, snr_db=(18, 20)), seed=0, split="val", index=i) for i in range(12)]
    assert sum(one.mask.mean() for one in faint) < 0.7 * sum(one.mask.mean() for one in loud)


def test_generator_has_not_changed_without_a_new_version() -> None:
    """If this fails the scenes are others than before: raise ``writing.VERSION`` and renew the numbers."""
    from birdlab.data.synthesis.writing import VERSION

    levels = [float(np.sqrt(np.mean(made(index, "test").audio ** 2))) for index in range(4)]
    assert VERSION == 3
    assert levels == pytest.approx(KNOWN_LEVELS, rel=1e-3)


KNOWN_LEVELS = [0.0378251, 0.0903208, 0.0765635, 0.0663938]


@pytest.mark.slow
def test_statistics_of_full_scenes() -> None:
    scenes = [scene(Recipe(), seed=1, split="train", index=index) for index in range(100)]
    shares = np.array([one.mask.mean() for one in scenes])
    assert np.mean(shares > 0.1) < 0.1
    assert 0.03 < np.mean(shares == 0) < 0.2
    assert 0.01 < np.median(shares) < 0.05
    ratios = [event.snr_db for one in scenes for event in one.events]
    assert min(ratios) < -7
    assert max(ratios) > 18
