"""Synthetic files made once, whoever asks: by one process at a time, in parallel, and the cost said first."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from rich.console import Console

from birdlab.bars import counting
from birdlab.cores import cpu_count
from birdlab.errors import BirdlabError
from birdlab.files import write_text
from birdlab.parallel import mapped

Item = TypeVar("Item")

_PROBED = 4
_SPARE_BYTES = 50_000_000
_START_S = 2.5
"""Seconds to start a process; it should have as much to do."""


def produce(
    folder: Path,
    parameters: Mapping[str, object],
    missing: Callable[[], list[Item]],
    write: Callable[[Item], int],
    what: str,
    finish: Callable[[], None] | None = None,
) -> None:
    """Write what is missing in a folder, and say first what it will cost.

    Any number of processes may ask at once: one writes, the others wait. What a killed one left undone is
    made good.

    Args:
        folder: of the files, which lie two folders deep.
        parameters: all that decides what the files hold; written to ``parameters.json``.
        missing: what has not been written yet.
        write: makes one and returns its bytes; importable by name, as a method of a dataclass is.
        what: for messages, e.g. ``synthetic scenes``.
        finish: called when all is there.

    Raises:
        BirdlabError: if there is no room, or the folder cannot be written.
    """
    if not missing():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if items := missing():
                for leftover in folder.glob("*/*/.*"):
                    leftover.unlink()
                write_text(folder / "parameters.json", json.dumps(parameters, indent=2) + "\n")
                _write_all(folder, items, write, what)
                if finish is not None:
                    finish()
    except OSError as error:
        raise BirdlabError(
            f"{folder}: {what} cannot be written ({error.strerror}). Make room, or set data.root to a folder "
            "where there is some. What has been written stays."
        ) from error


def _write_all(folder: Path, items: list[Item], write: Callable[[Item], int], what: str) -> None:
    begin = time.perf_counter()
    probed = [write(each) for each in items[:_PROBED]]
    seconds = (time.perf_counter() - begin) / len(probed)
    rest = items[len(probed) :]
    if not rest:
        return
    workers = max(1, min(cpu_count(), round(len(rest) * seconds / _START_S)))
    needed = round(len(rest) * sum(probed) / len(probed))
    _check_room(folder, needed, what)

    Console(stderr=True).print(
        f"Writing {len(items)} {what} to {folder}: {_megabytes(needed)}, about "
        f"{max(1, round(len(rest) * seconds / workers))} s on {workers} "
        f"{'process' if workers == 1 else 'processes'}.",
        soft_wrap=True,
    )
    with counting() as progress:
        task = progress.add_task("Synthesis", total=len(items), completed=len(probed))
        for _ in mapped(write, rest, workers, f"making {what}"):
            progress.advance(task)


def _check_room(folder: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise BirdlabError(
            f"{folder}: the {what} need {_megabytes(needed)}, and {_megabytes(free)} are free. Make room, "
            "set data.root to a folder on a larger disk, or ask for fewer with data.n_train, data.n_val "
            "and data.n_test."
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
