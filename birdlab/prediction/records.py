"""What was made of each file: so that finished files are skipped, and nothing of the user's is overwritten.

A record is written before a file's outputs (``started``) and after them (``finished``). Outputs that
no record knows are somebody else's, and so are those of a record that disagrees with what is asked for now.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

from birdlab import __version__
from birdlab.errors import BirdlabError
from birdlab.files import write_text
from birdlab.prediction.events import Event
from birdlab.prediction.inputs import Input

SCHEMA = 2
_SAMPLED = 1 << 16
"""Bytes of a file's beginning and end that tell it from another one of the same size, name and time."""


@dataclass(frozen=True)
class Record:
    """One file's.

    Attributes:
        source: the file's path.
        size, mtime_ns, digest: as it was when it was predicted.
        settings: all that decided what was made of it.
        finished: whether all outputs are there.
        version: of the birdlab that predicted it.
        outputs: paths below the output folder by kind: a table's name, ``mask``, ``masks`` (a folder), ...
        former: paths of what was made there before with other settings, and is not made any more.
        duration_s: of the recording.
        events: found in it.
    """

    source: str
    size: int
    mtime_ns: int
    digest: str
    settings: Mapping[str, Any]
    outputs: Mapping[str, str]
    finished: bool = False
    version: str = ""
    duration_s: float = 0.0
    events: Sequence[Event] = ()
    former: Sequence[str] = ()

    @classmethod
    def of(cls, path: Path, settings: Mapping[str, Any], outputs: Mapping[str, str]) -> "Record":
        """Before anything is made."""
        try:
            status, digest = path.stat(), _digest(path)
        except OSError as error:
            raise BirdlabError(f"{path}: cannot be read ({error.strerror}).") from error
        # As JSON will bring it back.
        plain = json.loads(json.dumps(settings))
        return cls(str(path), status.st_size, status.st_mtime_ns, digest, plain, outputs)

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """The record in a file; None where there is none, or none that this version understands."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("schema") != SCHEMA:
                return None
            rows = content.pop("events")
            return cls(**content, events=[Event(*[*row[:-1], _number(row[-1])]) for row in rows])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, path: Path) -> None:
        """Whole or not at all."""
        events = [(*astuple(event)[:-1], _plain(event.label_score)) for event in self.events]
        content = {"schema": SCHEMA} | asdict(replace(self, events=())) | {"events": events}
        write_text(path, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")

    def paths(self, output: Path) -> dict[str, Path]:
        """Its outputs in the output folder, by kind."""
        return {kind: output / name for kind, name in self.outputs.items()}

    def finish(self, path: Path, duration_s: float, events: Sequence[Event]) -> "Record":
        """The same once its outputs are there, as written."""
        finished = replace(self, finished=True, version=__version__, duration_s=duration_s, events=events)
        finished.write(path)
        return finished

    def after(self, earlier: "Record | None") -> "Record":
        """The same where an earlier record was, so that what that one made is still known as made."""
        if earlier is None:
            return self
        made = {*earlier.former, *earlier.outputs.values()} - set(self.outputs.values())
        return replace(self, former=sorted(made))

    def same(self, other: "Record") -> bool:
        """Whether both are of one file and one way of predicting it, even if it was moved meanwhile."""
        mine, its = ((r.size, r.mtime_ns, r.digest, r.settings, r.outputs) for r in (self, other))
        return mine == its and Path(self.source).name == Path(other.source).name


def _digest(path: Path) -> str:
    # Recorders that were started together write files of one name, size and time.
    with path.open("rb") as file:
        head = file.read(_SAMPLED)
        file.seek(max(0, path.stat().st_size - _SAMPLED))
        return hashlib.sha256(head + file.read(_SAMPLED)).hexdigest()[:16]


def _newest(path: Path) -> int:
    """When a file, or anything in a folder, was last changed."""
    within: Iterable[Path] = path.rglob("*") if path.is_dir() else ()
    return max(int(each.stat().st_mtime_ns) for each in (path, *within))


def _plain(score: float) -> float | None:
    """A label that nobody scored has NaN, which JSON doesn't know."""
    return None if math.isnan(score) else score


def _number(score: float | None) -> float:
    return math.nan if score is None else float(score)


@dataclass(frozen=True)
class Job:
    """A file that is to be predicted, and the record that it begins with."""

    input: Input
    record: Record


def _corrected(there: Record, output: Path, of: Input) -> list[Path]:
    """The outputs that somebody changed after the record was written."""
    written = (output / of.record).stat().st_mtime_ns
    paths = there.paths(output).values()
    return [path for path in paths if path.exists() and _newest(path) > written]


def _would_be_the_same(there: Record, output: Path, of: Input) -> bool:
    """Whether what is finished would only be made again as it is."""
    return there.version == __version__ and not _corrected(there, output, of)


def _found_again(there: Record, wanted: Record, file: Path) -> Record:
    """The record of a recording that may have been moved: whoever reads it must find the recording.

    Its file keeps its time, which tells what was changed by hand since.
    """
    if there.source == wanted.source:
        return there
    moved, before = replace(there, source=wanted.source), file.stat()
    moved.write(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return moved


def pending(
    inputs: Sequence[tuple[Input, Record]], output: Path, *, overwrite: bool
) -> tuple[list[Job], list[Record]]:
    """What is still to be done, and the records of what is done already.

    Args:
        inputs: with the record each would begin with.
        output: the output folder.
        overwrite: replace what is there, but not by the same: what this version finished just so, and nobody
            touched since, stays. So this, too, goes on where it was interrupted.

    Raises:
        BirdlabError: if something would be overwritten and ``overwrite`` is False.
    """
    jobs, done = [], []
    occupied: list[str] = []
    for each, wanted in inputs:
        there = Record.read(output / each.record)
        if there is not None and there.same(wanted):
            paths = there.paths(output).values()
            whole = there.finished and all(path.exists() for path in paths)
            if whole and (not overwrite or _would_be_the_same(there, output, each)):
                done.append(_found_again(there, wanted, output / each.record))
                continue
            if there.finished and not overwrite:  # something was removed
                occupied += [str(path.relative_to(output)) for path in _corrected(there, output, each)]
        elif not overwrite:
            occupied += [name for name in wanted.outputs.values() if os.path.lexists(output / name)]
        jobs.append(Job(each, wanted.after(there)))
    if occupied:
        more = f" and {len(occupied) - 3} more" if len(occupied) > 3 else ""
        raise BirdlabError(
            f"{output} holds {', '.join(occupied[:3])}{more}, made of other files, with other settings "
            "or by hand. Choose another --output, or add --overwrite to replace them."
        )
    return jobs, done
