"""How fast do recordings become stacks of mel levels?

Run by ``make benchmark``; writes ``species_loading.csv`` beside itself. Recordings per second on one core,
each way in turns, of Ogg files of several lengths, of which ten seconds become ten segments:

1. birdlab: the middle is decoded, its mel levels computed, cut and rounded, as the cache is filled;
2. librosa, one recording at a time: ``load``, trim, ``melspectrogram``, ``power_to_db``, cut;
3. what both need at the least: libsndfile seeks, and decodes the ten seconds;
4. the mel levels alone, both ways, of audio in memory;
5. birdlab's batches from the cache, as in every epoch but the first.
"""

import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import librosa
import numpy as np
import soundfile
import torch
import typer
from data_loading import processor
from rich.console import Console
from rich.table import Table

from birdlab.audio import io
from birdlab.data.birdclef import BirdCLEF
from birdlab.data.classification import ClassificationData
from birdlab.data.source import Sample
from birdlab.data.synthesis.backgrounds import background

RESULTS = Path(__file__).with_suffix(".csv")
RATE = 32_000
SPECIES = 4
BATCH = 16
LENGTHS_S = (10.0, 30.0, 60.0, 120.0)
OURS, LIBROSA, CACHE = "birdlab: decode and mel", "librosa: decode and mel", "birdlab: from the cache"


def write_files(root: Path, number: int, seconds: float) -> None:
    """Noise of the synthetic kind in the layout of BirdCLEF, all files of one length."""
    rng = np.random.default_rng(0)
    lines = ["primary_label,filename"]
    for index in range(number):
        species = f"species{index % SPECIES}"
        audio = background(rng, round(RATE * seconds), RATE)
        file = root / "train_short_audio" / species / f"XC{100 * index + 1000}.ogg"
        io.write(file, (audio * np.float32(0.5 / np.abs(audio).max())), RATE)
        lines.append(f"{species},{file.name}")
    (root / "train_metadata.csv").write_text("\n".join(lines) + "\n")


def by_librosa(source: BirdCLEF, path: Path) -> np.ndarray:
    """What `BirdCLEF.decode` returns, as a notebook does it."""
    audio, _ = librosa.load(path, sr=source.sample_rate)
    return cut(source, mel_by_librosa(source, middle(source, audio)))


def middle(source: BirdCLEF, audio: np.ndarray) -> np.ndarray:
    """As much audio as a stack spans, from the middle."""
    first = max(0, len(audio) - source.samples_in_stack) // 2
    return audio[first : first + source.samples_in_stack]


def mel_by_librosa(source: BirdCLEF, audio: np.ndarray) -> np.ndarray:
    """Mel levels [M, t]."""
    power = librosa.feature.melspectrogram(
        y=audio,
        sr=source.sample_rate,
        n_fft=source.n_fft,
        hop_length=source.hop,
        n_mels=source.n_mels,
        fmin=source.fmin,
        fmax=source.fmax,
    )
    return librosa.power_to_db(power, top_db=None)


def cut(source: BirdCLEF, levels: np.ndarray) -> np.ndarray:
    """Into segments [S, M, T]."""
    return source.stacked(levels[:, : source.segments * source.frames])


def endlessly(
    items: list[Path] | list[Sample] | list[np.ndarray], work: Callable[..., object]
) -> Iterator[int]:
    """Works on one item after the other; yields how many recordings that was."""
    while True:
        for item in items:
            work(item)
            yield 1


def batches(data: ClassificationData) -> Iterator[int]:
    """Endless batches from the cache."""
    loader = data.train_dataloader()
    while True:
        for batch in loader:
            yield len(batch["stack"])


def per_second(work: Iterator[int], seconds: float) -> float:
    """Recordings per second, for so long at least."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += next(work)
    return count / (time.perf_counter() - start)


def decode_alone(source: BirdCLEF, path: Path) -> np.ndarray:
    """The middle of a file, by libsndfile: the floor under both."""
    with soundfile.SoundFile(path) as file:
        file.seek(max(0, file.frames - source.samples_in_stack) // 2)
        return file.read(source.samples_in_stack, dtype="float32")


def measured(root: Path, number: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Rates of each way, in every round."""
    source = BirdCLEF(root=root, species=SPECIES, segment_s=1.0, fractions=(1.0, 0.0, 0.0))
    data = ClassificationData(source, None, BATCH, 0, root.parent / "cache")
    samples = data.samples("train")
    files = [sample.files[0] for sample in samples]
    audio = [middle(source, io.read(file)) for file in files]
    ways = {
        OURS: endlessly(samples, source.decode),
        LIBROSA: endlessly(files, lambda path: by_librosa(source, path)),
        "libsndfile: decode ten seconds": endlessly(files, lambda path: decode_alone(source, path)),
        "birdlab: mel alone": endlessly(audio, source.levels_of),
        "librosa: mel alone": endlessly(audio, lambda one: mel_by_librosa(source, one)),
        CACHE: batches(data),
    }
    for work in ways.values():
        per_second(work, 0.5)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            rates[name].append(per_second(work, seconds))
    return rates


def main(
    number: Annotated[int, typer.Option(help="Recordings of each length.")] = 16,
    rounds: Annotated[int, typer.Option(help="Each way is measured so often.")] = 3,
    seconds: Annotated[float, typer.Option(help="Each way and round.")] = 3.0,
    write: Annotated[bool, typer.Option(help="Write species_loading.csv.")] = True,
) -> None:
    """Measure on one core, print a table, and write species_loading.csv."""
    torch.set_num_threads(1)
    results: list[tuple[float, str, float, str]] = []
    for length in LENGTHS_S:
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder) / "data", number, length)
            rates = measured(Path(folder) / "data", number, rounds, seconds)
        results += [(length, name, statistics.median(rate), "recordings/s") for name, rate in rates.items()]
        for fast, slow in ((OURS, LIBROSA), ("birdlab: mel alone", "librosa: mel alone"), (CACHE, LIBROSA)):
            pairs = zip(rates[fast], rates[slow], strict=True)
            results.append((length, f"{fast} / {slow}", statistics.median(a / b for a, b in pairs), "ratio"))
    table = Table("seconds", "measurement", "value", "unit")
    for length, name, value, unit in results:
        table.add_row(f"{length:g}", name, f"{value:.4g}", unit)
    Console().print(table)
    if write:
        with RESULTS.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            columns = ["seconds", "measurement", "value", "unit", "measured_s", "rounds", "cpu", "cores"]
            rows.writerow([*columns, "torch", "librosa"])
            how = [f"{seconds:g}", rounds]
            machine = [processor(), len(os.sched_getaffinity(0)), torch.__version__, librosa.__version__]
            rows.writerows(
                [f"{length:g}", name, f"{value:.4g}", unit, *how, *machine]
                for length, name, value, unit in results
            )


if __name__ == "__main__":
    typer.run(main)
