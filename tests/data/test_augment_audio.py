"""Augmentation of stacks: what each part does, and that it depends on seed and step alone."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from birdlab.audio.mel import decibels, power_of
from birdlab.data.augment_audio import SpeciesAugmentation
from birdlab.data.birdclef import BirdCLEF
from birdlab.data.cache import cached
from birdlab.errors import BirdlabError

LABELS = torch.tensor([0, 1, 2, 1])


@pytest.fixture
def stack() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(-40, 10, (4, 3, 6, 8))).float()


def whole(stack: torch.Tensor) -> torch.Tensor:
    """[B, M, S T]."""
    return stack.transpose(1, 2).flatten(2)


def augmented(
    stack: torch.Tensor, step: tuple[int, ...] = (0, 0), label: torch.Tensor = LABELS, **settings: object
) -> tuple[torch.Tensor, torch.Tensor]:
    augment = SpeciesAugmentation(**settings)  # type: ignore[arg-type]
    batch = augment({"stack": stack, "label": label}, classes=3, step=step)
    return batch["stack"], batch["label"]


def test_nothing_is_changed_unless_asked_for(stack: torch.Tensor) -> None:
    same, labels = augmented(stack)
    torch.testing.assert_close(same, stack, atol=1e-4, rtol=0)
    assert labels is LABELS
    assert augmented(stack.half())[0].dtype == torch.float16


def test_draws_depend_on_seed_and_step_alone(stack: torch.Tensor) -> None:
    everything = {"shift": 0.5, "mixup": 0.4, "gain_db": (-6, 6), "time_masks": 2, "frequency_masks": 1}
    first = augmented(stack, (0, 7), seed=3, **everything)
    torch.manual_seed(99)
    other_step = augmented(stack, (0, 8), seed=3, **everything)
    other_rank = augmented(stack, (1, 7), seed=3, **everything)
    fresh = augmented(stack, (0, 7), seed=3, **everything)
    assert all(torch.equal(one, other) for one, other in zip(first, fresh, strict=True))
    for other in (other_step, other_rank):
        assert not torch.equal(first[0], other[0])


def test_a_shift_rolls_all_segments_as_one(stack: torch.Tensor) -> None:
    shifted, _ = augmented(stack, shift=1.0)
    moved = 0
    for before, after in zip(whole(stack), whole(shifted), strict=True):
        rolls = [n for n in range(24) if torch.allclose(before.roll(n, dims=1), after, atol=1e-3)]
        assert len(rolls) == 1
        moved += rolls[0] != 0
    assert moved >= 2


def test_gain_adds_one_number_to_a_recording(stack: torch.Tensor) -> None:
    louder, _ = augmented(stack, gain_db=(3, 6))
    difference = (louder - stack).flatten(1)
    assert (difference.std(dim=1) < 1e-3).all()
    assert ((difference.mean(dim=1) >= 3 - 1e-3) & (difference.mean(dim=1) <= 6 + 1e-3)).all()
    assert difference.mean(dim=1).std() > 0.1


def test_mixup_adds_powers_and_shares_out_labels(stack: torch.Tensor) -> None:
    mixed, labels = augmented(stack, mixup=1.0)
    assert labels.shape == (4, 3)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(4))
    # Solve for the shares from the sound, and compare with the labels.
    power = power_of(stack).flatten(1).double()
    level = power.mean(dim=1, keepdim=True)
    for row in range(4):
        even = (power / level).T
        target = power_of(mixed[row]).flatten().double() / level[row]
        shares = torch.linalg.lstsq(even, target[:, None]).solution[:, 0]
        assert shares.min() > -1e-3
        expected = torch.zeros(3).double().index_add(0, LABELS, shares)
        torch.testing.assert_close(labels[row].double(), expected, atol=1e-3, rtol=0)


def test_mixup_of_shares_keeps_their_sum_of_parts(stack: torch.Tensor) -> None:
    shares = torch.tensor([[1, 0.5, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]])
    _, labels = augmented(stack, label=shares, mixup=0.5)
    assert labels.min() >= 0
    assert labels.max() <= 1
    assert not torch.equal(labels, shares)


def test_place_and_date_are_mixed_as_labels_are(stack: torch.Tensor) -> None:
    prior = torch.eye(4)
    batch = {"stack": stack, "label": torch.arange(4), "prior": prior, "id": list("abcd")}
    mixed = SpeciesAugmentation(mixup=1.0)(batch, classes=4, step=(0, 0))
    assert not torch.equal(mixed["prior"], prior)
    assert torch.equal(mixed["prior"], mixed["label"])
    assert mixed["id"] == batch["id"]


def test_masks_hide_stretches_and_bands_only(stack: torch.Tensor) -> None:
    masked, _ = augmented(stack, frequency_masks=1, mask_frequency=0.5)
    before, after = whole(stack), whole(masked)
    changed = (before - after).abs() > 1e-3
    assert changed.any()
    for row in range(4):
        bands = changed[row].any(dim=1)
        assert torch.equal(changed[row].all(dim=1), bands)
        assert bands.sum() <= 3
        hidden = after[row][bands]
        torch.testing.assert_close(hidden, before[row][bands].mean(dim=1, keepdim=True).expand_as(hidden))
    masked, _ = augmented(stack, time_masks=1, mask_time=0.25)
    changed = (before - whole(masked)).abs() > 1e-3
    assert changed.any()
    frames = changed.any(dim=1).sum(dim=1)
    assert (frames <= 6).all()


def test_noise_is_added_at_the_ratio_that_was_drawn(birds: ModuleType, tmp_path: Path) -> None:
    birds.birdclef_files(tmp_path / "data", {"owl": [2.0] * 4})
    settings = birds.SETTINGS | {"species": 1, "fractions": (1, 0, 0)}
    source = BirdCLEF(root=tmp_path / "data", **settings)
    (tmp_path / "noise" / "rain").mkdir(parents=True)
    hiss = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)
    soundfile.write(tmp_path / "noise" / "rain" / "a.wav", hiss, birds.RATE)
    soundfile.write(tmp_path / "noise" / "silent.wav", np.zeros(8_000, np.float32), birds.RATE)
    (tmp_path / "noise" / "._a.wav").write_bytes(b"what macOS leaves beside a.wav")

    augment = SpeciesAugmentation(noise=tmp_path / "noise", noise_p=1.0, snr_db=(5, 5))
    augment.load_noise(
        source,
        lambda name, samples, of: np.array(cached(of, name, samples, tmp_path / "cache", 1)["stacks"]),
    )
    assert augment.clips.shape == (1, 4, 16, 16)  # the silent one is left out
    stack = torch.from_numpy(
        np.stack([source.decode(sample)["stacks"] for sample in source.splits()["train"]])
    ).float()
    batch = augment({"stack": stack, "label": torch.zeros(4, dtype=torch.long)}, classes=1, step=(0, 0))
    noisy, labels = batch["stack"], batch["label"]
    added = power_of(noisy) - power_of(stack)
    ratio = decibels(power_of(stack).mean(dim=(1, 2, 3))) - decibels(added.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(ratio, torch.full((4,), 5.0), atol=0.05, rtol=0)
    assert not labels.any()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"shift": 2}, "augment.shift=2"),
        ({"mixup": -1}, "augment.mixup=-1"),
        ({"snr_db": (5, 1)}, "augment.snr_db"),
        ({"gain_db": (5,)}, "augment.gain_db"),
        ({"time_masks": -1}, "augment.time_masks=-1"),
    ],
)
def test_impossible_settings_are_named(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(BirdlabError, match=named):
        SpeciesAugmentation(**wrong)  # type: ignore[arg-type]


def test_a_folder_without_noise_is_named(birds: ModuleType, tmp_path: Path) -> None:
    birds.birdclef_files(tmp_path / "data", {"owl": [2.0] * 4})
    source = BirdCLEF(root=tmp_path / "data", **birds.SETTINGS | {"species": 1})
    with pytest.raises(BirdlabError, match=r"augment\.noise=.*nowhere"):
        SpeciesAugmentation(noise=tmp_path / "nowhere").load_noise(source, lambda *_: np.empty(0))
