"""Which files of a folder are the user's."""

import json
import os
from collections.abc import Collection
from pathlib import Path

from birdlab.errors import BirdlabError

RECORDS = ".birdlab"
"""The folder of what `birdlab.predict` keeps of each file, below its output folder."""


def files_below(folder: Path, suffixes: Collection[str], *, but: Path | None = None) -> list[Path]:
    """The files in a folder and its subfolders, in order, that the user put there.

    Hidden files and folders are left out, and so is what `birdlab.predict` made there. Linked folders are
    searched like others, each once.

    Args:
        folder: its own name doesn't matter; there are no files in one that isn't there.
        suffixes: endings in lower case, with the dot.
        but: a folder that isn't searched.

    Raises:
        BirdlabError: if a folder may not be read.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise BirdlabError(
                f"{error.filename}: this folder may not be read ({error.strerror})."
            ) from error

    top = folder.resolve()
    searched = {top} | ({but.resolve()} if but is not None else set())

    def is_new(below: Path) -> bool:
        real = below.resolve()
        # What a link leads to is met in its own place, if that is here, too; and links may go round.
        if real in searched or (below.is_symlink() and real.is_relative_to(top)):
            return False
        searched.add(real)
        return True

    found: list[Path] = []
    made: set[Path] = set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(parent)
        if RECORDS in folders:
            made |= _made_in(here)
        visible = [
            [n for n in those if not n.startswith(".") and here / n not in made] for those in (folders, names)
        ]
        folders[:] = sorted(name for name in visible[0] if is_new(here / name))
        found += [here / name for name in visible[1] if Path(name).suffix.lower() in suffixes]
    return sorted(found)


def _made_in(output: Path) -> set[Path]:
    """What the records in an output folder say was made there: files, and folders of masks."""
    made = set()
    for record in (output / RECORDS).rglob("*.json"):
        try:
            content = json.loads(record.read_text(encoding="utf-8"))
            made |= {output / name for name in (*content["outputs"].values(), *content.get("former", ()))}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # no record of ours
    return made
