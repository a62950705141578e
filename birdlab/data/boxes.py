"""Time-frequency boxes around sounds, drawn in Audacity or Raven or kept in tables."""

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from birdlab.errors import BirdlabError
from birdlab.files import remembered

_BEGIN = ("begin time (s)", "begin_s", "onset_s", "start_s", "start_time", "start (s)")
_END = ("end time (s)", "end_s", "offset_s", "stop_s", "end_time", "end (s)")
_LOW = ("low freq (hz)", "low_hz", "low_f", "freq_low")
_HIGH = ("high freq (hz)", "high_hz", "high_f", "freq_high")
_LABEL = ("annotation", "species", "common name", "label")
"""What the columns of tables are called, in lower case: Raven's, birdlab's, BirdNET's, and others'; the first
that is there counts."""
_LINE_END = re.compile(r"\r\n|\r|\n")
"""`str.splitlines` also breaks lines where labels may hold what Unicode calls one."""


@dataclass(frozen=True)
class Box:
    """A sound's extent.

    Attributes:
        begin_s, end_s: seconds from the beginning of the recording, 0 <= begin < end.
        low_hz, high_hz: Hz, 0 <= low < high; 0 and infinity where the label gives none.
        label: what it says, e.g. a species; may be empty.
    """

    begin_s: float
    end_s: float
    low_hz: float
    high_hz: float
    label: str


def read_boxes(path: Path) -> list[Box]:
    """The boxes of a label file; the format is found by content.

    Audacity's labels are lines of begin, end and text between tabs, each perhaps followed by a line of a
    backslash, lowest and highest frequency. Tables have named columns, between tabs (Raven's selections),
    commas or semicolons; the two rows that Raven writes for the waveform and the spectrogram view of one
    selection count once. A file without labels is a recording without sounds.

    Raises:
        BirdlabError: naming file and line of what cannot be understood.
    """
    try:
        return list(_read(path))
    except OSError as error:
        raise BirdlabError(f"{path}: cannot be read ({error.strerror}).") from error


@remembered  # for each window of a recording
def _read(path: Path) -> tuple[Box, ...]:
    """See `read_boxes`."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:  # Raven on Windows
        text = data.decode("cp1252", errors="replace")
    lines = _LINE_END.split(text)
    for separator in "\t,;":
        names = lines[0].split(separator) if lines else []
        if any(name.strip(' "').lower() in _BEGIN for name in names):
            return tuple(dict.fromkeys(_table(path, text, separator)))
    return tuple(_audacity(path, lines))


def _audacity(path: Path, lines: list[str]) -> Iterator[Box]:
    pending: tuple[int, list[str]] | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if fields[0] != "\\":
            if pending:
                yield _box(path, *pending, ["", ""])
            pending = (number, fields)
        elif pending:
            yield _box(path, *pending, fields[1:])
            pending = None
        else:
            raise BirdlabError(f"{path}, line {number}: frequencies that follow no label: {line!r}.")
    if pending:
        yield _box(path, *pending, ["", ""])


def _table(path: Path, text: str, separator: str) -> Iterator[Box]:
    heading = _LINE_END.split(text, maxsplit=1)[0]
    # Raven writes quotation marks as they are.
    raven = separator == "\t" and '"' not in heading
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_NONE if raven else csv.QUOTE_MINIMAL,
        strict=True,
    )
    try:
        names = [name.strip().lower() for name in next(rows)]
        begin, end, low, high, label = (
            next((names.index(name) for name in known if name in names), None)
            for known in (_BEGIN, _END, _LOW, _HIGH, _LABEL)
        )
        if end is None:
            raise BirdlabError(f"{path}, line 1: a table without a column {' or '.join(map(repr, _END))}.")
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            needed = [place for place in (begin, end, low, high) if place is not None]
            beyond = any(cell.strip() for cell in row[len(names) :])
            if beyond or max(needed) >= len(row):
                raise BirdlabError(
                    f"{path}, line {rows.line_num}: {'more' if beyond else 'fewer'} cells than the first "
                    "line names columns. Is it cut short, or does a number or a label hold what separates "
                    "cells?"
                )
            # Editors take away what is empty at the end of a line.
            times = [_cell(row, begin), _cell(row, end), _cell(row, label)]
            yield _box(path, rows.line_num, times, [_cell(row, low), _cell(row, high)])
    except csv.Error as error:
        raise BirdlabError(f"{path}, line {rows.line_num}: no table: {error}. Quotes must close.") from error


def _cell(row: list[str], place: int | None) -> str:
    return row[place] if place is not None and place < len(row) else ""


def _box(path: Path, line: int, label: list[str], frequencies: list[str]) -> Box:
    """A box from the text of its numbers."""
    try:
        begin_s, end_s = (float(field) for field in label[:2])
        low_hz, high_hz = (float(field) if field.strip() else -1.0 for field in frequencies)
    except ValueError as error:
        known = (
            f" A table's first line names its columns: {' or '.join(map(repr, _BEGIN))}, ..."
            if line == 1
            else ""
        )
        raise BirdlabError(
            f"{path}, line {line}: expected begin, end and label, and perhaps low and high frequency, found "
            f"{[*label, *frequencies]}. Export it from Audacity or Raven as text again.{known}"
        ) from error
    # Audacity writes -1 for an end of the band that wasn't set.
    low_hz = max(low_hz, 0.0)
    high_hz = math.inf if high_hz < 0 else high_hz
    if not (0 <= begin_s < end_s < math.inf and low_hz < high_hz):
        raise BirdlabError(
            f"{path}, line {line}: not a box: {begin_s:g} to {end_s:g} s, {low_hz:g} to {high_hz:g} Hz. "
            "Begin and low must lie below end and high, none below 0; correct or remove the label."
        )
    return Box(begin_s, end_s, low_hz, high_hz, label[2].strip() if len(label) > 2 else "")
