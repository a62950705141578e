"""Augmentation of levels and masks: what each part does, and that it depends on seed and step alone."""

import numpy as np
import pytest
import torch

from birdlab.audio.levels import from_unit
from birdlab.data.augment_levels import LevelAugmentation
from birdlab.errors import BirdlabError

Pair = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture
def batch() -> Pair:
    """Three windows of noise with a call each, whose cells alone are loud."""
    rng = np.random.default_rng(0)
    image = rng.integers(60, 70, (3, 16, 24)).astype(np.uint8)
    mask = np.zeros_like(image)
    for number in range(3):
        cells = np.s_[number, 4 + 3 * number : 7 + 3 * number, 5:9]
        image[cells], mask[cells] = 200, 1
    return torch.from_numpy(image), torch.from_numpy(mask)


def augmented(batch: Pair, step: tuple[int, int] = (0, 0), **settings: object) -> Pair:
    image, mask = LevelAugmentation(**settings)(*batch, step=step)  # type: ignore[arg-type]
    return image, mask


def decibels(image: torch.Tensor) -> torch.Tensor:
    return from_unit(image / 255)


def test_nothing_is_changed_unless_asked_for(batch: Pair) -> None:
    image, mask = augmented(batch)
    assert torch.equal(image, batch[0])
    assert torch.equal(mask, batch[1])


def test_draws_depend_on_seed_and_step_alone(batch: Pair) -> None:
    everything = {"shift": 1.0, "mix": 0.5, "curve_db": 6, "noise_db": (-6, 0), "gain_db": (-6, 6)}
    masks = {"time_masks": 1, "frequency_masks": 1, "mask_time": 0.3, "mask_frequency": 0.3}
    augment = LevelAugmentation(**everything, **masks, seed=3)  # type: ignore[arg-type]
    first = augment(*batch, step=(0, 7))
    torch.manual_seed(99)
    fresh = LevelAugmentation(**everything, **masks, seed=3)(*batch, step=(0, 7))  # type: ignore[arg-type]
    assert all(torch.equal(one, other) for one, other in zip(first, fresh, strict=True))
    assert not torch.equal(first[0], augment(*batch, step=(0, 8))[0])
    assert not torch.equal(first[0], augment(*batch, step=(1, 7))[0])
    assert first[0].dtype == first[1].dtype == torch.uint8


def test_digital_silence_stays_silent(batch: Pair) -> None:
    """Else a front end would take what fills up a short recording for its background."""
    image = batch[0].clone()
    image[:, :, 16:] = 0
    for settings in ({"gain_db": (12, 12)}, {"curve_db": 6}, {"noise_db": (0, 0)}):
        changed = torch.cat([augmented((image, batch[1]), step=(0, k), **settings)[0] for k in range(4)])
        assert not changed[:, :, 16:].any()
        assert (changed[:, :, :16] != image.repeat(4, 1, 1)[:, :, :16]).any()
    mixed, _ = augmented((image, batch[1]), mix=1.0)
    assert not augmented((mixed, batch[1]), gain_db=(12, 12))[0][:, :, 16:].any()


def test_masks_move_with_their_calls(batch: Pair) -> None:
    image, mask = augmented(batch, shift=1.0)
    assert torch.equal(image > 100, mask == 1)
    assert not torch.equal(mask, batch[1])


def test_two_windows_sound_at_once(batch: Pair) -> None:
    image, mask = augmented(batch, mix=1.0)
    for number in range(3):
        louder = image[number] > 100
        assert torch.equal(louder, mask[number] == 1)
    # Each is mixed with one of the three, which may be itself: then it is 3 dB louder.
    assert {int(area) for area in mask.sum(dim=(1, 2))} <= {12, 24}
    assert mask.sum() > batch[1].sum() or (decibels(image) - decibels(batch[0]) > 2.9).all()


def test_a_call_under_a_louder_sound_is_no_truth() -> None:
    image = torch.full((2, 4, 8), 60, dtype=torch.uint8)
    image[0, 1] = 100  # bird
    image[1, 1] = 200  # no bird, and louder
    mask = torch.zeros_like(image)
    mask[0, 1] = 1
    for step in range(8):  # until they are mixed with each other and not with themselves
        mixed, truth = augmented((image, mask), step=(0, step), mix=1.0)
        if (mixed[0, 1] > 150).all():
            assert not truth[0].any()
            return
    pytest.fail("never mixed")


def test_gain_and_response_change_levels_alone(batch: Pair) -> None:
    image, mask = augmented(batch, gain_db=(6, 6))
    assert torch.allclose(decibels(image), decibels(batch[0]) + 6, atol=0.51)
    assert torch.equal(mask, batch[1])
    image, _ = augmented(batch, curve_db=6)
    change = (decibels(image) - decibels(batch[0])).mean(dim=-1)
    assert change.abs().max() <= 6.5
    assert change.diff(dim=1).abs().max() < 6  # smooth
    assert change.std() > 0.5


def test_noise_does_not_tell_where_a_call_is(batch: Pair) -> None:
    """Pauses beside a loud call rise as its neighbours' rows do."""
    image, mask = batch
    for step in range(4):
        noisy, _ = augmented(batch, step=(0, step), noise_db=(6, 6))
        rise = decibels(noisy) - decibels(image)
        beside = (mask == 0) & (mask.amax(dim=2, keepdim=True) == 1)
        elsewhere = mask.amax(dim=2, keepdim=True).expand_as(mask) == 0
        for number in range(3):
            here, there = (rise[number][cells[number]].mean() for cells in (beside, elsewhere))
            assert here == pytest.approx(there, abs=1)


def test_noise_lies_over_the_background_of_each_row(batch: Pair) -> None:
    quiet = torch.full_like(batch[0], 60)
    image, mask = augmented((quiet, batch[1]), noise_db=(0, 0))
    rise = (decibels(image) - decibels(quiet)).mean(dim=(1, 2))
    for (
        each
    ) in rise:  # in half of them; of 3 dB, less a little since the mean of dB is below the dB of the mean
        assert each == pytest.approx(0, abs=0.01) or each == pytest.approx(2.8, abs=0.4)
    assert torch.equal(mask, batch[1])


def test_silenced_stretches_keep_their_mask(batch: Pair) -> None:
    image, mask = augmented(batch, time_masks=3, mask_time=0.5, frequency_masks=2, mask_frequency=0.3)
    assert torch.equal(mask, batch[1])
    assert (image != batch[0]).any()
    assert image.max() <= batch[0].max()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift": 2}, r"augment\.shift=2"),
        ({"gain_db": (6, -6)}, r"augment\.gain_db=\[6, -6\]"),
        ({"curve_db": -1}, r"augment\.curve_db=-1"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(BirdlabError, match=message):
        LevelAugmentation(**settings)  # type: ignore[arg-type]
