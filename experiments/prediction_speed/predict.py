"""How many times faster than real time ``birdlab.predict`` is, with everything written, and its peak memory.

    python experiments/prediction_speed/predict.py RUN [--recording FILE] [--hours 1 10]

A ten-minute recording (the given one again and again, or synthetic scenes) is predicted by the command as a
user gives it, on one core and on two, in turns; the figure is the fastest of several, process start included.
Then long recordings, with tables and denoised audio: their peak memory must be the same.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from birdlab.audio import io
from birdlab.data.synthesis.scene import SAMPLE_RATE, Recipe, scene
from birdlab.files import replacing

RESULTS = Path(__file__).with_suffix(".csv")
REPEATS = 3
MINUTE = 60


def blocks(recording: Path | None, seconds: float) -> Iterator[np.ndarray]:
    """Audio of so many seconds at 32 kHz."""
    given = io.read(recording, SAMPLE_RATE) if recording else None
    left = round(seconds * SAMPLE_RATE)
    number = 0
    made = [
        scene(Recipe(), seed=0, split="test", index=index).audio for index in range(0 if recording else 20)
    ]
    while left > 0:
        block = given if given is not None else made[number % len(made)]
        yield block[:left]
        left -= len(block)
        number += 1


def written(path: Path, recording: Path | None, seconds: float) -> Path:
    """A FLAC file of so many seconds."""
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for block in blocks(recording, seconds):
            file.write(block)
    return path


def measured(run: Path, audio: Path, cores: set[int], *switches: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory (GB) of one prediction."""
    with tempfile.TemporaryDirectory() as output:
        words = [sys.executable, "-m", "birdlab.predict", str(run), str(audio), "--output", output, *switches]
        begin = time.perf_counter()
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cores)
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
    if status:
        sys.exit(f"{' '.join(words)} failed")
    unit = 1 if sys.platform == "darwin" else 1024
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--recording", type=Path)
    parser.add_argument("--hours", type=float, nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    given = parser.parse_args()
    available = sorted(os.sched_getaffinity(0))
    rows: list[dict[str, object]] = []

    def add(what: str, cores: int, seconds: float, figures: tuple[float, float, float]) -> None:
        wall, cpu, memory = figures
        row = {
            "what": what,
            "cores": cores,
            "audio_s": seconds,
            "wall_s": round(wall, 2),
            "cpu_s": round(cpu, 2),
            "times_real_time": round(seconds / wall, 1),
            "times_real_time_per_cpu_second": round(seconds / cpu, 1),
            "peak_gb": round(memory, 3),
        }
        rows.append(row)
        print(row, flush=True)

    everything = ["--mask", "--overlay", "--denoised", "--page", "--table", "raven", "--table", "csv"]
    with tempfile.TemporaryDirectory() as folder:
        start = written(Path(folder) / "start.flac", given.recording, 1.0)
        ten = written(Path(folder) / "ten.flac", given.recording, 10 * MINUTE)
        for cores in (1, 2)[: len(available)]:
            chosen = set(available[:cores])
            add(
                "one second (start of the process)",
                cores,
                1.0,
                measured(given.run, start, chosen, *everything),
            )
            runs = [measured(given.run, ten, chosen, *everything) for _ in range(given.repeats)]
            add("ten minutes, everything", cores, 600.0, min(runs))
        for hours in given.hours:
            long = written(Path(folder) / "long.flac", given.recording, hours * 60 * MINUTE)
            figures = measured(given.run, long, set(available[:2]), "--no-page")
            add(f"{hours:g} hours, table and denoised", min(2, len(available)), hours * 3600, figures)
    with replacing(RESULTS) as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
