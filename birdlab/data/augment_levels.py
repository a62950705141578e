"""Augmentation of pictures of levels and their masks: on the device, a batch at a time, in power."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from birdlab.audio.levels import FAINTEST, LOWEST_DB, above_silence, from_unit, of_power, to_bytes
from birdlab.audio.mel import power_of
from birdlab.data.augment_audio import Range, check_settings, column, masked, rolled, shifts

_CURVE_POINTS = 6
_SILENT = 2.5 * FAINTEST
"""Power of the lowest level, or of two such sounds together."""


class LevelAugmentation(nn.Module):
    """What can happen to a recording, in this order; 0 or None leaves a part out.

    Everything is drawn from (seed, step) and nothing is remembered, so that a resumed run draws what an
    uninterrupted one would have drawn. Sounds add in power, as unrelated sounds do on average.

    Args:
        shift: with this probability a window is rolled in time by any number of columns.
        mix: with this probability another window of the batch sounds at the same time. What was bird in
            either stays bird where the other one isn't louder.
        curve_db: a recorder's frequency response, smooth and at most so many dB up or down anywhere.
        noise_db: range of steady noise over each row's steady background, dB, in half of the windows. The
            background, and not the mean, which a call raises: its row would be told by the noise.
        gain_db: range of a factor on the level, dB.
        time_masks, frequency_masks: at most so many stretches of time and of rows are silenced, that is, set
            to the row's mean level (SpecAugment, Park et al. 2019); the mask stays.
        mask_time, mask_frequency: the longest stretch and the widest range, in shares of all.
        seed: of the draws.

    Raises:
        BirdlabError: for probabilities, shares and ranges that can't be.
    """

    def __init__(
        self,
        shift: float = 0.0,
        mix: float = 0.0,
        curve_db: float = 0.0,
        noise_db: Range | None = None,
        gain_db: Range | None = None,
        time_masks: int = 0,
        frequency_masks: int = 0,
        mask_time: float = 0.05,
        mask_frequency: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        shares = {"shift": shift, "mix": mix, "mask_time": mask_time, "mask_frequency": mask_frequency}
        numbers = {"curve_db": curve_db, "time_masks": time_masks, "frequency_masks": frequency_masks}
        check_settings(shares, numbers, {"noise_db": noise_db, "gain_db": gain_db})
        self.shift, self.mix, self.curve_db = shift, mix, curve_db
        self.noise_db, self.gain_db = noise_db, gain_db
        self.time_masks, self.frequency_masks = time_masks, frequency_masks
        self.mask_time, self.mask_frequency = mask_time, mask_frequency
        self.seed = seed

    def forward(self, image: Tensor, mask: Tensor, *, step: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Augment one batch.

        Args:
            image: uint8 [B, F, T], levels as `birdlab.audio.levels.to_bytes` gives them.
            mask: class indices uint8 [B, F, T].
            step: rank and step of the training; all that the draws depend on beside ``seed``.

        Returns:
            Both, in the same shapes and types.
        """
        rng = np.random.default_rng((self.seed, *step))
        power = power_of(from_unit(image.float() / 255))
        steps = shifts(power, self.shift, rng)
        power, mask = rolled(power, steps), rolled(mask, steps)
        power, mask = self._mixed(power, mask, rng)
        # Digital silence, such as what fills up a short recording, has no recorder and no noise. A network's
        # front end leaves it out of the background, which it could not if it were any louder.
        silent = power <= _SILENT
        power = power * self._response(power, rng)
        if self.noise_db is not None:
            share = 10 ** (rng.uniform(*self.noise_db, len(power)) / 10) * (rng.random(len(power)) < 0.5)
            # A frame of noise has the power of an exponential variable; a few bins are averaged in a row.
            draws = torch.from_numpy(rng.gamma(4, 0.25, power.shape)).to(power)
            background = power_of(above_silence(of_power(power), 0.25))
            power = power + background * column(share, power) * draws
        if self.gain_db is not None:
            power = power * column(10 ** (rng.uniform(*self.gain_db, len(power)) / 10), power)
        stretches = ((self.frequency_masks, self.mask_frequency, 1), (self.time_masks, self.mask_time, 2))
        level = of_power(power).masked_fill(silent, LOWEST_DB)
        return to_bytes(masked(level, stretches, rng)), mask

    def _mixed(self, power: Tensor, mask: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        if self.mix == 0:
            return power, mask
        other = torch.from_numpy(rng.permutation(len(power))).to(power.device)
        share = column((rng.random(len(power)) < self.mix).astype(np.float32), power)
        theirs = power[other] * share
        heard = torch.where(power >= theirs, mask, 0)
        heard_there = torch.where((theirs >= power) & (share > 0), mask[other], 0)
        return power + theirs, torch.where(heard > 0, heard, heard_there)

    def _response(self, power: Tensor, rng: np.random.Generator) -> Tensor:
        """A factor on the power [B, F, 1]."""
        points = rng.uniform(-self.curve_db, self.curve_db, (len(power), 1, _CURVE_POINTS))
        curve = F.interpolate(
            torch.from_numpy(points).to(power), size=power.shape[1], mode="linear", align_corners=True
        )
        return power_of(curve[:, 0])[..., None]
