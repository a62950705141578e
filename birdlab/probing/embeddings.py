"""Recordings as embeddings: made once, kept in the cache."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from birdlab.audio import io
from birdlab.data.cache import cached
from birdlab.data.source import Decoded, Field, Sample, Source, Split
from birdlab.data.windows import window_starts
from birdlab.errors import BirdlabError
from birdlab.probing.backbone import Audio, Backbone, Embeddings

BATCH = 8
"""Windows that a backbone gets at once."""


def embedded(
    backbone: Backbone, source: Source, samples: Sequence[Sample], directory: Path
) -> Mapping[str, Embeddings]:
    """Embeddings [D] of samples by id: the mean over the windows of the whole recording.

    They are kept by the path, size and modification time of the files and by the backbone's name: who asks
    again doesn't wait.

    Args:
        backbone: see `Backbone`.
        source: of the samples.
        samples: at least one.
        directory: parent of all caches.

    Raises:
        BirdlabError: for files that aren't recordings or can't be read, and embeddings that aren't finite.
    """
    for sample in samples:
        if sample.files[0].suffix.lower() not in io.SUFFIXES:
            raise BirdlabError(
                f"{sample.files[0]}: embeddings are made from recordings, and this is a spectrogram. "
                "Take it out of data.root, so that the recording of that name is read."
            )
    ordered = sorted(samples, key=lambda sample: sample.id)
    # One at a time: not every backbone may be asked by several threads at once.
    arrays = cached(_Embedded(source=source, backbone=backbone), "embeddings", ordered, directory, workers=1)
    return dict(zip(arrays.ids, np.array(arrays["embeddings"]), strict=True))


def windows_of(audio: Audio, length: int) -> Audio:
    """Consecutive windows [W, length] of audio [n].

    The last one is moved back to end with the audio; what is shorter than one window is repeated.
    """
    if len(audio) < length:
        return np.resize(audio, (1, length))
    return np.stack([audio[start : start + length] for start in window_starts(len(audio), length, length)])


@dataclass(frozen=True, kw_only=True)
class _Embedded(Source):
    """The samples of a source, decoded to embeddings: what the cache takes."""

    source: Source
    backbone: Backbone

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """See `Source.fields`; asks the backbone, so only where there is something to make."""
        silence = np.zeros((1, self._length), np.float32)
        return {"embeddings": Field((self.backbone.embed(silence).shape[1],), "float32")}

    def splits(self) -> dict[Split, list[Sample]]:
        """See `Source.splits`."""
        return self.source.splits()

    def decode(self, sample: Sample) -> Decoded:
        """See `Source.decode`."""
        windows = windows_of(io.read(sample.files[0], self.backbone.sample_rate), self._length)
        parts = np.array_split(windows, math.ceil(len(windows) / BATCH))
        embedding = np.concatenate([self.backbone.embed(part) for part in parts]).mean(axis=0)
        if not np.isfinite(embedding).all():
            raise BirdlabError(f"{sample.files[0]}: {self.backbone.name} makes NaN or infinity of it.")
        return {"embeddings": embedding}

    def settings(self) -> str:
        """See `Source.settings`: what the labels and splits are doesn't matter."""
        return repr((self.backbone.name, self.backbone.sample_rate, self.backbone.seconds))

    @property
    def _length(self) -> int:
        return round(self.backbone.seconds * self.backbone.sample_rate)
