"""Augmentation of stacks of mel levels: on the device, a batch at a time, in power."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from birdlab.audio.mel import decibels, power_of
from birdlab.data.loading import Batch
from birdlab.data.source import Sample, Source
from birdlab.data.species import NoiseFolder, SpeciesSource
from birdlab.errors import BirdlabError

Range = tuple[float, float]


class SpeciesAugmentation(nn.Module):
    """What is known to help in naming species, in this order; 0 or None leaves a part out.

    Everything is drawn from (seed, step) and nothing is remembered, so that a resumed run draws what an
    uninterrupted one would have drawn. Sounds add in power, as unrelated sounds do on average.

    Args:
        shift: with this probability a recording is rolled in time by any number of frames, all segments
            as one: what leaves at the end comes in at the beginning.
        noise: a folder of background recordings, those in its folders included; one of them is added.
        noise_p: with this probability.
        snr_db: range of the recording's mean power over the background's, dB.
        mixup: alpha of the Beta distribution from which a recording's share is drawn; the rest is another
            recording of the batch (Zhang et al. 2018). Both have the same mean power when they are mixed;
            labels become shares of species.
        gain_db: range of a factor on the level, dB.
        time_masks, frequency_masks: at most so many stretches of time and of bands are silenced, that is, set
            to the band's mean level (SpecAugment, Park et al. 2019).
        mask_time, mask_frequency: the longest stretch and the widest range, in shares of all.
        seed: of the draws.

    Raises:
        BirdlabError: for probabilities, shares and ranges that can't be.
    """

    clips: Tensor

    def __init__(
        self,
        shift: float = 0.0,
        noise: str | Path | None = None,
        noise_p: float = 0.5,
        snr_db: Range = (0.0, 20.0),
        mixup: float = 0.0,
        gain_db: Range | None = None,
        time_masks: int = 0,
        frequency_masks: int = 0,
        mask_time: float = 0.05,
        mask_frequency: float = 0.12,
        seed: int = 0,
    ) -> None:
        super().__init__()
        shares = {
            "shift": shift,
            "noise_p": noise_p,
            "mask_time": mask_time,
            "mask_frequency": mask_frequency,
        }
        numbers = {"mixup": mixup, "time_masks": time_masks, "frequency_masks": frequency_masks}
        check_settings(shares, numbers, {"snr_db": snr_db, "gain_db": gain_db})
        self.shift, self.noise_p, self.snr_db = shift, noise_p, snr_db
        self.noise = Path(noise).expanduser() if noise is not None else None
        self.mixup, self.gain_db = mixup, gain_db
        self.time_masks, self.frequency_masks = time_masks, frequency_masks
        self.mask_time, self.mask_frequency = mask_time, mask_frequency
        self.seed = seed
        self.register_buffer("clips", torch.empty(0), persistent=False)

    def load_noise(
        self, source: SpeciesSource, stored: Callable[[str, Sequence[Sample], Source], np.ndarray]
    ) -> None:
        """Have the background recordings at hand as stacks like the source's.

        Args:
            source: says how mel levels are computed.
            stored: decodes (name, samples, source) into an array [N, S, M, T], through the cache.

        Raises:
            BirdlabError: if the folder holds no recordings, or one cannot be read.
        """
        if self.noise is None or len(self.clips):
            return
        folder = NoiseFolder.like(source, self.noise)
        clips = torch.from_numpy(np.array(stored("noise", folder.splits()["train"], folder)))
        # A silent clip has no level that could be set.
        self.clips = clips[clips.float().mean(dim=(1, 2, 3)) > float(decibels(torch.tensor(0.0)))]

    def forward(self, batch: Batch, *, classes: int, step: Sequence[int]) -> Batch:
        """Augment one batch.

        Args:
            batch: ``stack``, levels in dB [B, S, M, T]; ``label``, int64 [B] or shares [B, K]; and where
                there is one ``prior`` [B, P].
            classes: K.
            step: rank and step of the training; all that the draws depend on beside ``seed``.

        Returns:
            The batch with its stack in the same shape and precision. With ``mixup`` labels are shares [B, K],
            and the prior is mixed as they are.
        """
        stack, label = batch["stack"], batch["label"]
        rng = np.random.default_rng((self.seed, *step))
        size, segments, mels, frames = stack.shape
        power = power_of(_joined(stack.float()))
        power = rolled(power, shifts(power, self.shift, rng))
        power = self._noisy(power, rng)
        changed: Batch = {}
        if self.mixup > 0:
            other = torch.from_numpy(rng.permutation(size)).to(power.device)
            share = column(rng.beta(self.mixup, self.mixup, size), power)
            power = _mixed(power, other, share)
            changed["label"] = F.one_hot(label, classes).float() if label.ndim == 1 else label
            changed |= {"prior": batch["prior"]} if "prior" in batch else {}
            changed = {key: torch.lerp(each[other], each, share[:, 0]) for key, each in changed.items()}
        if self.gain_db is not None:
            power = power * column(10 ** (rng.uniform(*self.gain_db, size) / 10), power)
        stretches = ((self.frequency_masks, self.mask_frequency, 1), (self.time_masks, self.mask_time, 2))
        level = masked(decibels(power), stretches, rng)
        made = level.reshape(size, mels, segments, frames).transpose(1, 2).to(stack.dtype)
        return batch | changed | {"stack": made}

    def _noisy(self, power: Tensor, rng: np.random.Generator) -> Tensor:
        if not len(self.clips):
            return power
        self.clips = self.clips.to(power.device)
        chosen = torch.from_numpy(rng.integers(0, len(self.clips), len(power))).to(power.device)
        noise = power_of(_joined(self.clips[chosen].float()))
        noise = rolled(noise, rng.integers(0, noise.shape[-1], len(noise)))
        ratio = 10 ** (-rng.uniform(*self.snr_db, len(power)) / 10) * (rng.random(len(power)) < self.noise_p)
        return power + noise * (_mean(power) / _mean(noise)) * column(ratio, power)


def _mixed(power: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Each recording and another one, both at the level of the first."""
    level = _mean(power)
    even = power / level
    return level * (share * even + (1 - share) * even[other])


