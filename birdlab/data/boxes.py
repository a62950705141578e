"""Time-frequency boxes that people drew around sounds, in Audacity or Raven."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from birdlab.errors import BirdlabError

_RAVEN_BEGIN, _RAVEN_END = "Begin Time (s)", "End Time (s)"
_RAVEN_LOW, _RAVEN_HIGH = "Low Freq (Hz)", "High Freq (Hz)"
_RAVEN_LABELS = ("Annotation", "Species", "Common Name", "Label")


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
    backslash, lowest and highest frequency. Raven's selection tables have named columns; the two rows that
    Raven writes for the waveform and the spectrogram view of one selection count once. A file without labels
    is a recording without sounds.

    Raises:
        BirdlabError: naming file and line of what cannot be understood.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BirdlabError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:  # Raven on Windows
        text = data.decode("latin-1")
    lines = text.splitlines()
    if lines and _RAVEN_BEGIN in lines[0]:
        return list(dict.fromkeys(_raven(path, lines)))
    return list(_audacity(path, lines))


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


def _raven(path: Path, lines: list[str]) -> Iterator[Box]:
    table = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, restval="")
    columns = table.fieldnames or []
    if _RAVEN_END not in columns:
        raise BirdlabError(f"{path}, line 1: a selection table without the column {_RAVEN_END!r}.")
    label = next((name for name in _RAVEN_LABELS if name in columns), "")
    for row in table:
        times = [row[_RAVEN_BEGIN], row[_RAVEN_END], row.get(label, "")]
        yield _box(path, table.line_num, times, [row.get(_RAVEN_LOW, ""), row.get(_RAVEN_HIGH, "")])


def _box(path: Path, line: int, label: list[str], frequencies: list[str]) -> Box:
    """A box from the text of its numbers."""
    try:
        begin_s, end_s = (float(field) for field in label[:2])
        low_hz, high_hz = (float(field) if field.strip() else -1.0 for field in frequencies)
    except ValueError as error:
        raise BirdlabError(
            f"{path}, line {line}: expected begin, end and label between tabs, and perhaps low and high "
            f"frequency, found {[*label, *frequencies]}. Export it from Audacity or Raven as text again."
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
