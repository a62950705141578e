"""Tables that somebody else wrote: CSV with a heading."""

import csv
from collections.abc import Collection
from pathlib import Path

from scipy.cluster.hierarchy import DisjointSet

from birdlab.data.names import recording_of
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


def groups_of(recordings: Collection[str], table: Path | None) -> dict[str, str]:
    """The group of each file of a recording: what a split must not divide.

    Files of one recording, such as its channels, are one group whatever a table says of one of them.

    Args:
        recordings: names of files, without ending.
        table: says which belong together, such as those of one recordist; see `read_groups`.

    Returns:
        The table's name of the group, or the recording's, by name of the file.

    Raises:
        BirdlabError: if the table can't be read, or names other recordings.
    """
    named = {} if table is None else read_groups(table, recordings)
    together = DisjointSet(recordings)
    for group_of in (recording_of, named.get):
        first: dict[str, str] = {}
        for name in recordings:
            if (group := group_of(name)) is not None:
                together.merge(first.setdefault(group, name), name)
    return {
        name: min((named[each] for each in those if each in named), default=recording_of(min(those)))
        for those in together.subsets()
        for name in those
    }


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
