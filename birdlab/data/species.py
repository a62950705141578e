"""What every data set of species is to birdlab: recordings as stacks of mel levels, each with its label."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from birdlab.audio import io
from birdlab.audio.mel import MelSpectrogram, decibels, whole_frames
from birdlab.data.source import STACK_KEYS, Decoded, Field, Sample, Source, Split
from birdlab.errors import BirdlabError

Levels = NDArray[np.float32]
"""Mel levels in dB [M, T], row 0 the lowest band."""


@dataclass(frozen=True, kw_only=True)
class LabelledStack(Sample):
    """A recording, or a stretch of one, and what is known of it.

    Attributes:
        targets: share of each species [K]: 1 for the one that is labelled, less for secondary ones.
        duration_s: seconds of the recording or the stretch.
        real_s: seconds of sound in the stack; what is missing to its length is repetition.
        start_s: where the stretch begins that is to be shown; None leaves that to the source.
        origin: of which collection the recording is, where that is known.
        prior: place and date: latitude / 90, longitude / 180, and sine and cosine of the day in the year; 0
            where not known.
    """

    targets: tuple[float, ...]
    duration_s: float
    real_s: float
    start_s: float | None = None
    origin: str = ""
    prior: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def content(self) -> str:
        """See `Sample.content`."""
        return self.id if self.start_s is None else f"{self.id} from {self.start_s}"

    @property
    def label(self) -> int:
        """Index of the species that is labelled; of several, the one with the largest share."""
        return int(np.argmax(self.targets))


@dataclass(frozen=True, kw_only=True)
class SpeciesSource(Source):
    """A data set for species: each sample becomes S consecutive segments of mel levels, a stack [S, M, T].

    Levels are in dB, float16, one spectrogram cut into S pieces: put side by side again they are the whole.
    ``birdlab.audio.mel.MelSpectrogram`` says how they are computed; the last frame of a stack is the one that
    begins before its end.

    Attributes:
        n_fft, hop, n_mels, fmin, fmax: of the mel spectrogram: samples, samples, bands, Hz, Hz. What lies
            above ``fmax`` is the recorder's: its low-pass is not seen.
        segments: S.
        segment_s: seconds of one segment, rounded down to whole frames; None takes what the data suggest.
        multilabel: targets are shares of several species rather than one label.
        prior: batches hold place and date, see `LabelledStack`.
    """

    n_fft: int = 1024
    hop: int = 500
    n_mels: int = 64
    fmin: float = 200.0
    fmax: float = 10_000.0
    segments: int = 10
    segment_s: float | None = None
    multilabel: bool = False
    prior: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.segments, int) or self.segments < 1:
            raise BirdlabError(f"data.segments={self.segments}: a stack holds a whole number of segments.")
        shortest_s = self.hop / self.sample_rate
        if self.segment_s is not None and not self.segment_s >= shortest_s:
            raise BirdlabError(
                f"data.segment_s={self.segment_s}: give at least one frame, {shortest_s:g} s, or null."
            )
        _ = self._mel  # refuses impossible settings now

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The species; a label is an index into them."""

    @property
    def frames(self) -> int:
        """T, the frames of one segment."""
        return whole_frames(self.seconds / self.segments, self.sample_rate, self.hop)

    @property
    def seconds(self) -> float:
        """Of sound that a stack stands for, before segments are rounded to whole frames."""
        if self.segment_s is None:
            raise BirdlabError("data.segment_s has no value: give the seconds of one segment.")
        return self.segments * self.segment_s

    @property
    def samples_in_stack(self) -> int:
        """Audio samples that a stack spans."""
        return self.segments * self.frames * self.hop

    @property
    def fields(self) -> Mapping[str, Field]:
        """See `Source.fields`."""
        return {"stacks": Field((self.segments, self.n_mels, self.frames), "float16")}

    def assigned(self) -> dict[Split, list[Sample]]:
        """The samples by split, as `splits`, whose files may not have been made yet."""
        return self.splits()

    def report(self, splits: Mapping[Split, Sequence[Sample]]) -> list[Table]:
        """What a user should know of these splits before training; printed once."""
        return []

    @abstractmethod
    def levels(self, sample: Sample) -> Levels:
        """Mel levels in dB [M, t] of the stretch of a sample that a stack shows; fewer than S T frames where
        there is no more.

        Raises:
            BirdlabError: naming the file that cannot be read.
        """

    def decode(self, sample: Sample) -> Decoded:
        """See `Source.decode`."""
        return {"stacks": self.stacked(self.levels(sample))}

    def stacked(self, levels: Levels) -> NDArray[np.float16]:
        """Levels [M, t] cut into segments [S, M, T]; too few are repeated from the start."""
        total = self.segments * self.frames
        whole = levels[:, np.arange(total) % levels.shape[1]]
        cut = whole.reshape(self.n_mels, self.segments, self.frames).transpose(1, 0, 2)
        return np.ascontiguousarray(cut, np.float16)

    def levels_of(self, audio: NDArray[np.float32]) -> Levels:
        """Mel levels in dB [M, n // hop] of audio [n] at ``sample_rate``, one column at least."""
        frames = max(1, len(audio) // self.hop)
        with torch.inference_mode():
            levels: Levels = decibels(self._mel(torch.from_numpy(audio)))[:, :frames].numpy()
        return levels

    def facts(self, sample: Sample) -> dict[str, Any]:
        """See `Source.facts`; also the seconds that aren't repetition, and the collection."""
        assert isinstance(sample, LabelledStack)
        return {"duration_s": sample.duration_s, "real_s": sample.real_s, "origin": sample.origin}

    def settings(self) -> str:
        """See `Source.settings`: neither splits nor labels change what is stored."""
        return repr(
            (
                *(self.sample_rate, self.n_fft, self.hop, self.n_mels, self.fmin, self.fmax),
                *(self.segments, self.frames),
            )
        )

    @cached_property
    def _mel(self) -> MelSpectrogram:
        return MelSpectrogram(self.sample_rate, self.n_fft, self.hop, self.n_mels, self.fmin, self.fmax)


@dataclass(frozen=True, kw_only=True)
class NoiseFolder(SpeciesSource):
    """Background recordings as stacks, to be added to others: the middle of each, repeated where it is short.

    Attributes:
        root: their folder, searched through all folders in it.
    """

    root: Path

    @classmethod
    def like(cls, source: SpeciesSource, root: Path) -> Self:
        """A folder whose stacks are made as those of ``source``."""
        settings = {name: getattr(source, name) for name in STACK_KEYS}
        return cls(
            root=root, segment_s=source.samples_in_stack / source.segments / source.sample_rate, **settings
        )

    @property
    def names(self) -> tuple[str, ...]:
        """None: noise is of no species."""
        return ()

    def splits(self) -> dict[Split, list[Sample]]:
        """All of them for training."""
        files = io.files_below(self.root)
        if not files:
            raise BirdlabError(f"augment.noise={self.root}: no such folder, or no recordings in it.")
        samples = [
            Sample(id=str(file.relative_to(self.root)), group=file.stem, files=(file,)) for file in files
        ]
        return {"train": samples, "val": [], "test": []}

    def levels(self, sample: Sample) -> Levels:
        """See `SpeciesSource.levels`."""
        (file,) = sample.files
        spare_s = max(0.0, io.info(file).duration_s - self.seconds)
        return self.levels_of(io.read(file, self.sample_rate, start_s=spare_s / 2, duration_s=self.seconds))
