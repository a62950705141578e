"""Several segmentation data sets as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from birdlab.data.mixtures import MixtureSample
from birdlab.data.names import recording_of
from birdlab.data.source import PICTURE_KEYS, SPLITS, Image, Mask, Sample, SegmentationSource, Split
from birdlab.data.splits import finish
from birdlab.errors import BirdlabError


@dataclass(frozen=True, kw_only=True)
class PartSample(Sample):
    """A sample of one of the data sets.

    Attributes:
        part: the data set's name.
        own: the sample as that data set knows it.
    """

    part: str
    own: Sample

    def content(self) -> str:
        """See `Sample.content`."""
        return f"{self.part}/{self.own.content()}"

    def recordings(self) -> frozenset[str]:
        """See `Sample.recordings`."""
        return self.own.recordings()


@dataclass(frozen=True, kw_only=True)
class Joined(SegmentationSource):
    """Data sets that train one network, such as mixtures with exact masks and a few recordings with boxes.

    Each keeps its own splits; one recording never stands on two sides, whichever parts hold it, be it as a
    call in mixtures. What the network sees (`image_size`, `picture`, `window_s` and so on) is the same for
    all, and said here.

    Attributes:
        parts: data sets by name.
        validating: parts whose validation samples validate; None is all. Those of the others train, too: the
            epoch and the threshold can be chosen on exact masks alone.
        testing: parts whose test samples are tested; None is all.
    """

    parts: Mapping[str, SegmentationSource]
    validating: Sequence[str] | None = None
    testing: Sequence[str] | None = None
    window_s: float | None = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts:
            raise BirdlabError("data.parts is empty: name at least one data set.")
        for key in ("validating", "testing"):
            unknown = set(getattr(self, key) or ()) - set(self.parts)
            if unknown:
                raise BirdlabError(
                    f"data.{key} has {sorted(unknown)}, but the parts are {', '.join(self.parts)}."
                )
        for key in ("folds", "fold", "fold_tests", "hop_s"):
            if getattr(self, key) != getattr(Joined, key):
                raise BirdlabError(f"data.{key}: each part has its own. Set data.parts.NAME.{key}.")
        seen = {name: getattr(self, name) for name in PICTURE_KEYS}
        for name, part in self.parts.items():
            default = {each.name: each.default for each in fields(part)}
            for key, value in seen.items():
                own = getattr(part, key)
                if own != default[key] and own != value:
                    raise BirdlabError(
                        f"data.parts.{name}.{key}={own}: the network sees the same of all parts. Set "
                        f"data.{key}."
                    )
        parts = {name: replace(part, **seen) for name, part in self.parts.items()}
        object.__setattr__(self, "parts", parts)

    def splits(self) -> dict[Split, list[Sample]]:
        """See `Source.splits`."""
        splits: dict[Split, list[Sample]] = {split: [] for split in SPLITS}
        for name, part in self.parts.items():
            own = part.splits()
            if self.validating is not None and name not in self.validating:
                own = own | {"train": [*own["train"], *own["val"]], "val": []}
            if self.testing is not None and name not in self.testing:
                own = own | {"test": []}
            for split, samples in own.items():
                splits[split] += [
                    PartSample(
                        id=f"{name}/{sample.id}",
                        group=sample.group,
                        files=sample.files,
                        part=name,
                        own=sample,
                    )
                    for sample in samples
                ]
        _check_recordings(splits)
        return finish(splits, self)

    def read(self, sample: Sample) -> tuple[Image, Mask]:
        """See `SegmentationSource.read`."""
        part, own = self._part(sample)
        return part.read(own)

    def audio(self, sample: Sample) -> NDArray[np.float32]:
        """See `SegmentationSource.audio`."""
        part, own = self._part(sample)
        return part.audio(own)

    def in_boxes(self, sample: Sample) -> bool:
        """See `SegmentationSource.in_boxes`."""
        part, own = self._part(sample)
        return part.in_boxes(own)

    def callers(self, sample: Sample) -> frozenset[str] | None:
        """See `SegmentationSource.callers`."""
        part, own = self._part(sample)
        return part.callers(own)

    def facts(self, sample: Sample) -> dict[str, Any]:
        """See `Source.facts`."""
        part, own = self._part(sample)
        return part.facts(own)

    def settings(self) -> str:
        """See `Source.settings`."""
        return repr({name: part.settings() for name, part in self.parts.items()})

    def _part(self, sample: Sample) -> tuple[SegmentationSource, Sample]:
        if not isinstance(sample, PartSample):
            raise TypeError(f"{sample} is not a sample of Joined")
        return self.parts[sample.part], sample.own


def _check_recordings(splits: Mapping[Split, Sequence[Sample]]) -> None:
    """No recording stands on two sides, in mixtures or by itself."""
    every = [(split, sample) for split, samples in splits.items() for sample in samples]
    mixed: dict[str, Split] = {}
    # Mixtures first, so that other samples are compared with all of them.
    for split, sample in sorted(every, key=lambda each: not _is_mixture(each[1])):
        for recording in sample.recordings():
            one = mixed.setdefault(recording, split) if _is_mixture(sample) else mixed.get(recording, split)
            if one != split:
                raise BirdlabError(
                    f"recording {recording!r} is heard in mixtures of {one} and stands in {split}, too "
                    f"(sample {sample.id!r}): scores would be too good. Take it out of one of the parts."
                )
    stands: dict[str, tuple[Split, Sample]] = {}
    for split, sample in every:
        if _is_mixture(sample):
            continue
        one, first = stands.setdefault(recording := recording_of(sample.id), (split, sample))
        if one != split:
            raise BirdlabError(
                f"recording {recording!r} stands in {one} (sample {first.id!r}) and in {split} (sample "
                f"{sample.id!r}): scores would be too good. Take it out of one of the parts, or divide them "
                "alike: the same data.parts.NAME.groups, fractions, folds and seed."
            )


def _is_mixture(sample: Sample) -> bool:
    return isinstance(sample, PartSample) and isinstance(sample.own, MixtureSample)
