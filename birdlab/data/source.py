"""What every data set is to birdlab: samples in three splits, each an image and a mask."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Image = NDArray[np.uint8]
"""Spectrogram image [F, T]: uint8, 0..255 standing for 0..1, row 0 the lowest frequency."""
Mask = NDArray[np.uint8]
"""Class indices [F, T]: uint8, 0 is background; same rows and columns as its image."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One example of a data set.

    Attributes:
        id: unique within the data set and readable, e.g. ``XC41136`` or ``XC41136@3.000s``.
        group: the recording, visit or seed it comes from; one group never stands on two sides of a split.
        files: what it is read from; their path, size and modification time are part of the cache key.
    """

    id: str
    group: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """A data set for segmentation: finds its samples, splits them, and reads one at native resolution.

    Subclasses are frozen dataclasses, so that they travel to worker processes and their ``repr`` identifies
    them in the cache key.

    Attributes:
        image_size: (frequency rows, time columns) of what the network sees.
        channels: image channels of the network's input; the grey image is repeated.
        classes: what the mask files' pixel values mean, ``{value: name}``; the first is background.
        sample_rate: Hz of the audio behind the images.
        sides: ``two`` for images from -fs/2 to fs/2 (BirdSoundsDenoising), ``one`` for 0 to fs/2.
        window_s: seconds of one sample; None takes a whole file.
        hop_s: seconds between the starts of two samples; None is ``window_s``.
        n_train, n_val, n_test: at most so many samples of each split; None takes all.
        folds, fold: with ``folds=5``, train and validation are split anew into 5 groups by recording, and
            group number ``fold`` validates. The test split stays as it is.
        seed: of everything the data set draws (splits, mixtures); not the seed of training.
    """

    image_size: tuple[int, int] = (128, 128)
    channels: int = 1
    classes: Mapping[int, str] = field(default_factory=lambda: {0: "background", 255: "bird"})
    sample_rate: int = 32_000
    sides: Literal["two", "one"] = "two"
    window_s: float | None = None
    hop_s: float | None = None
    n_train: int | None = None
    n_val: int | None = None
    n_test: int | None = None
    folds: int | None = None
    fold: int = 0
    seed: int = 0

    @abstractmethod
    def splits(self) -> dict[Split, list[Sample]]:
        """All samples by split, capped, folded and checked for leaks; a split may be empty.

        Raises:
            BirdlabError: for whatever is wrong with the files, before anything is decoded.
        """

    @abstractmethod
    def read(self, sample: Sample) -> tuple[Image, Mask]:
        """The image and mask of one sample at native resolution.

        Raises:
            BirdlabError: naming the file that cannot be read, or whose size or values do not fit.
        """

    def facts(self, sample: Sample) -> dict[str, float]:
        """What else is known of a sample that may explain its score, by name; the report's error analysis.

        Returns:
            ``duration_s`` where all samples have one length, and ``snr_db``, that of the loudest event, where
            the truth says it and there is an event.
        """
        return {} if self.window_s is None else {"duration_s": self.window_s}
