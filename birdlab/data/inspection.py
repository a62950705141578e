"""How long recordings last and which can't be used: looked up once for each file, remembered after that."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from birdlab import __version__
from birdlab.bars import counting
from birdlab.cores import cpu_count
from birdlab.data.cache import default_directory
from birdlab.data.threads import in_spite_of_others
from birdlab.errors import BirdlabError
from birdlab.files import write_json

Finding = float | str
"""Seconds, or what is wrong with the file."""

_WORTH_KEEPING = 500
"""Reading so many headers takes half a second; below that nothing is written."""


def inspected(files: Sequence[Path], measure: Callable[[Path], float], method: str) -> dict[Path, Finding]:
    """What ``measure`` finds for each file.

    Seconds are kept in the cache folder, by path, size and modification time; only new and changed files are
    looked at, and those that couldn't be used.

    Args:
        files: recordings or precomputed spectrograms.
        measure: the seconds of one; raises BirdlabError for what can't be used.
        method: names what is measured: another method has its own findings.
    """
    together = os.path.commonpath([file.absolute() for file in files]) if files else ""
    key = hashlib.sha256(f"{__version__}\n{method}\n{together}".encode()).hexdigest()[:24]
    index = default_directory() / f"inspection-{key}.json"
    known = _read(index)
    stamps = {file: _stamp(file) for file in files}
    found = {file: known[str(file)][1] for file in files if known.get(str(file), ("",))[0] == stamps[file]}
    missing = [file for file in files if file not in found]
    if not missing:
        return found

    def look(file: Path) -> Finding:
        try:
            return in_spite_of_others(measure, file)
        except BirdlabError as error:
            return str(error)

    with ThreadPoolExecutor(cpu_count()) as pool, counting() as progress:
        task = progress.add_task("Looking at the recordings, once", total=len(missing))
        for file, finding in zip(missing, pool.map(look, missing), strict=True):
            found[file] = finding
            progress.advance(task)
    if len(files) >= _WORTH_KEEPING:
        # What is wrong with a file may be mended without a trace in its size and time, such as permissions.
        usable = [file for file in files if isinstance(found[file], float | int)]
        kept = {str(file): [stamps[file], found[file]] for file in usable}
        with suppress(OSError):  # where nothing can be written, the next run looks again
            write_json(index, known | kept)
    return found


def _read(index: Path) -> dict[str, tuple[str, Finding]]:
    try:
        return {file: (stamp, finding) for file, (stamp, finding) in json.loads(index.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # not there, or damaged: it is made again


def _stamp(file: Path) -> str:
    try:
        status = file.stat()
    except OSError:  # a link to nowhere, of which `measure` will say so
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"
