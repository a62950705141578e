"""Real recordings with time-frequency boxes: for honest testing."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from birdlab.audio import io
from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.boxes import Box, read_boxes
from birdlab.data.masks import Truth, check_truth, sound_in
from birdlab.data.names import recording_id, source_recording
from birdlab.data.pairs import by_stem, listed, paired, subfolder
from birdlab.data.source import Image, Mask, Sample, SegmentationSource, Split
from birdlab.data.splits import assign, finish
from birdlab.data.tables import groups_of
from birdlab.data.windows import check_window, window_ids, window_starts
from birdlab.errors import BirdlabError


@dataclass(frozen=True, kw_only=True)
class AudioSample(Sample):
    """A window of a recording.

    Attributes:
        start: first sample at the source's sample rate.
    """

    start: int = 0

    @property
    def recording(self) -> Path:
        """The recording's file."""
        return self.files[0]

    @property
    def labels(self) -> Path:
        """The file with its boxes."""
        return self.files[1]

    def recordings(self) -> frozenset[str]:
        """The recording, also by what clips that are cut from it are known by."""
        return frozenset({recording_id(self.recording.stem), source_recording(self.recording)})


@dataclass(frozen=True, kw_only=True)
class AnnotatedAudio(SegmentationSource):
    """Recordings and their boxes: ``root/{audio,labels}``, or labels beside the recordings in ``root``, or in
    a folder of their own, such as the results of ``birdlab.predict`` that somebody corrected.

    A label file has its recording's name and the ending .txt (Audacity), .selections.txt or
    .Table.1.selections.txt (Raven), or .csv (a .csv of another name is no label file). The mask is 1 inside
    every box, whatever its label says, in cells whose centre the box covers, on both sides of a two-sided
    image. Boxes hold silence between syllables, so they are a coarser truth than a mask of the sound.

    Splits and folds hold their share of each label: of several in one recording the rarest counts.

    A recording is cut into windows of ``window_s`` each ``hop_s``; the last one is moved back to end at the
    end of the recording, and a recording shorter than one window is padded with zeros.

    Attributes:
        root: the folder.
        labels: folder of the label files, if it is elsewhere.
        fractions: shares of train, val and test; by default all of it is for testing.
        groups: CSV file with the columns ``recording`` and ``group``, such as a recordist or a visit, none of
            which ever stands on two sides of a split. Recordings that aren't in it are groups of their own.
        truth: ``boxes`` as they are, or the ``sound`` in them, what stands above the background; see
            `birdlab.data.masks.sound_in`.
    """

    root: Path
    truth: Truth = "boxes"
    labels: Path | None = None
    groups: Path | None = None
    fractions: tuple[float, float, float] = (0.0, 0.0, 1.0)
    window_s: float | None = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        front_end = self.spectrogram
        check_truth(self.truth)
        check_window(self.window_s, self.hop_s, front_end.window_length / front_end.sample_rate)

    def splits(self) -> dict[Split, list[Sample]]:
        """See `Source.splits`. Reads labels and the headers of recordings."""
        for key, folder in (("root", self.root), ("labels", self.labels)):
            if folder is not None and not folder.is_dir():
                raise BirdlabError(f"data.{key}={folder}: no such folder. Set data.{key} to one of yours.")
        found = list(paired(*self._files(), ("audio", "label")))
        group_of = groups_of([stem for stem, *_ in found], self.groups)
        boxes = {stem: read_boxes(labels) for stem, _, labels in found}
        strata = _strata(group_of, boxes)
        recordings = [
            AudioSample(id=stem, group=group_of[stem], stratum=strata[stem], files=tuple(files))
            for stem, *files in found
        ]
        samples = [window for whole in recordings for window in self._windows(whole, boxes[whole.id])]
        return finish(assign(samples, self.fractions, self.seed), self)

    def read(self, sample: Sample) -> tuple[Image, Mask]:
        """See `SegmentationSource.read`."""
        sample = _known(sample)
        audio = torch.from_numpy(self.audio(sample))
        image: Image = self.spectrogram.image(audio).numpy()
        begin_s = sample.start / self.sample_rate
        mask = paint(read_boxes(sample.labels), self.spectrogram, image.shape[1], begin_s)
        if self.truth == "sound":
            mask = sound_in(mask, self.spectrogram.magnitude(audio))
        return image, mask

    def in_boxes(self, sample: Sample) -> bool:
        """See `SegmentationSource.in_boxes`."""
        return self.truth == "boxes"

    def audio(self, sample: Sample) -> NDArray[np.float32]:
        """The sample's stretch of its recording: float32 [n] at ``sample_rate``, padded to ``window_s``."""
        sample = _known(sample)
        if self.window_s is None:
            audio = io.read(sample.recording, self.sample_rate)
            length = max(len(audio), self.spectrogram.window_length)
        else:
            length = round(self.window_s * self.sample_rate)
            start_s = sample.start / self.sample_rate
            audio = io.read(sample.recording, self.sample_rate, start_s=start_s, duration_s=self.window_s)
        return np.pad(audio[:length], (0, max(0, length - len(audio))))

    def callers(self, sample: Sample) -> frozenset[str]:
        """See `SegmentationSource.callers`: the labels of boxes that reach into the window."""
        sample = _known(sample)
        begin_s = sample.start / self.sample_rate
        end_s = math.inf if self.window_s is None else begin_s + self.window_s
        boxes = read_boxes(sample.labels)
        return frozenset(box.label for box in boxes if box.begin_s < end_s and box.end_s > begin_s) - {""}

    def _files(self) -> tuple[dict[str, Path], dict[str, Path]]:
        """Recordings and label files by name."""
        audio_folder = subfolder(self.root, "audio") or self.root
        label_folder = self.labels or subfolder(self.root, "labels") or audio_folder
        recordings = [path for path in _visible(audio_folder) if path.suffix.lower() in io.SUFFIXES]
        labels = [path for path in _visible(label_folder) if path.suffix.lower() == ".txt"]
        # Any other table may lie beside them, too.
        stems = {path.stem for path in recordings}
        labels += [
            path for path in _visible(label_folder) if path.suffix.lower() == ".csv" and path.stem in stems
        ]
        if self.labels is not None:
            labels = [path for path in labels if _label_stem(path) in stems]
        if not recordings:
            raise BirdlabError(
                f"{audio_folder}: holds no recordings ({', '.join(sorted(io.SUFFIXES))}). "
                "Set data.root to a folder with audio/ and labels/."
            )
        return by_stem(recordings), by_stem(labels, _label_stem)

    def _windows(self, whole: AudioSample, boxes: Sequence[Box]) -> list[AudioSample]:
        """A recording as a sample, cut into windows."""
        header = io.info(whole.recording)
        begins = [box.begin_s for box in boxes if box.begin_s >= header.duration_s]
        if begins:
            raise BirdlabError(
                f"{whole.labels}: {len(begins)} boxes begin after the end of {whole.recording.name} "
                f"({header.duration_s:.3f} s): at {listed(begins)} s. Do the two files belong together?"
            )
        if self.window_s is None:
            return [whole]
        window, hop = (
            round(seconds * self.sample_rate) for seconds in (self.window_s, self.hop_s or self.window_s)
        )
        starts = window_starts(round(header.duration_s * self.sample_rate), window, hop)
        ids = window_ids(whole.id, [start / self.sample_rate for start in starts])
        return [replace(whole, id=id, start=start) for id, start in zip(ids, starts, strict=True)]