def _joined(stack: Tensor) -> Tensor:
    """Segments in one piece: [B, S, M, T] to [B, M, S T]."""
    return stack.transpose(1, 2).flatten(2)


def _mean(power: Tensor) -> Tensor:
    """Of each recording [B, 1, 1]; never 0, since levels have a floor."""
    return power.mean(dim=(1, 2), keepdim=True)


def check_settings(
    shares: Mapping[str, float], numbers: Mapping[str, float], ranges: Mapping[str, Range | None]
) -> None:
    """Refuse settings of ``augment`` that can't be.

    Args:
        shares: by key; from 0 to 1.
        numbers: 0 and more.
        ranges: lowest and highest in dB, or None.

    Raises:
        BirdlabError: names the key.
    """
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise BirdlabError(f"augment.{name}={share}: give a share from 0 to 1.")
    for name, number in numbers.items():
        if number < 0:
            raise BirdlabError(f"augment.{name}={number}: give 0 for none, or more.")
    for name, limits in ranges.items():
        if limits is not None and not (len(limits) == 2 and limits[0] <= limits[1]):
            raise BirdlabError(f"augment.{name}={list(limits)}: give the lowest and the highest, in dB.")


def shifts(each: Tensor, probability: float, rng: np.random.Generator) -> np.ndarray:
    """By how many frames each recording [B, F, T] is rolled: any number with a probability, or none."""
    return rng.integers(0, each.shape[-1], len(each)) * (rng.random(len(each)) < probability)


def masked(level: Tensor, stretches: Sequence[tuple[int, float, int]], rng: np.random.Generator) -> Tensor:
    """Levels [B, F, T] with stretches set to the row's mean (SpecAugment, Park et al. 2019).

    Args:
        level: dB.
        stretches: how many, the longest as a share of its axis, and that axis, 1 or 2.
        rng: of the draws.
    """
    mean = level.mean(dim=-1, keepdim=True)
    for count, share, axis in stretches:
        for _ in range(count):
            level = torch.where(_hidden(level, share, axis, rng), mean, level)
    return level


def rolled(each: Tensor, steps: np.ndarray) -> Tensor:
    """Each recording [B, F, T] later by its number of frames [B], the end coming in at the beginning."""
    source = torch.arange(each.shape[-1], device=each.device) - _of(steps, each)[:, None]
    return each.gather(2, (source % each.shape[-1])[:, None].expand_as(each))


def column(values: np.ndarray, like: Tensor) -> Tensor:
    """One number for each recording [B, 1, 1]."""
    return torch.from_numpy(values).to(like.device, like.dtype)[:, None, None]


def _hidden(level: Tensor, share: float, axis: int, rng: np.random.Generator) -> Tensor:
    """A stretch of each recording [B, F, T], at most ``share`` of an axis: bool [B, F, 1] or [B, 1, T]."""
    size = level.shape[axis]
    place = torch.arange(size, device=level.device)
    width = rng.integers(0, int(share * size) + 1, len(level))
    first = rng.integers(0, size - width + 1)
    inside = (place >= _of(first, level)[:, None]) & (place < _of(first + width, level)[:, None])
    return inside.unsqueeze(3 - axis)


def _of(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device)
