"""Thousands of files: in parallel, going on where it stopped, whatever is wrong with some of them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from typing import Any, Protocol

from birdlab.audio.grid import Grid
from birdlab.errors import BirdlabError
from birdlab.prediction import summaries
from birdlab.prediction.inputs import Input
from birdlab.prediction.records import Job, Record, pending

_LONGEST_NAME = 255
"""Bytes, on all file systems in common use."""


class Work(Protocol):
    """What is made of each file."""

    @property
    def grid(self) -> Grid:
        """Of the spectrograms that are shown."""

    @property
    def found(self) -> str:
        """What the events are, in words."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Whatever decides what is made of a file, for its record."""

    def planned(self, each: Input) -> dict[str, str]:
        """The paths of a file's outputs by kind, below the output folder; see `Record`.

        Raises:
            BirdlabError: if the file can't be opened.
        """

    def predict(
        self, each: Input, record: Record, output: Path, threads: int, progress: Callable[[float], None]
    ) -> Record:
        """Make everything of one file; each output appears whole, and the record last.

        Args:
            each: the file.
            record: of what is to be made.
            output: the output folder.
            threads: predict so many batches at once.
            progress: told how much of the file is done, 0 to 1.

        Returns:
            The finished record, as written.

        Raises:
            BirdlabError: if the file can't be read.
            OSError: if something can't be written.
        """


@dataclass(frozen=True)
class Failure:
    """A file that could not be predicted, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        work: what is made of each file.
        output: the output folder.
        jobs: files to predict.
        done: records of files that were finished before.
        failures: files that can't be opened.
    """

    work: Work
    output: Path
    jobs: Sequence[Job]
    done: Sequence[Record]
    failures: Sequence[Failure]


def plan(inputs: Sequence[Input], output: Path, work: Work, *, overwrite: bool = False) -> Plan:
    """Look at every file's header, and refuse to begin where something would be overwritten.

    Raises:
        BirdlabError: names what is in the way.
    """
    if output.exists() and not output.is_dir():
        raise BirdlabError(f"--output {output} is a file: choose a folder.")
    if not overwrite:
        summaries.check_own(output)
    taken: dict[str, Path] = {name: output / name for name in summaries.NAMES}
    wishes, failures = [], []
    for each in inputs:
        try:
            _check_name(each)
            outputs = work.planned(each)
            _check_lengths(each, outputs)
            _check_apart(each, outputs, taken)
            wishes.append((each, Record.of(each.path, work.settings, outputs)))
        except (BirdlabError, OSError) as error:
            failures.append(Failure(each.path, str(error)))
    jobs, done = pending(wishes, output, overwrite=overwrite)
    return Plan(work, output, jobs, done, failures)


def run(
    todo: Plan, *, workers: int = 1, progress: Callable[[Path, float], None] = lambda path, share: None
) -> tuple[list[Record], list[Failure]]:
    """Predict what is planned.

    Args:
        todo: see `plan`.
        workers: files at once, or, of a single one, batches of windows.
        progress: told each file's share that is done, from several threads.

    Returns:
        The records of all finished files by path, and the failures.

    Raises:
        BirdlabError: if outputs can't be written.
    """
    at_once = min(workers, len(todo.jobs))
    threads = workers if at_once == 1 else 1
    stopped = Flag()

    def one(job: Job) -> Record | Failure:
        def report(share: float) -> None:
            if stopped.is_set():
                raise InterruptedError
            progress(job.input.path, share)

        report(0.0)
        try:
            return todo.work.predict(job.input, job.record, todo.output, threads, report)
        except BirdlabError as error:
            return Failure(job.input.path, str(error))
        finally:
            progress(job.input.path, 1.0)

    with ThreadPoolExecutor(max(1, at_once)) as pool:
        futures = [pool.submit(one, job) for job in todo.jobs]
        try:
            with written_below(todo.output):
                wait(futures, return_when=FIRST_EXCEPTION)
                results = [future.result() for future in futures if future.done()]
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
    records = [*todo.done, *(result for result in results if isinstance(result, Record))]
    failures = [*todo.failures, *(result for result in results if isinstance(result, Failure))]
    return sorted(records, key=lambda record: record.source), failures


@contextmanager
def written_below(output: Path) -> Iterator[None]:
    """Around writing results.

    Raises:
        BirdlabError: if they can't be written; it says what to do.
    """
    try:
        yield
    except PermissionError as error:
        raise BirdlabError(
            f"{error}. Choose an --output where you may write, or change its permissions (chmod u+w)."
        ) from error
    except OSError as error:
        raise BirdlabError(
            f"{error}. What is finished below {output} stays: make room, and give the same command again."
        ) from error


def _check_name(each: Input) -> None:
    """Refuse a name that isn't text, which no table can hold."""
    try:
        str(each.path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(each.path).decode(errors="backslashreplace")
        raise BirdlabError(f"{shown}: this name is no text in UTF-8. Rename the file.") from error


def _check_apart(each: Input, outputs: Mapping[str, str], taken: dict[str, Path]) -> None:
    """No two files leave results of one name."""
    for name in outputs.values():
        other = taken.setdefault(name.lower(), each.path)  # case doesn't tell files apart everywhere
        if other != each.path:
            raise BirdlabError(f"{each.path}: its {name} would replace that of {other}. Rename one of them.")


def _check_lengths(each: Input, outputs: Mapping[str, str]) -> None:
    """Refuse a name that is too long to make the outputs' of it."""
    names = [each.record.name, *(Path(name).name for name in outputs.values())]
    # Of a mask's tile, which is called after its moment, too.
    longest = max(len(os.fsencode(name)) for name in names) + len("@00000.000s")
    if longest > _LONGEST_NAME:
        raise BirdlabError(
            f"{each.path}: this name leaves no room for the names of what is made of it. Shorten it by "
            f"{longest - _LONGEST_NAME} letters."
        )
