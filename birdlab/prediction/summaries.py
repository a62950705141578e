"""Over all files of an output folder: events by file and species, Raven's table of all, and the page."""

import csv
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from birdlab.audio.grid import Grid
from birdlab.errors import BirdlabError
from birdlab.files import write_text
from birdlab.prediction.events import Event
from birdlab.prediction.records import Record
from birdlab.prediction.tables import Detections, raven
from birdlab.search import RECORDS

SUMMARY, ALL_EVENTS, PAGE = NAMES = ("_summary.csv", "_summary.selections.txt", "_summary.html")
"""The underscore keeps them first, and apart from a recording called summary."""

MOST_EVENTS = 240
"""On the page, unless more are asked for: one with thousands takes long to open."""

_DIGESTS = "_summary.digests"
"""Below the folder of records, whose own names end in .json."""


def check_own(output: Path) -> None:
    """Refuse to begin where a summary isn't as birdlab wrote it.

    Raises:
        BirdlabError: names one that somebody else wrote or edited.
    """
    ours = _digests(output)
    for name in NAMES:
        path = output / name
        if path.exists() and _digest(path.read_bytes()) not in ours.get(name, ()):
            raise BirdlabError(
                f"{path} was written or edited by somebody else. Keep it under another name, choose another "
                "--output, or add --overwrite."
            )


def with_earlier(records: Sequence[Record], output: Path) -> tuple[list[Record], int]:
    """The records of a command and of others that finished files in the same way, by path.

    Args:
        records: of a command; at least one.
        output: its output folder.

    Returns:
        The records, one of each file; and how many files were finished there with other settings.
    """
    of: dict[str, Record] = {record.source: record for record in records}
    settings, otherwise = records[0].settings, set()
    for path in sorted((output / RECORDS).rglob("*.json")):
        record = Record.read(path)
        if record is None or record.source in of or not record.finished:
            continue
        if not all(each.exists() for each in record.paths(output).values()):
            continue
        if record.settings == settings:
            of[record.source] = record
        else:
            otherwise.add(record.source)
    return sorted(of.values(), key=lambda record: record.source), len(otherwise - of.keys())


def write_tables(records: Sequence[Record], output: Path, *, all_events: bool) -> None:
    """``_summary.csv``, and, if asked for or there already, Raven's table of the events of several files.

    Raises:
        OSError: if they can't be written.
    """
    _write(output, SUMMARY, _by_label(records))
    if (all_events and len(records) > 1) or (output / ALL_EVENTS).exists():
        every = [Detections(Path(record.source), record.duration_s, record.events) for record in records]
        _write(output, ALL_EVENTS, raven(every))


def write_page(
    records: Sequence[Record], output: Path, grid: Grid, failures: Sequence[tuple[str, str]], most_events: int
) -> None:
    """``_summary.html``; see `page.rendered`.

    Raises:
        OSError: if it can't be written.
    """
    from birdlab.prediction.page import rendered  # needs OpenCV and Jinja

    _write(output, PAGE, rendered(records, output, grid, most_events, failures))


def _by_label(records: Sequence[Record]) -> str:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", "duration_s", "label", "events", "events_s", "events_per_hour"))
    for record in records:
        by_label: dict[str, list[Event]] = defaultdict(list)
        for event in record.events:
            by_label[event.label].append(event)
        for label, events in sorted(by_label.items()) or [("", [])]:
            seconds = sum(event.end_s - event.begin_s for event in events)
            an_hour = len(events) / record.duration_s * 3600
            table.writerow(
                (
                    record.source,
                    f"{record.duration_s:.3f}",
                    label,
                    len(events),
                    f"{seconds:.3f}",
                    f"{an_hour:.1f}",
                )
            )
    return text.getvalue()


def _write(output: Path, name: str, text: str) -> None:
    digests = _digests(output)
    path = output / name
    # The one that is there, too, should this be cut short.
    there = [_digest(path.read_bytes())] if path.exists() else []
    digests[name] = [*there, _digest(text.encode())]
    write_text(output / RECORDS / _DIGESTS, json.dumps(digests) + "\n")
    write_text(path, text)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digests(output: Path) -> dict[str, list[str]]:
    """Of the summaries that birdlab wrote, by name."""
    try:
        digests: dict[str, list[str]] = json.loads((output / RECORDS / _DIGESTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return digests
