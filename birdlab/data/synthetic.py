"""The embedded data set: soundscapes from a seeded generator, written once and read like any folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from birdlab.data.boxes import read_boxes
from birdlab.data.folders import ImageFolders, ImageSample
from birdlab.data.source import SPLITS, Image, Mask, Sample, SegmentationSource, Split
from birdlab.data.splits import finish
from birdlab.data.synthesis.draws import Range
from birdlab.data.synthesis.scene import SAMPLE_RATE, Recipe
from birdlab.data.synthesis.writing import Address, Collection, event_levels
from birdlab.errors import BirdlabError


@dataclass(frozen=True, kw_only=True)
class Synthetic(SegmentationSource):
    """Noisy soundscapes, their clean track and the exact mask; nothing to download.

    The files stand below ``root/<hash of all parameters>`` in the layout of BirdSoundsDenoising
    (``{Training,Valid,Test}/{Images,Masks,Raw_audios,Denoised_audios,Labels}``) with ``parameters.json``, so
    that any tool for that data set reads them and different parameters never mix. ``splits`` writes what is
    missing of the first ``n_train``, ``n_val`` and ``n_test`` scenes; scene i depends on (seed, split, i)
    alone.

    Attributes:
        root: parent folder.
        size: number of scenes in each split; the caps ``n_train``, ... take the first of them.
        window_s: seconds of a scene.
        snr_db: range of the events' signal-to-noise ratio; see ``birdlab.data.synthesis.scene.Event``.
    """

    root: Path = Path("data/synthetic")
    size: Mapping[Split, int] = field(default_factory=lambda: {"train": 1000, "val": 200, "test": 300})
    window_s: float | None = 3.0
    snr_db: Range = Recipe.snr_db

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "size", dict(self.size))
        if unknown := set(self.size) - set(SPLITS):
            raise BirdlabError(f"data.size has {sorted(unknown)}: its keys are {', '.join(SPLITS)}.")
        if any(not isinstance(size, int) or size < 0 for size in self.size.values()):
            raise BirdlabError(f"data.size={dict(self.size)}: give whole numbers from 0 up.")
        if self.window_s is None or not 0.5 <= self.window_s <= 60 or self.hop_s is not None:
            raise BirdlabError(
                f"data.window_s={self.window_s}, data.hop_s={self.hop_s}: synthetic scenes are made in one "
                "piece of data.window_s seconds, from 0.5 to 60; leave data.hop_s null."
            )
        if self.sample_rate != SAMPLE_RATE:
            raise BirdlabError(
                f"data.sample_rate={self.sample_rate}: synthetic scenes have {SAMPLE_RATE} Hz."
            )
        if len(self.snr_db) != 2 or not self.snr_db[0] <= self.snr_db[1]:
            raise BirdlabError(f"data.snr_db={list(self.snr_db)}: give the lowest and the highest, in dB.")

    @property
    def folder(self) -> Path:
        """Where the scenes stand."""
        return self._collection.folder

    def splits(self) -> dict[Split, list[Sample]]:
        """See `Source.splits`. Writes the scenes that are asked for and not there yet."""
        caps = {"train": self.n_train, "val": self.n_val, "test": self.n_test}
        scenes = [
            Address(split, index)
            for split in SPLITS
            for index in range(
                min(size for size in (self.size.get(split, 0), caps[split]) if size is not None)
            )
        ]
        self._collection.ensure(scenes)
        splits: dict[Split, list[Sample]] = {split: [] for split in SPLITS}
        for scene in scenes:
            kinds = ("Images", "Masks", *(["Raw_audios"] if self.picture == "level" else []))
            files = tuple(self._collection.path(kind, scene) for kind in kinds)
            splits[scene.split].append(ImageSample(id=scene.name, group=scene.name, files=files))
        return finish(splits, self)

    def read(self, sample: Sample) -> tuple[Image, Mask]:
        """See `SegmentationSource.read`."""
        return self._files.read(sample)

    def audio(self, sample: Sample) -> NDArray[np.float32]:
        """The noisy soundscape: float32 [n]."""
        return self._files.audio(sample)

    def clean(self, sample: Sample) -> NDArray[np.float32]:
        """The birds alone, as they are in the soundscape: float32 [n]."""
        return self._files.clean(sample)

    def callers(self, sample: Sample) -> frozenset[str]:
        """See `SegmentationSource.callers`: the kinds of calls, such as ``trill``."""
        return frozenset(box.label for box in read_boxes(_labels(sample)))

    def facts(self, sample: Sample) -> dict[str, Any]:
        """See `Source.facts`."""
        levels = event_levels(_labels(sample))
        return super().facts(sample) | ({"snr_db": max(levels)} if levels else {})

    @cached_property
    def _collection(self) -> Collection:
        assert self.window_s is not None
        recipe = Recipe(duration_s=float(self.window_s), snr_db=self.snr_db)
        return Collection(self.root, recipe, self.seed, self.sides)

    @cached_property
    def _files(self) -> ImageFolders:
        return ImageFolders(
            root=self.folder,
            classes=self.classes,
            sample_rate=self.sample_rate,
            sides=self.sides,
            picture=self.picture,
        )


def _labels(sample: Sample) -> Path:
    return sample.files[0].parents[1] / "Labels" / f"{sample.id}.txt"
