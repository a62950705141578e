"""``python -m birdlab.speed RUN...``: how many times faster than real time networks are here."""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track

from birdlab.allocator import keep_freed_memory
from birdlab.cores import cpu_count
from birdlab.errors import command
from birdlab.options import Trust
from birdlab.prediction.naming import Namer, stretches
from birdlab.prediction.network import Network
from birdlab.prediction.opening import open_any
from birdlab.prediction.run_network import RunNetwork
from birdlab.prediction.run_species import RunNamer
from birdlab.prediction.stream import Audio, stitched
from birdlab.run import Run, device_name

REPEATS = 3
"""The fastest counts: whatever else the computer does can only slow it down."""
_PLACES = {
    "real_time_1_core": ("one core", "cpu", 1),
    "real_time_2_cores": ("two cores", "cpu", 2),
    "real_time_gpu": ("the GPU", "cuda", 2),
}
"""Where each of `birdlab.reporting.tables.SPEEDS` is measured, in words and for torch, how much at once."""
_BLOCK_S = 10.0
_WARM_UP_S = 20.0


def times_real_time(network: Network | Namer, seconds: float, cores: int) -> float:
    """Seconds of audio that a network hears in a second: samples to probabilities, without files.

    Args:
        network: opened with one thread.
        seconds: of the audio, which is noise.
        cores: batches, or stretches of a network that names species, at once.
    """
    rate = network.sample_rate if isinstance(network, Namer) else network.grid.sample_rate
    block = np.random.default_rng(0).normal(0, 0.1, round(_BLOCK_S * rate)).astype(np.float32)
    blocks = [block] * max(1, round(seconds / _BLOCK_S))

    def heard(blocks: Sequence[Audio]) -> float:
        begin = time.perf_counter()
        if isinstance(network, Namer):
            with ThreadPoolExecutor(cores) as pool:
                deque(pool.map(network.scores, (audio for _, audio in stretches(blocks, network))), maxlen=0)
        else:
            deque(stitched(network, iter(blocks), cores), maxlen=0)
        return len(blocks) * _BLOCK_S / (time.perf_counter() - begin)

    heard(blocks[: round(_WARM_UP_S / _BLOCK_S)])
    return max(heard(blocks) for _ in range(REPEATS))


app = typer.Typer(add_completion=False)


@app.command()
def main(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or files that birdlab.export wrote.")],
    minutes: Annotated[float, typer.Option(min=1.0, help="Of audio, three times for each figure.")] = 2.0,
    trust: Trust = False,
) -> None:
    """Measure; what is found of a run is kept there, for its report and its model card."""
    keep_freed_memory()
    with command():
        console = Console(soft_wrap=True, highlight=False)
        for path in track(runs, "Listening to noise", console=Console(stderr=True), transient=True):
            network = open_any(path, trust=trust, threads=1)
            found = measured(network, 60 * minutes)
            # One figure may be of another machine than the next, and both of another than the training.
            devices = {f"{name}_device": device_name(_PLACES[name][1]) for name in found}
            if path.is_dir():
                Run.open(path).note(**found, **devices)
            said = ", ".join(f"{factor:.3g} on {_PLACES[name][0]}" for name, factor in found.items())
            console.print(f"{path}: times real time: {said} ({'; '.join(dict.fromkeys(devices.values()))}).")


def measured(network: Network | Namer, seconds: float) -> dict[str, float]:
    """`times_real_time` by the name of its fact: on one core, on two, and on a GPU where there is one."""
    # A file's network is onnxruntime's, which has the CPU alone.
    gpu = torch.cuda.is_available() and isinstance(network, RunNetwork | RunNamer)
    room = {"cpu": cpu_count(), "cuda": 2 if gpu else 0}
    return {
        name: round(times_real_time(_on(device, network), seconds, at_once), 1)
        for name, (_, device, at_once) in _PLACES.items()
        if at_once <= room[device]
    }


def _on(device: str, network: Network | Namer) -> Network | Namer:
    """A run's network on another device."""
    if not isinstance(network, RunNetwork | RunNamer):
        return network
    network.task.to(device)
    return replace(network)  # which makes its tables anew: those that it has lie where it was first used


if __name__ == "__main__":
    app()
