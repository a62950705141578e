"""What every data set is to birdlab: samples in three splits, and what of each is kept in the cache."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from birdlab.audio.grid import Sides
from birdlab.audio.levels import LevelPicture
from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.names import recording_of
from birdlab.data.resizing import resize_image, resize_mask
from birdlab.errors import BirdlabError

Split = Literal["train", "val", "test"]
Picture = Literal["magnitude", "level"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PICTURE_KEYS = ("sample_rate", "picture", "sides", "image_size", "window_length", "channels", "window_s")
STACK_KEYS = ("sample_rate", "n_fft", "hop", "n_mels", "fmin", "fmax", "segments")
"""Keys of ``data`` that say what a network sees, of masks and of species."""
Image = NDArray[np.uint8]
"""Spectrogram image [F, T]: uint8, 0..255 standing for 0..1, row 0 the lowest frequency."""
Mask = NDArray[np.uint8]
"""Class indices [F, T]: uint8, 0 is background; same rows and columns as its image."""
Decoded = Mapping[str, NDArray[Any]]
"""What the cache keeps of one sample, by name."""


@dataclass(frozen=True)
class Field:
    """An array that the cache keeps of every sample.

    Attributes:
        shape: of one sample.
        dtype: name of NumPy's type, e.g. ``uint8``.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One example of a data set.

    Attributes:
        id: unique within the data set and readable, e.g. ``XC41136`` or ``XC41136@3.000s``.
        group: the recording, visit or seed it comes from; one group never stands on two sides of a split.
        files: what it is read from; their path, size and modification time are part of the cache key.
        stratum: splits hold equal shares of every stratum, which is a species or nothing.
    """

    id: str
    group: str
    files: tuple[Path, ...] = ()
    stratum: str = ""

    def content(self) -> str:
        """What is read from the files, for the cache key."""
        return self.id

    def recordings(self) -> frozenset[str]:
        """What is heard in it, by name: none of that is trained on in one run, and tested in one after it."""
        return frozenset({recording_of(self.id)})


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """A data set: finds its samples, splits them, and decodes one.

    Subclasses are frozen dataclasses, so that they travel to worker processes and their ``repr`` identifies
    them in the cache key.

    Attributes:
        sample_rate: Hz of the audio.
        n_train, n_val, n_test: at most so many samples of each split; None takes all.
        folds, fold: with ``folds=5``, train and validation are split anew into 5 groups by recording, and
            group number ``fold`` validates. The test split stays as it is, unless with
        fold_tests: all samples are split anew, group number ``fold`` is tested and the next one validates.
        seed: of everything the data set draws (splits, mixtures); not the seed of training.
    """

    sample_rate: int = 32_000
    n_train: int | None = None
    n_val: int | None = None
    n_test: int | None = None
    folds: int | None = None
    fold: int = 0
    fold_tests: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """A config has text for a path and a list for numbers: hold what the attributes are declared as.

        Raises:
            BirdlabError: if there are too many numbers, or too few, or such as can't be.
        """
        for key, kind in _kinds(type(self)).items():
            if (given := getattr(self, key, None)) is None:
                continue
            if kind is Path:
                object.__setattr__(self, key, Path(given).expanduser())
            elif get_origin(kind) is tuple and set(get_args(kind)) <= {int, float}:
                usual = getattr(type(self), key, None)
                object.__setattr__(self, key, _numbers(f"data.{key}", given, get_args(kind), usual))

    @property
    @abstractmethod
    def fields(self) -> Mapping[str, Field]:
        """The arrays that `decode` returns, by name."""

    @abstractmethod
    def splits(self) -> dict[Split, list[Sample]]:
        """All samples by split, capped, folded and checked for leaks; a split may be empty.

        Raises:
            BirdlabError: for whatever is wrong with the files, before anything is decoded.
        """

    @abstractmethod
    def decode(self, sample: Sample) -> Decoded:
        """What the cache keeps of one sample, as `fields` says.

        Raises:
            BirdlabError: naming the file that cannot be read, or whose size or values do not fit.
        """

    def facts(self, sample: Sample) -> dict[str, Any]:
        """What else is known of a sample that may explain its score, by name; the report's error analysis.

        Returns:
            ``duration_s``, and ``snr_db``, that of the loudest event, where they are known.
        """
        return {}

    def settings(self) -> str:
        """The settings that decide what `decode` returns, for the cache key."""
        # The caps say how many samples are taken, which the samples themselves say already.
        return repr(replace(self, n_train=None, n_val=None, n_test=None))


@cache
def _kinds(source: type[Source]) -> Mapping[str, Any]:
    """What each attribute is declared as, where it isn't None."""
    return {key: _without_none(hint) for key, hint in get_type_hints(source).items()}


