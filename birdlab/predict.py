"""``python -m birdlab.predict RUN INPUT... --output DIR``: recordings to masks, clean sound and tables.

A run of species alone makes tables of species.
"""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from birdlab.allocator import keep_freed_memory
from birdlab.audio.grid import Grid
from birdlab.cores import cpu_count
from birdlab.errors import BirdlabError, command
from birdlab.options import Trust
from birdlab.prediction import batch, summaries
from birdlab.prediction.denoise import FLOOR_DB
from birdlab.prediction.inputs import collect
from birdlab.prediction.listening import Listening
from birdlab.prediction.naming import LIKELY, Namer, confidence_for, least_confidence
from birdlab.prediction.network import Network, threshold_for
from birdlab.prediction.opening import open_any, open_namer, own_namer
from birdlab.prediction.outputs import Marking, Wanted
from birdlab.prediction.records import Record
from birdlab.prediction.tables import check_formats

# Without markup, which would take the defaults in brackets for its own.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    run: Annotated[
        Path, typer.Argument(help="A run directory, or a file of birdlab.export or birdlab.probe.")
    ],
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Recordings, spectrogram PNGs, and folders of either, searched at any depth."),
    ],
    output: Annotated[Path, typer.Option(help="The folder for all results; it mirrors the inputs' folders.")],
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability above which it is bird [the run's, from validation data]"),
    ] = None,
    species: Annotated[
        Path | None,
        typer.Option(help="A run or file of species, to name each event. [a RUN of task=multitask itself]"),
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            help="Name only what is at least so probable a species; other events stay 'bird'. "
            f"[with a RUN of species alone, or where several may be heard at once: {LIKELY}]"
        ),
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(
            help="Instead of --min-confidence: the share of names that is to be right on validation data."
        ),
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(help="Instead of --threshold: a precision wanted on validation data."),
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option(help="raven, audacity, csv or parquet; repeatable. [raven]")
    ] = None,
    mask: Annotated[bool | None, typer.Option(help="Mask pictures. [up to ten minutes]")] = None,
    overlay: Annotated[
        bool | None,
        typer.Option(help="Spectrogram with the mask outlined, or the boxes. [up to ten minutes]"),
    ] = None,
    denoised: Annotated[
        bool | None, typer.Option(help="The recording with everything else turned down. [yes]")
    ] = None,
    floor_db: Annotated[
        float | None, typer.Option(min=-200.0, max=0.0, help=f"By how much it is turned down. [{FLOOR_DB:g}]")
    ] = None,
    page: Annotated[bool, typer.Option(help="An HTML page to see and hear what was found.")] = True,
    page_events: Annotated[
        int, typer.Option(min=1, help="Events on that page, the surest of every file.")
    ] = summaries.MOST_EVENTS,
    boxes: Annotated[
        bool,
        typer.Option(
            "--boxes", help="Boxes as people draw them, with pauses and harmonics, not single sounds."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
    trust: Trust = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Files at once. [one per core]")] = None,
) -> None:
    """Find birds in recordings of any length and format. Finished files are skipped, so any interruption does
    no harm: give the same command again."""
    keep_freed_memory()
    # As at Ctrl-C: what is half written goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with command():
        tables = tuple(dict.fromkeys(table or ["raven"]))
        check_formats(tables)
        if min_confidence is not None and accuracy is not None:
            raise BirdlabError("--min-confidence and --accuracy exclude each other: give one of them.")
        sure = {"min-confidence": min_confidence, "accuracy": accuracy}
        for name, value in sure.items():
            if value is not None and not 0 < value < 1:
                raise BirdlabError(f"--{name} {value:g}: give a number between 0 and 1.")
        files = collect(inputs, output)
        # Files and batches run side by side; threads within each would only wait for one another.
        network = open_any(run, trust=trust, threads=1)
        work: Marking | Listening
        if isinstance(network, Namer):
            marking = (species, threshold, precision, mask, overlay, denoised, floor_db, boxes or None)
            _check_names_only(run, marking)
            # Accuracy is that of the likeliest species: a second one in a stretch would be below a half.
            work = Listening(network, tables, _confidence(network, min_confidence, accuracy, LIKELY))
        else:
            namer = own_namer(network) if species is None else open_namer(species, trust=trust, threads=1)
            for name, value in sure.items():
                if value is not None and namer is None:
                    raise BirdlabError(f"--{name} {value:g} is of a species: give --species RUN, too.")
            least = _confidence(namer, min_confidence, accuracy, least_confidence(namer)) if namer else 0.0
            wanted = Wanted(
                threshold=_threshold(network, threshold, precision, boxes=boxes),
                tables=tables,
                mask=mask,
                overlay=overlay,
                denoised=denoised is not False,
                floor_db=FLOOR_DB if floor_db is None else floor_db,
                boxes=boxes,
                min_confidence=least,
            )
            work = Marking(network, wanted, namer)
        todo = batch.plan(files, output, work, overwrite=overwrite)
        with _bar(todo) as progress:
            records, failures = batch.run(todo, workers=workers or cpu_count(), progress=progress)
        notes = _summarised(records, failures, output, tables, work.grid, page_events if page else None)
        _report(records, failures, output, skipped=len(todo.done), found=work.found)
        for note in notes:
            print(note)
        if failures:
            sys.exit(1)


def _summarised(
    records: Sequence[Record],
    failures: Sequence[batch.Failure],
    output: Path,
    tables: Sequence[str],
    grid: Grid,
    page_events: int | None,
) -> list[str]:
    """Write what is over all files; what is to be said of it."""
    if not records:
        return []
    everything, others = summaries.with_earlier(records, output)
    with batch.written_below(output):
        summaries.write_tables(everything, output, all_events="raven" in tables)
        if page_events is not None:
            reasons = [(str(failure.path), failure.reason) for failure in failures]
            summaries.write_page(everything, output, grid, reasons, page_events)
    notes = []
    if more := len(everything) - len(records):
        notes.append(f"The summary is also of {more} files that were finished there before, in the same way.")
    if others:
        notes.append(f"The summary is not of {others} files that were finished there with other settings.")
    return notes


def _threshold(network: Network, threshold: float | None, precision: float | None, *, boxes: bool) -> float:
    if threshold is not None and precision is not None:
        raise BirdlabError("--threshold and --precision exclude each other: give one of them.")
    for name, value in (("threshold", threshold), ("precision", precision)):
        if value is not None and not 0 < value < 1:
            raise BirdlabError(f"--{name} {value:g}: give a number between 0 and 1.")
    if precision is not None:
        return threshold_for(network, precision)
    if threshold is not None:
        return threshold
    return network.box_threshold if boxes else network.threshold


def _confidence(namer: Namer, given: float | None, accuracy: float | None, least: float) -> float:
    """How sure a name must be: as given, as an accuracy asks for, or ``least``."""
    if accuracy is not None:
        return confidence_for(namer, accuracy, least)
    return least if given is None else given


def _check_names_only(run: Path, marking: Sequence[object]) -> None:
    """Refuse what is said about marks where there are none."""
    if any(given is not None for given in marking):
        raise BirdlabError(
            f"{run} names species and marks nothing: --species, --threshold, --precision, --mask, --overlay, "
            "--denoised, --floor-db and --boxes are for runs that do. --min-confidence or --accuracy decides "
            "what it names."
        )


@contextmanager
def _bar(todo: batch.Plan) -> Iterator[Callable[[Path, float], None]]:
    """Progress over all files by their bytes, which are known without decoding them."""
    sizes = {job.input.path: job.record.size for job in todo.jobs}
    done = dict.fromkeys(sizes, 0.0)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"Predicting {len(sizes)} files", total=sum(sizes.values()))

        def advance(path: Path, share: float) -> None:
            bar.advance(task, (share - done[path]) * sizes[path])
            done[path] = share

        yield advance


def _report(
    records: list[Record], failures: list[batch.Failure], output: Path, *, skipped: int, found: str
) -> None:
    console = Console(soft_wrap=True, highlight=False)
    hours = sum(record.duration_s for record in records) / 3600
    events = sum(len(record.events) for record in records)
    rate = f", {events / hours:.1f} an hour" if hours else ""
    before = f" ({skipped} of them finished before)" if skipped else ""
    console.print(f"{len(records)} files{before}, {hours:.2f} hours: {events} {found}{rate}.")
    console.print(f"Results: {escape(str(output))}")
    if failures:
        errors = Console(stderr=True, soft_wrap=True, highlight=False)
        errors.print(f"{len(failures)} files could not be predicted:")
        for failure in failures:
            errors.print(f"  {escape(failure.reason)}")


if __name__ == "__main__":
    app()
