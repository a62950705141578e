"""Images per second and peak memory of the segmentation networks, in float32 and bf16, eager and compiled.

A training step is the task's: images as bytes, the study's loss and Adam, on one random batch that is in
memory already. Each measurement has a process of its own, since peak memory is a process's and compiled code
stays.
Those that ``networks.csv`` has already are not repeated: delete rows, or the file, to measure again.

    python experiments/training_speed/networks.py [--device cpu] [--steps 12]
"""

import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from birdlab.allocator import keep_freed_memory
from birdlab.build import build_task
from birdlab.config import compose
from birdlab.files import write_csv
from birdlab.precision import AUTOCAST
from birdlab.run import environment

RESULTS = Path(__file__).with_suffix(".csv")
STUDIES = {
    "resunet": "focal_tversky",
    "unet": "unet_cross_entropy",
    "segnet": "unet_cross_entropy",
    "deeplabv3plus": "focal_tversky",
    "efficientnet_unet": "focal_tversky",
    "resnet34_decoder": "resnet34_bce",
}
"""Networks, each with the loss, image size and channels of a study."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        network: a name from conf/model.
        precision: ``32-true`` or ``bf16-mixed``.
        compiled: by ``torch.compile``.
        batch: images of a step.
        accumulated: parts that a step's batch is computed in, one after the other.
        size: rows and columns of an image; None is the study's.
    """

    network: str
    precision: str
    compiled: bool
    batch: int = 16
    accumulated: int = 1
    size: int | None = None


def cases() -> Iterator[Case]:
    """All that are to be measured, the cheap ones first."""
    for network, compiled, precision in product(STUDIES, (False, True), ("32-true", "bf16-mixed")):
        yield Case(network, precision, compiled)
    # The same batch in parts: less memory, and batch norm that sees four images at a time.
    yield Case("resnet34_decoder", "32-true", False, accumulated=4)


def measure(case: Case, device: str, steps: int, warm_up: int) -> dict[str, Any]:
    """Train a few steps in this process.

    Returns:
        ``images_per_s`` (median step), ``first_step_s`` (with whatever is compiled or chosen in it), and
        ``peak_memory_gb``: on a GPU what tensors took, on a CPU the process as a whole, of which
        ``before_memory_gb`` was taken before the network was built.
    """
    keep_freed_memory()
    words = [f"+experiment={STUDIES[case.network]}", f"model={case.network}", "memory_format=channels_last"]
    words += [f"trainer.precision={case.precision}"]
    words += ["model.weights=null"] if case.network == "resnet34_decoder" else []
    words += [f"data.image_size=[{case.size},{case.size}]"] if case.size else []
    cfg = compose(words)
    part = case.batch // case.accumulated
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(
        0, 256, (case.accumulated, part, *cfg.data.image_size), dtype=torch.uint8, generator=draw
    )
    masks = (images > 240).to(torch.uint8)
    before = _peak_memory_gb("cpu")

    task = build_task(cfg).to(device).train()
    images, masks = images.to(device), masks.to(device)
    optimizer = task.optimizer(task.parameters())
    if case.compiled:
        task.net = torch.compile(task.net)
    dtype = AUTOCAST.get(case.precision)
    took = []
    for _ in range(warm_up + steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        for image, mask in zip(images, masks, strict=True):
            with torch.autocast(device, dtype=dtype) if dtype else nullcontext():
                loss = task.loss(task.logits(image), mask) / case.accumulated
            loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return {
        "images_per_s": round(case.batch / statistics.median(took[warm_up:]), 2),
        "first_step_s": round(took[0], 2),
        "peak_memory_gb": round(_peak_memory_gb(device), 2),
        "before_memory_gb": round(before, 2) if device == "cpu" else 0.0,
    }


def _peak_memory_gb(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


@app.command()
def main(
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; both by default, as far as they are here.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps that count.", min=1)] = 12,
    warm_up: Annotated[int, typer.Option(help="Steps before them.", min=1)] = 3,
    network: Annotated[str | None, typer.Option(help="This one only.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Rows and columns of an image, in place of the study's.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images of a step.")] = 16,
    output: Annotated[Path, typer.Option(help="The table.")] = RESULTS,
    case: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure what the table does not have yet, a process each; a measurement that fails says why."""
    if case is not None:
        assert device is not None
        print(json.dumps(measure(Case(**json.loads(case)), device, steps, warm_up)))
        return
    here = environment()
    devices = [device] if device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows = _read(output)
    for where, wanted in product(devices, cases()):
        one = Case(**asdict(wanted) | {"batch": batch, "size": size})
        if network not in (None, one.network):
            continue
        known = {
            "device": here["device"] if where == "cuda" else "cpu",
            "threads": here["cpu_threads"],
            "torch": here["versions"]["torch"],
            "steps": steps,
        }
        row = {key: str(value) for key, value in (known | asdict(one)).items()}
        if any(row.items() <= done.items() and not done["error"] for done in rows):
            continue
        rows = [done for done in rows if not row.items() <= done.items()]
        rows.append(row | _measured(one, where, steps, warm_up))
        write_csv(output, rows)
    table = Table(*rows[0]) if rows else Table()
    for done in rows:
        table.add_row(*done.values())
    Console(width=220).print(table)


def _measured(case: Case, device: str, steps: int, warm_up: int) -> dict[str, str]:
    words = [
        "--case",
        json.dumps(asdict(case)),
        "--device",
        device,
        "--steps",
        str(steps),
        "--warm-up",
        str(warm_up),
    ]
    # Compiled anew each time: a cache from the last one would make the first step look fast.
    environ = os.environ | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, env=environ)
    if done.returncode == 0:
        found = json.loads(done.stdout.strip().splitlines()[-1])
        return {key: str(value) for key, value in found.items()} | {"error": ""}
    said = done.stderr.strip().splitlines()[-1:] or [f"ended by signal {-done.returncode}"]
    empty = dict.fromkeys(("images_per_s", "first_step_s", "peak_memory_gb", "before_memory_gb"), "")
    return empty | {"error": said[0]}


def _read(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


if __name__ == "__main__":
    app()
