"""How fast, and in how much memory, do samples reach the network?

Run by ``make benchmark``; writes ``data_loading.csv`` beside itself. Two questions:

1. Samples per second from birdlab's cache, against decoding and resizing the PNG files in every epoch as
   notebooks on this data set do, both through a DataLoader with one worker, without augmentation, in turns.
2. The peak memory of decoding a data set once and of one epoch over it, at two sizes of data set.

The files are of the official size (1024 x 3000), a few distinct ones under many names.
"""

import csv
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize, to_tensor

from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.folders import ImageFolders
from birdlab.data.segmentation import SegmentationData

RESULTS = Path(__file__).with_suffix(".csv")
SIZE = (1024, 3000)
BATCH = 16
DISTINCT = 16

Measurement = tuple[str, int, float, str]
"""What, of how many images, the value, its unit."""

app = typer.Typer(add_completion=False)


def write_files(root: Path, number: int) -> None:
    """A training split of noise with louder patches, smooth from row to row as the published images are."""
    rng = np.random.default_rng(0)
    front_end = Spectrogram()
    for folder in ("Images", "Masks"):
        (root / "Training" / folder).mkdir(parents=True)
    for index in range(number):
        image, mask = (root / "Training" / folder / f"{index:05d}.png" for folder in ("Images", "Masks"))
        if index >= DISTINCT:
            for path in (image, mask):
                os.link(path.with_stem(f"{index % DISTINCT:05d}"), path)
            continue
        calls = np.zeros(SIZE, np.uint8)
        for row, column in rng.integers(0, (900, 2800), (5, 2)):
            calls[row : row + 60, column : column + 150] = 255
        audio = torch.from_numpy(rng.normal(0, 0.01, (2, front_end.samples(SIZE[1])))).float()
        faint, loud = front_end.image(audio * torch.tensor([[1.0], [5.0]])).numpy()
        cv2.imwrite(str(image), np.where(calls, loud, faint))
        cv2.imwrite(str(mask), calls)


class EveryEpoch(Dataset[tuple[Tensor, Tensor]]):
    """The files opened, resized and converted whenever they are asked for."""

    def __init__(self, root: Path) -> None:
        self.images = sorted((root / "Training" / "Images").iterdir())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        path = self.images[index]
        image = Image.open(path).convert("L")
        mask = Image.open(path.parents[1] / "Masks" / path.name).convert("L")
        return (
            to_tensor(resize(image, [128, 128], InterpolationMode.BILINEAR)),
            to_tensor(resize(mask, [128, 128], InterpolationMode.NEAREST)),
        )


def from_files(root: Path) -> Iterator[Tensor]:
    """Endless batches of images decoded each time, by one worker."""
    loader = DataLoader(EveryEpoch(root), BATCH, shuffle=True, num_workers=1, persistent_workers=True)
    while True:
        for image, _ in loader:
            yield image


def from_cache(root: Path, workers: int) -> Iterator[Tensor]:
    """Endless batches from birdlab, to float as they would be on the device."""
    data = SegmentationData(ImageFolders(root=root), None, BATCH, workers, root.parent / "cache")
    loader = data.train_dataloader()
    while True:
        for batch in loader:
            yield batch["image"].unsqueeze(1).float().div_(255)


def samples_per_second(batches: Iterator[Tensor], seconds: float) -> float:
    """Measured over whole batches, for so long at least."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += len(next(batches))
    return count / (time.perf_counter() - start)


def speed(root: Path, number: int, rounds: int, seconds: float) -> list[Measurement]:
    """Samples per second each way: medians over rounds taken in turns, so that other load slows all alike."""
    sources = {
        "decoding every epoch, 1 worker": from_files(root),
        "cache, 1 worker": from_cache(root, 1),
        "cache, in process": from_cache(root, 0),
    }
    for batches in sources.values():
        samples_per_second(batches, 1)  # starts the workers and fills what they prefetch
    rates: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(rounds):
        for name, batches in sources.items():
            samples_per_second(batches, 0)  # what was prefetched while the others ran is not counted
            rates[name].append(samples_per_second(batches, seconds))
    decoding, cached, _ = rates.values()
    ratio = statistics.median(fast / slow for fast, slow in zip(cached, decoding, strict=True))
    results = [(name, number, statistics.median(rate), "samples/s") for name, rate in rates.items()]
    return [*results, ("cache against decoding, 1 worker each", number, ratio, "ratio")]


def peak_memory(who: int) -> float:
    """MB at the highest, of this process or of its largest child; pages they share are counted in each."""
    return resource.getrusage(who).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


@app.command()
def build(root: Path) -> None:
    """Decode the data set below ROOT into the cache, and print the peak memory."""
    SegmentationData(ImageFolders(root=root), None, BATCH, "auto", root.parent / "cache").arrays("train")
    print(peak_memory(resource.RUSAGE_SELF))


@app.command()
def epoch(root: Path) -> None:
    """Go once through the cached data set below ROOT with one worker, and print the peak memory of both."""
    data = SegmentationData(ImageFolders(root=root), None, BATCH, 1, root.parent / "cache")
    for _ in (loader := data.train_dataloader()):
        pass
    loader._iterator = None  # ends the worker: the memory of children is known once they have ended
    print(peak_memory(resource.RUSAGE_SELF) + peak_memory(resource.RUSAGE_CHILDREN))


def measured(command: Callable[[Path], None], root: Path) -> tuple[float, float]:
    """The peak memory that a command prints, in a fresh process, and its seconds."""
    start = time.perf_counter()
    printed = subprocess.run(
        [sys.executable, __file__, command.__name__, str(root)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return float(printed.split()[-1]), time.perf_counter() - start


def processor() -> str:
    """The name of the CPU, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@app.command()
def main(
    small: Annotated[int, typer.Option(help="Images of the small data set.")] = 1_000,
    large: Annotated[int, typer.Option(help="Images of the large data set.")] = 10_000,
    rounds: Annotated[int, typer.Option(help="Of the speed measurement.")] = 3,
    seconds: Annotated[float, typer.Option(help="Each way and round.")] = 10.0,
) -> None:
    """Measure, print a table, and write data_loading.csv."""
    torch.set_num_threads(1)  # the main process stands for the device, which has its own
    results: list[Measurement] = []
    for number in (small, large):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "data"
            write_files(root, number)
            memory, took = measured(build, root)
            results += [
                ("decoding once, all cores, start-up included", number, number / took, "samples/s"),
                ("peak memory of decoding once", number, memory, "MB"),
                ("peak memory of an epoch, 1 worker", number, measured(epoch, root)[0], "MB"),
            ]
            if number == small:
                results += speed(root, number, rounds, seconds)

    table = Table("measurement", "images", "value", "unit")
    machine = [processor(), len(os.sched_getaffinity(0)), torch.__version__, platform.python_version()]
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["measurement", "images", "value", "unit", "cpu", "cores", "torch", "python"])
        for name, number, value, unit in results:
            rows.writerow([name, number, f"{value:.4g}", unit, *machine])
            table.add_row(name, str(number), f"{value:.4g}", unit)
    Console().print(table)


if __name__ == "__main__":
    app()
