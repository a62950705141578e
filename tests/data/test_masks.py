"""The rule that makes a mask of a clean track and its background."""

import math

import numpy as np
import torch

from birdlab.data.masks import background_level, bird_mask, boxed, call_columns, sound_in


def blob(value: float, shape: tuple[int, int] = (80, 60)) -> torch.Tensor:
    """A square call of 20 x 20 cells."""
    clean = torch.zeros(shape)
    clean[30:50, 20:40] = value
    return clean


def test_bird_is_where_the_call_exceeds_the_background() -> None:
    background = torch.full((80, 60), 0.1)
    assert torch.equal(bird_mask(blob(0.11), background), blob(1) > 0)
    assert not bird_mask(blob(0.09), background).any()


def test_snr_raises_the_bar_by_so_many_decibels() -> None:
    background = torch.full((80, 1), 0.1)
    assert bird_mask(blob(0.21), background, snr_db=6.0).any()  # 6 dB is a factor of 1.995
    assert not bird_mask(blob(0.19), background, snr_db=6.0).any()


def test_what_lies_far_below_the_peak_is_not_bird() -> None:
    clean = blob(1.0)
    clean[:20, 20:40] = 0.02  # 34 dB below
    silence = torch.full((80, 1), 1e-6)
    assert torch.equal(bird_mask(clean, silence), blob(1) > 0)
    assert bird_mask(clean, silence, peak_range_db=36.0)[:20, 20:40].all()


def test_silence_has_no_bird() -> None:
    assert not bird_mask(torch.zeros(80, 60), torch.full((80, 60), 0.1)).any()


def test_holes_close_specks_vanish_and_pauses_stay() -> None:
    clean = blob(1.0)
    clean[38:41, 28:31] = 0  # a hole of 3 x 3
    clean[5, 5] = 1  # a speck
    pause = torch.zeros(80, 60)
    pause[30:50, 10:20] = pause[30:50, 32:50] = 1  # 12 columns, 24 ms, between two syllables
    background = torch.full((80, 1), 0.1)
    assert torch.equal(bird_mask(clean, background), blob(1) > 0)
    assert torch.equal(bird_mask(pause, background), pause > 0)


def test_two_sided_masks_are_symmetric() -> None:
    rng = np.random.default_rng(0)
    half = torch.from_numpy(rng.rayleigh(size=(60, 200)).astype(np.float32))
    half[20:35, 50:120] *= 8
    two = torch.cat([half[1:].flip(0), half])
    background = torch.from_numpy(rng.rayleigh(size=(60, 200)).astype(np.float32))
    mask = bird_mask(two, background_level(torch.cat([background[1:].flip(0), background])))
    assert mask.any()
    assert torch.equal(mask, mask.flip(0))


def test_level_is_the_root_mean_square_around_a_cell() -> None:
    assert torch.allclose(background_level(torch.full((40, 400), 0.3)), torch.tensor(0.3))
    impulse = torch.zeros(101, 601)
    impulse[50, 300] = 2.0
    level = background_level(impulse)
    assert math.isclose(float(level[50, 300]), 2 / math.sqrt(15 * 151), rel_tol=1e-4)
    assert float(level[50, 300 + 76]) < 1e-3


def test_calls_are_stretches_of_time_that_pauses_under_a_tenth_of_a_second_do_not_end() -> None:
    mask = torch.zeros(4, 400, dtype=torch.uint8)
    mask[1, 10:20] = mask[3, 70:80] = 1  # 50 columns between the two
    mask[2, 131:231] = 1  # 51 columns after them
    mask[0, 150:160] = 1  # at the same time as another
    assert call_columns(mask) == (70 + 100) / 2
    assert call_columns(mask[:, :60]) == 10
    assert math.isnan(call_columns(torch.zeros(4, 9)))


def test_sound_in_boxes_leaves_out_pauses_and_keeps_what_stands_out_nowhere() -> None:
    rng = np.random.default_rng(0)
    magnitude = torch.from_numpy(rng.rayleigh(0.01, (120, 400)).astype(np.float32))
    boxes = np.zeros((120, 400), np.uint8)
    boxes[30:70, 100:220] = 2  # two syllables with a pause between them
    magnitude[40:60, 110:150] = magnitude[40:60, 170:210] = 0.2
    magnitude[90:110, 110:210] = 0.2  # something else, in no box
    boxes[10:16, 300:340] = 1  # where nobody but the one who drew it hears anything
    sound = sound_in(boxes, magnitude)
    assert set(np.unique(sound)) == {0, 1, 2}
    assert (sound[42:58, 114:146] == 2).all()
    assert not sound[:, 156:164].any()
    assert not sound[90:110].any()
    assert (sound[10:16, 300:340] == 1).all()
    assert not sound[boxes == 0].any()


def test_sound_in_boxes_that_fill_the_whole_time() -> None:
    rng = np.random.default_rng(0)
    magnitude = torch.from_numpy(rng.rayleigh(0.01, (60, 400)).astype(np.float32))
    magnitude[20:40, 100:200] = 0.2
    boxes = np.zeros((60, 400), np.uint8)
    boxes[10:50] = 1
    sound = sound_in(boxes, magnitude)
    assert sound[22:38, 105:195].all()
    assert sound[:, 220:].mean() < 0.05


def test_what_fills_up_a_short_recording_is_no_background() -> None:
    rng = np.random.default_rng(0)
    magnitude = torch.from_numpy(rng.rayleigh(0.01, (60, 300)).astype(np.float32))
    magnitude[20:40, 100:140] = 0.2
    boxes = np.zeros((60, 300), np.uint8)
    boxes[10:50, 60:200] = 1
    padded = torch.cat([magnitude, torch.zeros(60, 300)], dim=1)
    sound = sound_in(np.pad(boxes, ((0, 0), (0, 300))), padded)
    np.testing.assert_array_equal(sound[:, :290], sound_in(boxes, magnitude)[:, :290])
    assert not sound[:, 300:].any()


def test_all_that_a_noise_gate_leaves_in_a_box_is_sound() -> None:
    magnitude = torch.zeros(60, 300)
    magnitude[20:40, 100:140] = 0.2
    boxes = np.zeros((60, 300), np.uint8)
    boxes[10:50, 60:200] = 1
    sound = sound_in(boxes, magnitude)
    assert sound[22:38, 104:136].all()
    assert sound.sum() < 0.4 * boxes.sum()


def test_boxed_is_the_smallest_rectangle() -> None:
    mask = torch.zeros(6, 8, dtype=torch.bool)
    assert not boxed(mask).any()
    mask[1, 5] = mask[3, 2] = True
    expected = torch.zeros_like(mask)
    expected[1:4, 2:6] = True
    assert torch.equal(boxed(mask), expected)
