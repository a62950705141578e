"""Events as files that Raven, Audacity, spreadsheets and data frames open."""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from birdlab.errors import BirdlabError
from birdlab.files import replacing, write_text
from birdlab.prediction.events import Event


@dataclass(frozen=True)
class Detections:
    """The events of one recording.

    Attributes:
        source: the recording's file.
        duration_s: of the recording.
        events: by begin.
    """

    source: Path
    duration_s: float
    events: Sequence[Event]


_RAVEN = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Begin File",
    "File Offset (s)",
    "Score",
    "Annotation",
    "Annotation Score",
)

_COLUMNS = ("file", "begin_s", "end_s", "low_hz", "high_hz", "score", "label", "label_score")


def write_raven(path: Path, recordings: Iterable[Detections]) -> None:
    """Write Raven's selection table; see `raven`."""
    write_text(path, raven(recordings))


def raven(recordings: Iterable[Detections]) -> str:
    """Raven's selection table, of one recording or of several that Raven opens one after the other."""
    lines = ["\t".join(_RAVEN)]
    before_s = 0.0
    for recording in recordings:
        for event in recording.events:
            cells = (
                str(len(lines)),
                "Spectrogram 1",
                "1",
                f"{before_s + event.begin_s:.6f}",
                f"{before_s + event.end_s:.6f}",
                f"{event.low_hz:.3f}",
                f"{event.high_hz:.3f}",
                _word(recording.source.name),
                f"{event.begin_s:.6f}",
                f"{event.score:.4f}",
                _word(event.label),
                _score(event.label_score),
            )
            lines.append("\t".join(cells))
        before_s += recording.duration_s
    return "\n".join(lines) + "\n"


def write_audacity(path: Path, recordings: Iterable[Detections]) -> None:
    """Audacity's spectral labels of one recording: a line of times and text, and one of frequencies."""
    write_text(
        path,
        "".join(
            f"{event.begin_s:.6f}\t{event.end_s:.6f}\t{_word(event.label)}\n\\\t{event.low_hz:.3f}\t{event.high_hz:.3f}\n"
            for recording in recordings
            for event in recording.events
        ),
    )


def write_csv(path: Path, recordings: Iterable[Detections]) -> None:
    """A row for each event."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for recording in recordings:
        for event in recording.events:
            times = (f"{event.begin_s:.6f}", f"{event.end_s:.6f}")
            band = (f"{event.low_hz:.3f}", f"{event.high_hz:.3f}")
            scores = (f"{event.score:.4f}", event.label, _score(event.label_score))
            table.writerow((recording.source.name, *times, *band, *scores))
    write_text(path, text.getvalue())


def write_parquet(path: Path, recordings: Iterable[Detections]) -> None:
    """The same columns in Apache Parquet.

    Raises:
        BirdlabError: if pyarrow isn't installed.
    """
    pyarrow, parquet = _pyarrow()
    names = _COLUMNS[1:]
    rows = [(recording.source.name, event) for recording in recordings for event in recording.events]
    columns = {"file": [file for file, _ in rows]}
    columns |= {name: [getattr(event, name) for _, event in rows] for name in names}
    text = {"file", "label"}
    schema = [(name, pyarrow.string() if name in text else pyarrow.float64()) for name in _COLUMNS]
    with replacing(path) as temporary:
        parquet.write_table(pyarrow.table(columns, schema=pyarrow.schema(schema)), temporary)


@dataclass(frozen=True)
class Format:
    """How a table is written, and what its file is called after the recording's name."""

    write: Callable[[Path, Iterable[Detections]], None]
    ending: str


FORMATS = {
    "raven": Format(write_raven, ".selections.txt"),
    "audacity": Format(write_audacity, ".txt"),
    "csv": Format(write_csv, ".csv"),
    "parquet": Format(write_parquet, ".parquet"),
}


def write_tables(formats: Iterable[str], paths: Mapping[str, Path], found: Detections) -> None:
    """The tables of one recording.

    Args:
        formats: names of `FORMATS`.
        paths: of each.
        found: in the recording.
    """
    for name in formats:
        FORMATS[name].write(paths[name], [found])


def check_formats(names: Sequence[str]) -> None:
    """Refuse tables that can't be written, before any time is spent.

    Raises:
        BirdlabError: for a format that isn't known, or whose library isn't installed.
    """
    for name in names:
        if name not in FORMATS:
            raise BirdlabError(f"--table {name}: there is no such format; there are {', '.join(FORMATS)}.")
    if "parquet" in names:
        _pyarrow()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise BirdlabError("--table parquet needs pyarrow: pip install 'birdlab[parquet]'.") from error
    return pyarrow, parquet


def _word(text: str) -> str:
    """Without what would end a cell or a line: file names may hold anything."""
    return re.sub(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+", " ", text)


def _score(score: float) -> str:
    return "" if math.isnan(score) else f"{score:.4f}"
