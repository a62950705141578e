"""Folders of spectrogram images and hand-drawn masks, as BirdSoundsDenoising comes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from birdlab.audio import io
from birdlab.audio.grid import from_picture
from birdlab.data.names import recording_of
from birdlab.data.pairs import by_stem, listed, paired, subfolder
from birdlab.data.png import image_size, read_image
from birdlab.data.source import Image, Mask, Sample, SegmentationSource, Split
from birdlab.data.splits import assign, finish
from birdlab.data.tables import groups_of
from birdlab.data.windows import check_window, window_ids, window_starts
from birdlab.errors import BirdlabError

SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("Training", "Train"),
    "val": ("Valid", "Validation", "Val"),
    "test": ("Test", "Testing"),
}

_TOLERATED_S = 0.1
"""Between the lengths of a recording and its picture: decoders of MP3 add up to 50 ms."""

_OTHER_PICTURES = {".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True, kw_only=True)
class ImageSample(Sample):
    """An image and its mask, or a window of them.

    Attributes:
        start: first column.
        columns: number of columns; None takes all.
    """

    start: int = 0
    columns: int | None = None

    @property
    def image(self) -> Path:
        """The image's file."""
        return self.files[0]

    @property
    def mask(self) -> Path:
        """The mask's file."""
        return self.files[1]


