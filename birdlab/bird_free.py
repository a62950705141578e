"""``python -m birdlab.evaluate RUN --bird-free DIR``: what a network finds or names where no bird is."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from birdlab.cores import cpu_count
from birdlab.data.names import recording_id, source_recording
from birdlab.errors import BirdlabError
from birdlab.files import write_json
from birdlab.metrics import CoverageCurve
from birdlab.prediction import alarms
from birdlab.prediction.inputs import Input
from birdlab.prediction.naming import Namer
from birdlab.prediction.network import Network
from birdlab.prediction.opening import open_any
from birdlab.reporting.failing import coverage_of
from birdlab.reporting.read import read_run
from birdlab.run import Run
from birdlab.trained_on import augmented_with, trained_on


def score_bird_free(run: Path, folder: Path, output: Path | None, *, trust: bool) -> None:
    """Print (and write) what a run, or an exported file, finds or names in recordings without birds.

    A run keeps it, for its model card.

    Args:
        run: a run directory of either task, or an exported file.
        folder: of recordings without birds.
        output: JSON file, or None.
        trust: build what birdlab doesn't ship, too.

    Recordings that the run was trained on are left out; of an exported file that isn't known.

    Raises:
        BirdlabError: if there are no recordings, all of them were trained on, or one can't be read.
    """
    files = alarms.recordings_in(folder)
    network = open_any(run, trust=trust, threads=1)
    if run.is_dir():
        everything, files = files, unheard(Run.open(run), files)
        if left_out := len(everything) - len(files):
            said = f"{left_out} of {len(everything)} recordings were trained on and are left out."
            if not files:
                raise BirdlabError(f"--bird-free {folder}: {said} Give others.")
            Console(soft_wrap=True, highlight=False).print(said)
    if isinstance(network, Namer):
        found = _score_names(network, coverage_of(read_run(run, run.name)) if run.is_dir() else None, files)
    else:
        found = _score_marks(network, files)
    if output is not None:
        write_json(output, found)
    if run.is_dir():
        kept = {key: value for key, value in found.items() if key != "events"}
        Run.open(run).note(bird_free={"folder": folder.name} | kept)


def unheard(run: Run, files: Sequence[Input]) -> list[Input]:
    """The recordings that neither a run nor those before it were trained, validated or augmented with."""
    heard, backgrounds = trained_on(run), augmented_with(run)
    return [
        each
        for each in files
        if heard.isdisjoint({recording_id(each.path.stem), source_recording(each.path)})
        and backgrounds.isdisjoint(each.path.resolve().parents)
    ]


def _score_marks(network: Network, files: Sequence[Input]) -> dict[str, Any]:
    with _listening(files) as progress:
        found = alarms.false_alarms(
            network, files, alarms.thresholds_of(network), workers=cpu_count(), progress=progress
        )
    rows = alarms.table(found, network)
    console = Console(soft_wrap=True, highlight=False)
    console.print(_alarm_table(found, rows))
    for whose, threshold in (("the run's own", network.threshold), ("the highest", max(found.events))):
        console.print(
            f"At {whose} threshold, {_typed(threshold)}: {found.events[threshold]} events, "
            f"{found.an_hour(threshold):.3g} an hour."
        )
    events = {_typed(threshold): count for threshold, count in found.events.items()}
    return {"hours": found.hours, "recordings": found.recordings, "rates": rows, "events": events}


def _score_names(namer: Namer, birds: CoverageCurve | None, files: Sequence[Input]) -> dict[str, Any]:
    with _listening(files) as progress:
        found = alarms.confidences(namer, files, workers=cpu_count(), progress=progress)
    rows = alarms.name_table(found, birds)
    table = _table(
        f"Names given to {len(found)} stretches of {namer.seconds:.3g} s without birds",
        *("wanted", "--min-confidence", "named", "at most (95 %)", "birds named", "of these right"),
    )
    for row in rows:
        shares = [row[name] for name in ("found", "found_at_most", "named", "right")]
        cells = ["" if share is None else f"{share:.1%}" for share in shares]
        confidence = row["confidence"]
        table.add_row(f"{row['wanted']:.0%}", "none" if confidence is None else _typed(confidence), *cells)
    table.caption = "Birds: the run's test recordings."
    Console(soft_wrap=True, highlight=False).print(table)
    return {"stretches": len(found), "recordings": len(files), "shares": rows}


def _alarm_table(found: alarms.FalseAlarms, rows: Sequence[Mapping[str, float | None]]) -> Table:
    table = _table(
        f"False events in {found.recordings} recordings without birds, {found.hours:.3g} hours",
        *("an hour", "--threshold", "found", "at most (95 %)", "recall", "precision"),
    )
    for row in rows:
        threshold = row["threshold"]
        cells = ["none"] if threshold is None else [_typed(threshold)]
        for name, digits in (
            ("an_hour", ".3g"),
            ("an_hour_at_most", ".3g"),
            ("recall", ".3f"),
            ("precision", ".3f"),
        ):
            value = row.get(name)
            cells.append("" if value is None else format(value, digits))
        table.add_row(f"{row['wanted_an_hour']:g}", *cells)
    table.caption = "Recall and precision: pixels of the run's validation data."
    return table


@contextmanager
def _listening(files: Sequence[Input]) -> Iterator[Callable[[], None]]:
    """A progress bar; what is yielded is called after each file."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"Listening to {len(files)} recordings", total=len(files))
        yield lambda: bar.advance(task)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_style="bold", box=box.SIMPLE_HEAD, padding=0)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _typed(threshold: float) -> str:
    """A threshold as it is typed, rounded up: what it was chosen for holds at that number, too."""
    return f"{math.ceil(round(1e6 * threshold, 3)) / 1e6:.6f}".rstrip("0").rstrip(".")
