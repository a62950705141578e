"""Augmentation of images and masks: the one module that imports albumentations."""

import os
import random
from collections.abc import Sequence

# albumentations asks a package index for newer versions when imported, unless this is set before.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations
import cv2
import numpy as np

from birdlab.data.source import Image, Mask
from birdlab.errors import BirdlabError


class Augmentation:
    """Random transforms of an image and its mask, drawn from (seed, epoch, index) and nothing else.

    So a sample is augmented alike whichever worker process loads it, and alike after a resume, while every
    epoch draws anew. Nothing is remembered from one call to the next.

    Args:
        transforms: of albumentations, applied in this order. Masks are always resampled to the nearest pixel.
        seed: of the draws.

    Raises:
        BirdlabError: for an argument that a transform does not know.
    """

    def __init__(self, transforms: Sequence[albumentations.BasicTransform], seed: int = 0) -> None:
        self.seed = seed
        try:
            # Without `strict` a misspelt argument is a warning, and the transform runs on its defaults.
            self._compose = albumentations.Compose(
                list(transforms), mask_interpolation=cv2.INTER_NEAREST, strict=True
            )
        except ValueError as error:
            raise BirdlabError(f"augment.transforms: {error}.") from error

    def __call__(self, image: Image, mask: Mask, *, epoch: int, index: int) -> tuple[Image, Mask]:
        """One draw.

        Args:
            image: uint8 [F, T].
            mask: uint8 [F, T].
            epoch: of training.
            index: of the sample within its split.

        Returns:
            The transformed pair, of the same shapes.

        Raises:
            BirdlabError: if the transforms change the size.
        """
        # `set_random_seed` would hand every transform generators of its own with the *same* seed: two flips
        # of probability one half would always fall together. Shared generators draw on from one another
        # (and are four times as fast to make).
        generator = np.random.default_rng((self.seed, epoch, index))
        self._compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        transformed = self._compose(image=image, mask=mask)
        if transformed["image"].shape != image.shape:
            raise BirdlabError(
                f"augment.transforms turn an image of {image.shape} into {transformed['image'].shape}. End "
                "with one that restores the size, such as RandomResizedCrop with size ${data.image_size}."
            )
        return transformed["image"], transformed["mask"]
