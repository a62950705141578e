"""Which files are predicted, and where what is made of them belongs."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from birdlab.audio import io
from birdlab.errors import BirdlabError
from birdlab.search import RECORDS, files_below

PICTURES = frozenset({".png"})


@dataclass(frozen=True)
class Input:
    """A recording or a picture.

    Attributes:
        path: absolute.
        folder: of its outputs, below the output folder, where it lies below the inputs.
        name: what its outputs' names begin with: its own without the ending, if no neighbour shares it.
    """

    path: Path
    folder: Path
    name: str

    @property
    def is_picture(self) -> bool:
        """Whether it is a spectrogram and no recording."""
        return self.path.suffix.lower() in PICTURES

    @property
    def record(self) -> Path:
        """Where its record belongs, below the output folder."""
        return Path(RECORDS) / self.folder / f"{self.path.name}.json"


def collect(given: Sequence[Path], output: Path) -> list[Input]:
    """Recordings and pictures among files and, at any depth, in folders; ordered by path.

    Files that are named are taken whatever they are called; folders are searched by ending. Hidden files,
    what lies in the output folder and what earlier commands made are left out.

    Raises:
        BirdlabError: if one is absent or a folder may not be read, nothing is found, or the output folder is
            one of the inputs.
    """
    files: list[Path] = []
    roots: list[Path] = []
    output = output.resolve()
    for each in given:
        if os.path.isdir(each):  # noqa: PTH112 (Path.is_dir raises for names that are too long)
            folder = each.resolve()
            if folder == output:
                raise BirdlabError(
                    f"--output {output} is an input, too: choose a folder inside it, which won't be read, or "
                    "one beside it."
                )
            files += files_below(folder, io.SUFFIXES | PICTURES, but=output)
            roots.append(folder)
        elif os.path.exists(each):  # noqa: PTH110
            # A link keeps the name it is known by.
            files.append(each.parent.resolve() / each.name)
            roots.append(files[-1].parent)
        else:
            raise BirdlabError(f"{each}: there is no such file or folder.")
    if not files:
        known = ", ".join(sorted(io.SUFFIXES | PICTURES))
        raise BirdlabError(f"{', '.join(map(str, given))}: nothing to predict there ({known}).")
    root = Path(os.path.commonpath(roots))
    unique = sorted(set(files))
    # Case doesn't tell files apart everywhere.
    stems = Counter((path.parent, path.stem.lower()) for path in unique)
    full = {(path.parent, path.name.lower()) for path in unique}

    def alone(path: Path) -> bool:
        stem = (path.parent, path.stem.lower())
        return stems[stem] == 1 and stem not in full

    return [
        Input(
            path,
            path.parent.relative_to(root),
            path.stem if alone(path) else path.name,
        )
        for path in unique
    ]
