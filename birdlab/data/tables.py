"""Tables that somebody else wrote: CSV with a heading."""

import csv
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
