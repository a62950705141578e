"""Isolated calls mixed into background recordings: training data with known truth from real sounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from birdlab.audio import io
from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.clips import Audio, isolated, repeated, without_silence
from birdlab.data.masks import Truth, background_level, bird_mask, boxed, check_truth
from birdlab.data.mixing import gain_for
from birdlab.data.names import source_recording
from birdlab.data.source import SPLITS, Image, Mask, Sample, SegmentationSource, Split
from birdlab.data.splits import assign, finish, fold
from birdlab.data.windows import check_window
from birdlab.errors import BirdlabError
from birdlab.parallel import one_thread

CALLS_PER_MIXTURE = (0.05, 0.35, 0.3, 0.2, 0.1)
"""Probabilities of 0, 1, 2, ... calls."""
LEVELS = (0.03, 0.2)
"""Range of the mean of |STFT| of a background, drawn log-uniformly. Of the published example it is .1."""

_GREY_STEP = 1 / 255
_CROSSFADE_S = 0.05
_LONGEST_STRETCH_S = 10.0
_SILENT_RUN_S = 0.05


@dataclass(frozen=True)
class Call:
    """A call in a mixture.

    Attributes:
        file: the isolated call.
        offset: of a call longer than the mixture, where the part that is heard begins; 0 its beginning,
            1 as late as can be.
        centre: where the call's middle lies in the mixture, 0 to 1; what hangs over is cut off.
        snr_db: signal-to-noise ratio of the part inside, see ``birdlab.data.mixing``.
    """

    file: Path
    offset: float
    centre: float
    snr_db: float


@dataclass(frozen=True, kw_only=True)
class MixtureSample(Sample):
    """A mixture as it was drawn; everything else follows from the files.

    Attributes:
        noise: the background recording.
        offset: where in it the mixture begins, as in ``Call``.
        level: mean of |STFT| of the background.
        calls: what is mixed into it.
    """

    noise: Path
    offset: float
    level: float
    calls: tuple[Call, ...]

    def recordings(self) -> frozenset[str]:
        """Those of its background and its calls."""
        return frozenset(map(source_recording, self.files))


@dataclass(frozen=True)
class Scene:
    """A mixture and what it is made of.

    Attributes:
        background: float32 [n].
        clean: the calls alone, as they are in the mixture: float32 [n].
        mask: bool [F, T].
        calls: those that can be seen: they left something in the mask.
    """

    background: Audio
    clean: Audio
    mask: Tensor
    calls: tuple[Call, ...]


@dataclass(frozen=True, kw_only=True)
class Mixtures(SegmentationSource):
    """Mixtures of isolated calls and background recordings from two folders.

    Calls and background recordings are each split by the recording they were cut from, and only then mixed:
    no call and no background of the training mixtures occurs in those of another split.

    Mixture number i of a split is a function of (seed, split, i) and of the recordings in that split: a
    window of one background at a drawn level (`LEVELS`), and none to four calls (`CALLS_PER_MIXTURE`) at
    drawn moments and signal-to-noise ratios; calls may overlap. Stretches of digital silence are cut out of a
    background, and one shorter than the window is repeated with crossfades. What background a call's own clip
    holds is removed from it as well as can be.

    The mask is where a call stands above the level of the background (`birdlab.data.masks.bird_mask`), which
    counts as no quieter than one grey step of the image: what can't be seen is no truth. A call that stands
    out nowhere is left out of the mixture.

    Attributes:
        calls: folder of isolated calls: audio files, also in subfolders.
        noise: folder of background recordings without birds, likewise.
        size: number of mixtures in each split.
        snr_db: range of a call's signal-to-noise ratio (`birdlab.data.mixing`), drawn uniformly.
        fractions: shares of train, val and test in the calls and in the background recordings.
        truth: the ``sound`` itself, or ``boxes`` around what is seen of each call, as people draw them.
        version: of how mixtures are made, as part of the cache key.
    """

    calls: Path
    noise: Path
    size: Mapping[str, int] = field(default_factory=lambda: {"train": 1000, "val": 200, "test": 300})
    window_s: float | None = 3.0
    snr_db: tuple[float, float] = (-10.0, 20.0)
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    truth: Truth = "sound"
    version: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window_s is None or self.hop_s is not None:
            raise BirdlabError(
                f"data.window_s={self.window_s}, data.hop_s={self.hop_s}: mixtures are made as long as "
                "data.window_s says, e.g. 3.0, and don't overlap: leave data.hop_s=null."
            )
        front_end = self.spectrogram
        check_window(self.window_s, None, front_end.window_length / front_end.sample_rate)
        if not self.snr_db[0] <= self.snr_db[1]:
            raise BirdlabError(f"data.snr_db={list(self.snr_db)}: give [lowest, highest] in dB.")
        check_truth(self.truth)
        if self.fold_tests:
            raise BirdlabError(
                "data.fold_tests=true: the test split of mixtures has recordings of its own "
                "(data.fractions). Set data.fold_tests=false; folds divide the others."
            )
        if set(self.size) != set(SPLITS) or min(self.size.values()) < 0:
            raise BirdlabError(
                f"data.size={dict(self.size)}: give the number of mixtures of each of {', '.join(SPLITS)}."
            )

    def splits(self) -> dict[Split, list[Sample]]:
        """See `Source.splits`. Reads the headers of all recordings."""
        calls = self._divided("calls", self.calls)
        noise = self._divided("noise", self.noise)
        _check_apart(calls, noise)
        mixtures: dict[Split, list[Sample]] = {
            split: [self._draw(split, index, calls[split], noise[split]) for index in range(self.size[split])]
            for split in SPLITS
        }
        # The recordings are folded already.
        return finish(mixtures, replace(self, folds=None, fold=0))

    @one_thread()
    def read(self, sample: Sample) -> tuple[Image, Mask]:
        """See `SegmentationSource.read`."""
        scene = self.scene(sample)
        image: Image = self.spectrogram.image(torch.from_numpy(scene.background + scene.clean)).numpy()
        return image, scene.mask.numpy().view(np.uint8)

    def in_boxes(self, sample: Sample) -> bool:
        """See `SegmentationSource.in_boxes`."""
        return self.truth == "boxes"

    def audio(self, sample: Sample) -> Audio:
        """The mixture as it is heard: float32 [n] at ``sample_rate``."""
        scene = self.scene(sample)
        return scene.background + scene.clean

    def clean(self, sample: Sample) -> Audio:
        """The calls alone, as they are in the mixture: float32 [n] at ``sample_rate``."""
        return self.scene(sample).clean

    def describe(self, sample: Sample) -> dict[str, Any]:
        """What a mixture is made of, for reports: background, level, and each visible call with its SNR."""
        mixture = _known(sample)
        return {
            "noise": mixture.noise.name,
            "level": mixture.level,
            "calls": [{"file": call.file.name, "snr_db": call.snr_db} for call in self.scene(sample).calls],
        }

    def facts(self, sample: Sample) -> dict[str, Any]:
        """See `Source.facts`."""
        levels = [call["snr_db"] for call in self.describe(sample)["calls"]]
        return super().facts(sample) | ({"snr_db": max(levels)} if levels else {})

    @one_thread()
    def scene(self, sample: Sample) -> Scene:
        """Mix the calls into their background.

        Raises:
            BirdlabError: naming a file that can't be read or holds nothing but digital silence.
        """
        mixture = _known(sample)
        spectrogram = Spectrogram(sample_rate=self.sample_rate, sides="one")
        n = round((self.window_s or 0) * self.sample_rate)
        background = self._background(mixture, n)
        noise = spectrogram.magnitude(torch.from_numpy(background))
        gain = mixture.level / float(noise.mean())
        background *= np.float32(gain)
        noise.mul_(gain)
        # What 8 bits of grey cannot show is not there for whoever looks at the image.
        noise.clamp_(min=_GREY_STEP)
        level = background_level(noise)

        clean, mask, visible = np.zeros(n, np.float32), torch.zeros_like(noise, dtype=torch.bool), []
        for call in mixture.calls:
            audio, start = self._call(call, n)
            columns = _columns_of(spectrogram, start, len(audio), n)
            track = np.zeros(n, np.float32)
            track[start : start + len(audio)] = audio
            heard = slice(columns.start * spectrogram.hop, spectrogram.samples(columns.stop))
            magnitude = spectrogram.magnitude(torch.from_numpy(track[heard]))
            if not magnitude.any():
                continue  # what falls into the mixture is a pause
            gain = gain_for(call.snr_db, magnitude, noise[:, columns])
            magnitude.mul_(gain)
            found = bird_mask(magnitude, level[:, columns])
            if found.any():
                clean += np.float32(gain) * track
                mask[:, columns] |= found if self.truth == "sound" else boxed(found)
                visible.append(call)
        if self.spectrogram.sides == "two":
            mask = torch.cat([mask[1:-1].flip(0), mask])
        return Scene(background, clean, mask, tuple(visible))

    def _divided(self, kind: str, folder: Path) -> dict[Split, list[Path]]:
        """The recordings of a folder by split."""
        files = _audio_files(kind, folder)
        recordings = [Sample(id=str(file), group=source_recording(file), files=(file,)) for file in files]
        splits = assign(recordings, self.fractions, self.seed)
        if self.folds is not None:
            splits = fold(splits, self.folds, self.fold, self.seed)
        for split in SPLITS:
            if self.size[split] and not splits[split]:
                raise BirdlabError(
                    f"data.{kind}={folder}: its {len(files)} files come from "
                    f"{len({recording.group for recording in recordings})} recordings, and the {split} split "
                    f"gets none of them with data.fractions={list(self.fractions)}. Add recordings, change "
                    f"the fractions, or set data.size.{split}=0."
                )
        return {split: [recording.files[0] for recording in splits[split]] for split in SPLITS}

    def _draw(self, split: Split, index: int, calls: Sequence[Path], noise: Sequence[Path]) -> MixtureSample:
        rng = np.random.default_rng([self.seed, SPLITS.index(split), index])
        background = noise[int(rng.integers(len(noise)))]
        offset, level = rng.random(), float(np.exp(rng.uniform(*np.log(LEVELS))))
        drawn = tuple(
            Call(calls[int(rng.integers(len(calls)))], rng.random(), rng.random(), rng.uniform(*self.snr_db))
            for _ in range(rng.choice(len(CALLS_PER_MIXTURE), p=CALLS_PER_MIXTURE))
        )
        return MixtureSample(
            id=f"{split}_{index:05d}",
            group=source_recording(background),
            files=(background, *(call.file for call in drawn)),
            noise=background,
            offset=offset,
            level=level,
            calls=drawn,
        )

    def _background(self, mixture: MixtureSample, n: int) -> Audio:
        """n samples of the background recording."""
        longest_s = max(_LONGEST_STRETCH_S, n / self.sample_rate)
        shortest = round(_SILENT_RUN_S * self.sample_rate)
        drawn = _stretch(mixture.noise, mixture.offset, longest_s)
        audio = without_silence(io.read(mixture.noise, self.sample_rate, **drawn), shortest)
        if len(audio) == 0:  # a recorder's dropout, or all of it
            audio = without_silence(io.read(mixture.noise, self.sample_rate), shortest)
        if len(audio) == 0:
            raise BirdlabError(
                f"{mixture.noise}: holds nothing but digital silence. Take it out of data.noise."
            )
        audio = repeated(audio, n, round(_CROSSFADE_S * self.sample_rate))
        start = round(mixture.offset * (len(audio) - n))
        return audio[start : start + n].copy()

    def _call(self, call: Call, n: int) -> tuple[Audio, int]:
        """The part of a call that is heard in n samples, and where it begins."""
        stretch = _stretch(call.file, call.offset, n / self.sample_rate)
        audio = isolated(call.file, self.sample_rate, **stretch)
        start = round(call.centre * n - len(audio) / 2)
        return audio[max(0, -start) : n - start], max(0, start)


def _check_apart(calls: Mapping[Split, Sequence[Path]], noise: Mapping[Split, Sequence[Path]]) -> None:
    """No recording is heard as a call in one split and as background in another."""
    split_of = {source_recording(file): split for split, files in calls.items() for file in files}
    for split, files in noise.items():
        for file in files:
            recording = source_recording(file)
            other = split_of.get(recording, split)
            if other != split:
                raise BirdlabError(
                    f"{file} comes from the recording {recording!r}, which has calls in data.calls: they "
                    f"are drawn for {other} and it for {split}, so scores would be too good. Take it out of "
                    "data.noise."
                )


def _audio_files(kind: str, folder: Path) -> list[Path]:
    """The audio files in a folder and its subfolders, in order; their headers have been read."""
    if not folder.is_dir():
        raise BirdlabError(
            f"data.{kind}={folder}: no such folder. Set data.{kind} to a folder of recordings."
        )
    files = io.files_below(folder)
    if not files:
        raise BirdlabError(
            f"data.{kind}={folder}: holds no recordings ({', '.join(sorted(io.SUFFIXES))}). "
            f"Set data.{kind} to a folder that does."
        )
    for file in files:
        io.info(file)
    return files


def _stretch(file: Path, offset: float, longest_s: float) -> dict[str, float]:
    """All of a recording, or so many seconds of a longer one, as arguments of `io.read`."""
    spare_s = max(0.0, _duration_s(file) - longest_s)
    return {"start_s": offset * spare_s, "duration_s": longest_s}


@lru_cache(maxsize=10_000)
def _duration_s(file: Path) -> float:
    return io.info(file).duration_s


def _columns_of(spectrogram: Spectrogram, start: int, length: int, n: int) -> slice:
    """The columns, of n samples, whose windows touch so many samples from ``start`` on."""
    first = spectrogram.columns(start)
    end = min(spectrogram.columns(n), (start + length - 1) // spectrogram.hop + 1)
    return slice(min(first, end - 1), end)


def _known(sample: Sample) -> MixtureSample:
    if not isinstance(sample, MixtureSample):
        raise TypeError(f"{sample} is not a sample of Mixtures")
    return sample