def paint(boxes: Sequence[Box], spectrogram: Spectrogram, columns: int, begin_s: float = 0.0) -> Mask:
    """Boxes as a mask: 1 in every cell whose centre lies in one of them.

    Args:
        boxes: in seconds of the recording.
        spectrogram: rows and columns; on a two-sided one boxes are painted on both sides.
        columns: of the mask.
        begin_s: where the mask begins in the recording.

    Returns:
        uint8 [F, columns].
    """
    frequencies = np.abs(spectrogram.frequencies())
    times = begin_s + spectrogram.times(columns)
    mask = np.zeros((len(frequencies), columns), np.uint8)
    for box in boxes:
        if box.end_s < begin_s or (columns and box.begin_s > times[-1]):
            continue  # a long recording has thousands of boxes, and of windows
        rows = (box.low_hz <= frequencies) & (frequencies <= box.high_hz)
        # Times ascend, so a box is one slice of columns.
        first, end = np.searchsorted(times, [box.begin_s, box.end_s])
        mask[rows, first:end] = 1
    return mask


def _strata(group_of: Mapping[str, str], boxes: Mapping[str, Sequence[Box]]) -> dict[str, str]:
    """Of each recording the rarest of its labels that several groups have; "" without one."""
    labels = {stem: {box.label for box in drawn} for stem, drawn in boxes.items()}
    groups: dict[str, set[str]] = defaultdict(set)
    for stem, those in labels.items():
        for label in those:
            groups[label].add(group_of[stem])
    shared = sorted(
        (label for label in groups if len(groups[label]) > 1), key=lambda label: len(groups[label])
    )
    return {stem: next((label for label in shared if label in those), "") for stem, those in labels.items()}


def _known(sample: Sample) -> AudioSample:
    if not isinstance(sample, AudioSample):
        raise TypeError(f"{sample} is not a sample of AnnotatedAudio")
    return sample


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]


def _label_stem(path: Path) -> str:
    """``XC1`` for XC1.txt, XC1.selections.txt and XC1.Table.1.selections.txt."""
    return re.sub(r"(\.Table\.\d+)?\.selections$", "", path.stem)