def _without_none(hint: Any) -> Any:
    others = [each for each in get_args(hint) if each is not NoneType]
    return others[0] if get_origin(hint) in (Union, UnionType) and len(others) == 1 else hint


def _numbers(key: str, given: Any, kinds: tuple[type, ...], usual: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """As many as there are kinds, of these kinds: -10 and -10.0 are one data set."""
    fit = isinstance(given, Sequence) and len(given) == len(kinds)
    if not fit or not all(_is_number(each, kind) for kind, each in zip(kinds, given, strict=True)):
        what = "whole numbers" if set(kinds) == {int} else "numbers"
        example = f", such as {key}={list(usual)}" if usual else ""
        raise BirdlabError(f"{key}={given}: give {len(kinds)} {what}{example}.")
    return tuple(kind(each) for kind, each in zip(kinds, given, strict=True))


def _is_number(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and (kind is float or value.is_integer()))


@dataclass(frozen=True, kw_only=True)
class SegmentationSource(Source):
    """A data set for segmentation: of each sample an image and a mask.

    Attributes:
        image_size: (frequency rows, time columns) of what the network sees.
        picture: what that is: ``magnitude`` is the image of `read`, resized; ``level`` is made from the
            recording behind it, in decibels and at full resolution (`birdlab.audio.levels.LevelPicture`).
        window_length: samples under the window of a picture of levels.
        channels: image channels of the network's input; the grey image is repeated.
        classes: what the mask files' pixel values mean, ``{value: name}``; the first is background.
        sides: ``two`` for images from -fs/2 to fs/2 (BirdSoundsDenoising), ``one`` for 0 to fs/2. Pictures of
            levels have one, and so have the masks that go with them.
        window_s: seconds of one sample; None takes a whole file.
        hop_s: seconds between the starts of two samples; None is ``window_s``.
    """

    image_size: tuple[int, int] = (128, 128)
    picture: Picture = "magnitude"
    window_length: int = 1024
    channels: int = 1
    classes: Mapping[int, str] = field(default_factory=lambda: {0: "background", 255: "bird"})
    sides: Sides = "two"
    window_s: float | None = None
    hop_s: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, allowed in (("picture", get_args(Picture)), ("sides", get_args(Sides))):
            if (given := getattr(self, key)) not in allowed:
                raise BirdlabError(f"data.{key}={given}: give {' or '.join(allowed)}.")

    @property
    def spectrogram(self) -> Spectrogram:
        """On whose cells the images and masks of `read` lie."""
        return Spectrogram(
            sample_rate=self.sample_rate, sides="one" if self.picture == "level" else self.sides
        )

    @property
    def fields(self) -> Mapping[str, Field]:
        """Images and masks at network size."""
        rows, columns = self.image_size
        return {name: Field((rows, columns), "uint8") for name in ("images", "masks")}

    @abstractmethod
    def read(self, sample: Sample) -> tuple[Image, Mask]:
        """The image and mask of one sample at native resolution.

        Raises:
            BirdlabError: naming the file that cannot be read, or whose size or values do not fit.
        """

    def audio(self, sample: Sample) -> NDArray[np.float32]:
        """The recording behind an image: float32 [n] at ``sample_rate``.

        Raises:
            BirdlabError: if there is none, or it can't be read.
        """
        raise BirdlabError(
            f"data.picture=level needs recordings, and {type(self).__name__} has none: set "
            "data.picture=magnitude."
        )

    def in_boxes(self, sample: Sample) -> bool:
        """Whether a sample's truth is boxes, as people draw them, with pauses and harmonics."""
        return False

    def callers(self, sample: Sample) -> frozenset[str] | None:
        """Who is heard in a sample: names of species, or of kinds of calls; None where no labels tell."""
        return None

    def decode(self, sample: Sample) -> Decoded:
        """See `Source.decode`."""
        image, mask = self.read(sample)
        return {"images": self._seen(sample, image), "masks": resize_mask(mask, self.image_size)}

    def _seen(self, sample: Sample, image: Image) -> Image:
        """What the network sees of a sample [rows, columns]."""
        if self.picture == "magnitude":
            return resize_image(image, self.image_size)
        audio = torch.from_numpy(self.audio(sample))
        if self.window_s is not None:
            # Recordings may differ from their pictures by the delay of a decoder.
            length = round(self.window_s * self.sample_rate)
            audio = F.pad(audio[:length], (0, max(0, length - len(audio))))
        seen: Image = LevelPicture(*self.image_size, self.window_length).image(audio).numpy()
        return seen

    def facts(self, sample: Sample) -> dict[str, Any]:
        """See `Source.facts`; all samples have one length where there is a window."""
        return {} if self.window_s is None else {"duration_s": self.window_s}
