"""How many times faster than real time ``birdlab.predict`` is, with everything written, and its peak memory.

    python experiments/prediction_speed/predict.py RUN [--recording FILE]
    python experiments/prediction_speed/predict.py RUN --hours 1 10 --repeats 0
    python experiments/prediction_speed/predict.py RUN --hours 24 --repeats 0 --networks onnxruntime

A ten-minute recording (the given one again and again, or synthetic scenes) is predicted by the command as a
user gives it, from the run (torch) and from its exported file (onnxruntime), and treated by other tools, on
one core and on two, in turns; the figure is the fastest of several, process start included. What they do
differs: noisereduce cleans sound and finds nothing, scikit-maad finds regions and cleans nothing. Long
recordings are of 48 kHz, and get tables and denoised audio: their peak memory must be the same. Rows of
predict.csv that are measured again are replaced, others stay.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from birdlab.audio import io
from birdlab.data.synthesis.scene import SAMPLE_RATE, Recipe, scene
from birdlab.export import export
from birdlab.files import write_csv
from birdlab.run import environment

HERE = Path(__file__).parent
PEERS = {
    "energy": "energy threshold: table, denoised",
    "noisereduce": "noisereduce, stationary: denoised",
    "noisereduce-nonstationary": "noisereduce, non-stationary: denoised",
    "maad": "scikit-maad: regions of interest",
}
LAUNCHER = """
import os, subprocess, sys, time
begin = time.perf_counter()
os.sched_setaffinity(0, map(int, sys.argv[1].split(",")))
process = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(status != 0)
"""
"""A process begins with the peak memory of the one that starts it, so that this one must be small."""

LONG_RATE = 48_000
EVERYTHING = ("--mask", "--overlay", "--denoised", "--page", "--table", "raven", "--table", "csv")


def blocks(recording: Path | None, seconds: float, rate: int) -> Iterator[np.ndarray]:
    """Audio of so many seconds."""
    if recording is not None:
        made = [io.read(recording, rate)]
    else:
        scenes = (scene(Recipe(), seed=0, split="test", index=index).audio for index in range(20))
        made = [soxr.resample(audio, SAMPLE_RATE, rate) for audio in scenes]
    left, number = round(seconds * rate), 0
    while left > 0:
        block = made[number % len(made)][:left]
        yield block
        left -= len(block)
        number += 1


def written(path: Path, recording: Path | None, seconds: float, rate: int = SAMPLE_RATE) -> Path:
    """A FLAC file of so many seconds."""
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        for block in blocks(recording, seconds, rate):
            file.write(block)
    return path


def measured(words: Sequence[str], cores: Sequence[int]) -> tuple[float, float, float] | None:
    """Wall seconds, CPU seconds and peak memory (GB) of a command on some cores; None if it failed."""
    light = [sys.executable, "-S", "-c", LAUNCHER, ",".join(map(str, cores)), sys.executable, *words]
    launched = subprocess.run(light, stdout=subprocess.PIPE, text=True)
    if launched.returncode:
        print(f"{' '.join(words)} failed", file=sys.stderr)
        return None
    wall, cpu, memory = map(float, launched.stdout.split())
    return wall, cpu, memory * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--recording", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--hours", type=float, nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=["torch", "onnxruntime"])
    parser.add_argument("--output", type=Path, default=HERE, help="folder of predict.csv")
    given = parser.parse_args()
    available = sorted(os.sched_getaffinity(0))
    device = environment()["device"]
    table = given.output / "predict.csv"
    rows: dict[tuple[str, str], dict[str, object]] = {}
    if table.exists():
        with table.open(newline="") as file:
            rows = {(row["what"], row["cores"]): dict(row) for row in csv.DictReader(file)}

    def add(what: str, cores: int, seconds: float, figures: tuple[float, float, float]) -> None:
        wall, cpu, memory = figures
        row = {
            "what": what,
            "device": device,
            "cores": cores,
            "audio_s": seconds,
            "wall_s": round(wall, 2),
            "cpu_s": round(cpu, 2),
            "times_real_time": round(seconds / wall, 1),
            "peak_gb": round(memory, 2),
        }
        rows[what, str(cores)] = row
        print(row, flush=True)
        # Whatever happens next, what is measured is kept.
        write_csv(table, list(rows.values()))

    def command(network: Path, audio: Path, output: str, *switches: str) -> list[str]:
        return ["-m", "birdlab.predict", str(network), str(audio), "--output", f"{output}/made", *switches]

    with tempfile.TemporaryDirectory() as folder:
        exported = export(given.run, Path(folder) / "model.onnx").path
        networks = {"torch": given.run, "onnxruntime": exported}
        networks = {name: networks[name] for name in given.networks}
        start = written(Path(folder) / "start.flac", given.recording, 1.0)
        audio = written(Path(folder) / "audio.flac", given.recording, given.minutes * 60)
        for cores in (1, 2)[: len(available)] if given.repeats else ():
            chosen = available[:cores]
            runs: dict[tuple[str, float], list[tuple[float, float, float]]] = {}
            for _ in range(given.repeats):
                jobs = {
                    **{(f"birdlab, {name}: start", 1.0): (path, start) for name, path in networks.items()},
                    **{
                        (f"birdlab, {name}: everything", given.minutes * 60): (path, audio)
                        for name, path in networks.items()
                    },
                }
                for what, (path, recording) in jobs.items():
                    with tempfile.TemporaryDirectory() as output:
                        figures = measured(command(path, recording, output, *EVERYTHING), chosen)
                    runs.setdefault(what, []).extend([figures] if figures else [])
                for name, described in PEERS.items():
                    with tempfile.TemporaryDirectory() as output:
                        figures = measured([str(HERE / "peers.py"), name, str(audio), output], chosen)
                    runs.setdefault((described, given.minutes * 60), []).extend([figures] if figures else [])
            for (what, seconds), each in runs.items():
                if each:
                    add(what, cores, seconds, min(each))
        for hours in given.hours:
            long = written(Path(folder) / "long.flac", given.recording, hours * 3600, LONG_RATE)
            for name, path in networks.items():
                with tempfile.TemporaryDirectory() as output:
                    figures = measured(command(path, long, output, "--no-page"), available[:2])
                if figures:
                    what = f"birdlab, {name}: {hours:g} h of 48 kHz, table and denoised"
                    add(what, min(2, len(available)), hours * 3600, figures)


if __name__ == "__main__":
    main()