@dataclass(frozen=True, kw_only=True)
class ImageFolders(SegmentationSource):
    """BirdSoundsDenoising (Zhang & Li, WACV 2023), or any folder laid out like it.

    ``root/{Training,Valid,Test}/{Images,Masks}`` (``train``, ``val`` and other usual spellings do as well; a
    folder that is absent is an empty split), or one ``root/{Images,Masks}`` that is split by ``fractions``.
    Both are 8-bit PNG of equal size, paired by name. ``Raw_audios`` and ``Denoised_audios`` may lie beside
    them. With ``sides="two"`` rows are in the official order, -fs/2 on top; with ``sides="one"`` images are
    ordinary pictures of a spectrogram, the highest frequency on top, and are turned over when read.

    Seconds, for ``window_s`` and ``hop_s``, follow from ``sample_rate`` and the official hop of 64 samples
    per column. An image shorter than a window is padded with black background at its end.

    Attributes:
        root: the folder.
        fractions: shares of train, val and test where the folder doesn't say; `_left` and `_right` of one
            recording go together.
        groups: CSV file with the columns ``recording``, an image's name, and ``group``, such as the recording
            that several images are pieces of. None of these ever stands on two sides of a split.
    """

    root: Path
    groups: Path | None = None
    fractions: tuple[float, float, float] = (0.7, 0.2, 0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        values = list(self.classes)
        if len(values) < 2 or not all(isinstance(value, int) and 0 <= value <= 255 for value in values):
            raise BirdlabError(
                f"data.classes has the pixel values {values}: give two or more whole numbers from 0 to 255, "
                "the background's first, e.g. {0: background, 255: bird}."
            )
        front_end = self.spectrogram
        check_window(self.window_s, self.hop_s, front_end.window_length / front_end.sample_rate)

    def splits(self) -> dict[Split, list[Sample]]:
        """See `Source.splits`. Reads names and PNG headers only."""
        if not self.root.is_dir():
            raise BirdlabError(f"data.root={self.root}: no such folder. Set data.root to your data set's.")
        folders = {split: subfolder(self.root, *names) for split, names in SPLIT_FOLDERS.items()}
        if any(folders.values()):
            found = {split: self._samples(folder) if folder else [] for split, folder in folders.items()}
            return finish(self._grouped(found), self)
        undivided: dict[Split, list[Sample]] = {"train": self._samples(self.root)}
        return finish(assign(self._grouped(undivided)["train"], self.fractions, self.seed), self)

    def read(self, sample: Sample) -> tuple[Image, Mask]:
        """See `SegmentationSource.read`."""
        sample = _known(sample)
        image, mask = read_image(sample.image), self._class_indices(sample.mask, read_image(sample.mask))
        if self.sides == "one":
            if self.picture == "level" and len(image) == self.spectrogram.n_fft:
                raise BirdlabError(
                    f"{sample.image}: {len(image)} rows are those of a picture of two sides. Set "
                    "data.sides=two."
                )
            image, mask = (from_picture(each, self.sides) for each in (image, mask))
        elif self.picture == "level":
            if len(image) % 2:
                raise BirdlabError(
                    f"{sample.image}: {len(image)} rows are no picture of two sides, from -fs/2 to fs/2. Set "
                    "data.sides=one."
                )
            zero = len(image) // 2 - 1
            image, mask = image[zero:], mask[zero:]
        return _cut(image, sample), _cut(mask, sample)

    def audio(self, sample: Sample) -> NDArray[np.float32]:
        """The recording behind an image, from ``Raw_audios``: float32 [n] at ``sample_rate``.

        It is what the file decodes to: an MP3 decoder may put a few hundred samples in front that the image
        does not show (528 in the published example).

        Raises:
            BirdlabError: if it isn't there or can't be read.
        """
        sample = _known(sample)
        return self._aligned(sample) if self.picture == "level" else self._recording(sample, "Raw_audios")

    def clean(self, sample: Sample) -> NDArray[np.float32]:
        """The denoised recording, from ``Denoised_audios``: float32 [n] at ``sample_rate``.

        In BirdSoundsDenoising that is the recording with the mask applied, not an independent clean track.

        Raises:
            BirdlabError: if it isn't there or can't be read.
        """
        return self._recording(_known(sample), "Denoised_audios")

    @cached_property
    def _index_of(self) -> NDArray[np.uint8]:
        """Class index of each pixel value; 255 where ``classes`` has none."""
        table = np.full(256, 255, np.uint8)
        table[list(self.classes)] = np.arange(len(self.classes))
        return table

    def _samples(self, folder: Path) -> list[Sample]:
        """The samples of one folder with Images and Masks, their sizes checked."""
        pairs = paired(_pictures(folder, "Images"), _pictures(folder, "Masks"), ("image", "mask"))
        sizes = {stem: (image_size(image), image_size(mask)) for stem, image, mask in pairs}
        differing = [
            f"{image.name} ({_by(sizes[stem][0])}; mask {_by(sizes[stem][1])})"
            for stem, image, _ in pairs
            if sizes[stem][0] != sizes[stem][1]
        ]
        if differing:
            raise BirdlabError(
                f"{folder}: image and mask differ in size (rows x columns): {listed(differing)}. "
                "Export both from the same spectrogram."
            )
        # What is seen of a picture of levels is the recording.
        recordings = (
            self._recordings(folder, [stem for stem, _, _ in pairs]) if self.picture == "level" else {}
        )
        return [
            sample
            for stem, image, mask in pairs
            for sample in self._windows(
                stem, (image, mask, *([recordings[stem]] if recordings else [])), sizes[stem][0][1]
            )
        ]

    def _grouped(self, splits: dict[Split, list[Sample]]) -> dict[Split, list[Sample]]:
        """The same samples in the groups that the table names."""
        if self.groups is None:
            return splits
        names = {_known(sample).image.stem for samples in splits.values() for sample in samples}
        groups = groups_of(names, self.groups)
        return {
            split: [replace(s, group=groups[_known(s).image.stem]) for s in samples]
            for split, samples in splits.items()
        }

    def _recordings(self, folder: Path, stems: Sequence[str]) -> dict[str, Path]:
        found = subfolder(folder, "Raw_audios")
        recordings = by_stem(found.iterdir()) if found else {}
        missing = [stem for stem in stems if stem not in recordings]
        if missing:
            raise BirdlabError(
                f"{folder}: data.picture=level needs the recordings, and {len(missing)} are missing in "
                f"Raw_audios: {listed(missing)}. Add them, or set data.picture=magnitude."
            )
        return recordings

    def _aligned(self, sample: ImageSample) -> NDArray[np.float32]:
        """The recording as the picture shows it: without what a decoder puts in front."""
        recording = sample.files[2]
        grid = self.spectrogram
        shown_s = grid.samples(image_size(sample.image)[1]) / grid.sample_rate
        delay_s = io.info(recording).duration_s - shown_s
        if not -_TOLERATED_S <= delay_s <= _TOLERATED_S:
            raise BirdlabError(
                f"{recording}: lasts {delay_s + shown_s:.3f} s, and its picture shows {shown_s:.3f} s at "
                f"data.sample_rate={self.sample_rate}. Set that to the rate the pictures were drawn at."
            )
        start_s = max(0.0, delay_s) + sample.start * grid.hop / grid.sample_rate
        length_s = None if sample.columns is None else grid.samples(sample.columns) / grid.sample_rate
        return io.read(recording, self.sample_rate, start_s=start_s, duration_s=length_s)

    def _windows(self, stem: str, files: tuple[Path, ...], columns: int) -> list[ImageSample]:
        group = recording_of(stem)  # pieces may be called after their begin, as birdlab's own are
        if self.window_s is None:
            return [ImageSample(id=stem, group=group, files=files)]
        front_end = self.spectrogram
        column_s = front_end.hop / front_end.sample_rate
        window = front_end.columns(round(self.window_s * front_end.sample_rate))
        hop = max(1, round((self.hop_s or self.window_s) / column_s))
        starts = window_starts(columns, window, hop)
        ids = window_ids(stem, [start * column_s for start in starts])
        return [
            ImageSample(id=id, group=group, files=files, start=start, columns=window)
            for id, start in zip(ids, starts, strict=True)
        ]

    def _class_indices(self, path: Path, values: NDArray[np.uint8]) -> Mask:
        indices: Mask = self._index_of[values]
        if indices.max() == 255:
            unknown = np.unique(values[indices == 255]).tolist()
            raise BirdlabError(
                f"{path}: the mask has pixel values {listed(unknown)} that "
                f"data.classes={dict(self.classes)} doesn't know. Say what they are, as "
                f"in +data.classes={{{unknown[0]}:bird}}, or export masks without smoothing and JPEG "
                "compression."
            )
        return indices

    def _recording(self, sample: ImageSample, name: str) -> NDArray[np.float32]:
        folder = sample.image.parent.parent
        recordings = subfolder(folder, name)
        found = by_stem(recordings.iterdir()) if recordings else {}
        stem = sample.image.stem
        if stem not in found:
            raise BirdlabError(f"{folder / name}: no recording for {sample.image.name}.")
        if sample.columns is None:
            return io.read(found[stem], self.sample_rate)
        front_end = self.spectrogram
        return io.read(
            found[stem],
            self.sample_rate,
            start_s=sample.start * front_end.hop / front_end.sample_rate,
            duration_s=front_end.samples(sample.columns) / front_end.sample_rate,
        )


def _known(sample: Sample) -> ImageSample:
    if not isinstance(sample, ImageSample):
        raise TypeError(f"{sample} is not a sample of ImageFolders")
    return sample


def _pictures(folder: Path, name: str) -> dict[str, Path]:
    """The PNG files of ``folder/name`` by stem."""
    pictures = subfolder(folder, name)
    if pictures is None:
        raise BirdlabError(
            f"{folder}: has no folder {name}. Expected {folder.name}/Images and {folder.name}/Masks, or "
            f"these two in each of {', '.join(names[0] for names in SPLIT_FOLDERS.values())}."
        )
    files = [path for path in pictures.iterdir() if not path.name.startswith(".")]
    foreign = sorted(path.name for path in files if path.suffix.lower() in _OTHER_PICTURES)
    if foreign:
        raise BirdlabError(
            f"{pictures}: pictures must be PNG, found {listed(foreign)}. Convert them to 8-bit PNG."
        )
    found = by_stem(path for path in files if path.suffix.lower() == ".png")
    if not found:
        raise BirdlabError(f"{pictures}: holds no PNG files. Set data.root to a folder that does.")
    return found


def _cut(picture: NDArray[np.uint8], sample: ImageSample) -> NDArray[np.uint8]:
    """The sample's columns, padded with 0 at the end where there are fewer."""
    if sample.columns is None:
        return np.ascontiguousarray(picture)
    window = picture[:, sample.start : sample.start + sample.columns]
    return np.pad(window, ((0, 0), (0, sample.columns - window.shape[1])))


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
