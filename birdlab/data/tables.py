"""Tables that somebody else wrote: CSV with a heading."""

import csv
from collections.abc import Collection
from pathlib import Path

from birdlab.errors import BirdlabError


def read_table(path: Path, way_out: str = "") -> list[dict[str, str]]:
    """The rows by column; UTF-8, with or without a mark that says so.

    Args:
        path: of the file.
        way_out: what to set where it can't be read, for the message.

    Raises:
        BirdlabError: if it can't be read, or isn't CSV in UTF-8.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise BirdlabError(f"{path}: cannot be read ({error.strerror}). {way_out}".rstrip()) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BirdlabError(f"{path}: not CSV in UTF-8 ({error}).") from error


def read_groups(table: Path, recordings: Collection[str]) -> dict[str, str]:
    """The group of each recording in a table; names with or without the ending of their files.

    Args:
        table: CSV with the columns ``recording`` and ``group``.
        recordings: by name, without ending.

    Raises:
        BirdlabError: if the table can't be read, is incomplete, or names other recordings.
    """
    groups: dict[str, str] = {}
    for line, row in enumerate(read_table(table, "Set data.groups."), start=2):
        name, group = (row.get("recording") or "").strip(), (row.get("group") or "").strip()
        stem = name if name in recordings else Path(name).stem
        if not name or not group or stem not in recordings:
            raise BirdlabError(
                f"data.groups={table}: line {line} has the recording {name!r} and the group {group!r}; "
                f"give the columns recording and group, and names of recordings such as {min(recordings)}."
            )
        groups[stem] = group
    return groups
