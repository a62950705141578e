"""A data set of random arrays in .npy files; a module of its own, so that worker processes can import it."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from birdlab.data.source import Image, Mask, Sample, SegmentationSource, Split
from birdlab.errors import BirdlabError


@dataclass(frozen=True, kw_only=True)
class ToySource(SegmentationSource):
    """Files of a folder, by split.

    Reading lists the sample in the file ``reads``, and halts from sample 010 on while a file ``wait`` exists.
    """

    root: Path
    image_size: tuple[int, int] = (16, 16)
    gain: int = 1

    def splits(self) -> dict[Split, list[Sample]]:
        return {split: self._samples(split) for split in ("train", "val", "test")}

    def _samples(self, split: str) -> list[Sample]:
        files = sorted((self.root / split).glob("*.npy"))
        return [Sample(id=f"{split}-{file.stem}", group=file.stem, files=(file,)) for file in files]

    def read(self, sample: Sample) -> tuple[Image, Mask]:
        (file,) = sample.files
        while (self.root / "wait").exists() and file.stem >= "010":
            (self.root / "waiting").touch()
            time.sleep(0.01)
        with (self.root / "reads").open("a") as log:
            log.write(f"{sample.id}\n")
        try:
            image = np.load(file)
        except ValueError as error:
            raise BirdlabError(f"{file}: not an image.") from error
        return image * np.uint8(self.gain), (image > 128).astype(np.uint8)


def toy_files(root: Path, *, size: tuple[int, int] = (20, 30), **numbers: int) -> None:
    """Write so many files of each split."""
    for split, number in numbers.items():
        (root / split).mkdir(parents=True)
        for index in range(number):
            image = np.random.default_rng((len(split), index)).integers(0, 256, size, np.uint8)
            np.save(root / split / f"{index:03d}.npy", image)
