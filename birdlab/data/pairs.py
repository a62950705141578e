"""Files that belong together: an image and its mask, a recording and its labels."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from birdlab.errors import BirdlabError

_SHOWN = 10


def subfolder(folder: Path, *names: str) -> Path | None:
    """The one folder in ``folder`` with one of these names in any case; None if there is none.

    Raises:
        BirdlabError: if there are several.
    """
    wanted = {name.lower() for name in names}
    found = sorted(path for path in folder.iterdir() if path.name.lower() in wanted and path.is_dir())
    if len(found) > 1:
        raise BirdlabError(f"{folder}: holds both {found[0].name} and {found[1].name}: keep one of them.")
    return found[0] if found else None


def by_stem(paths: Iterable[Path], stem: Callable[[Path], str] = lambda path: path.stem) -> dict[str, Path]:
    """Files by what is common to the names of a pair, in lexicographic order.

    Raises:
        BirdlabError: if two files have the same.
    """
    found: dict[str, Path] = {}
    for path in sorted(paths):
        other = found.setdefault(stem(path), path)
        if other != path:
            raise BirdlabError(f"{path} and {other.name} have the same name but for the ending: keep one.")
    return dict(sorted(found.items()))


def paired(
    first: dict[str, Path], second: dict[str, Path], kinds: tuple[str, str]
) -> list[tuple[str, Path, Path]]:
    """(stem, first, second) in lexicographic order of stems.

    Args:
        first, second: files by stem.
        kinds: what to call the two in a message, e.g. ``("image", "mask")``.

    Raises:
        BirdlabError: naming the files that have no partner.
    """
    problems = [
        f"{len(lonely)} {kind} file{'s' * (len(lonely) > 1)} without {partner}: {listed(lonely)}"
        for kind, partner, lonely in (
            (kinds[0], kinds[1], [path for stem, path in first.items() if stem not in second]),
            (kinds[1], kinds[0], [path for stem, path in second.items() if stem not in first]),
        )
        if lonely
    ]
    if problems:
        raise BirdlabError(
            f"{'; '.join(problems)}. Partners have the same name but for the ending: "
            "add what is missing or move these away."
        )
    return [(stem, path, second[stem]) for stem, path in first.items()]


def listed(items: Collection[object]) -> str:
    """The first ten, and how many more."""
    shown = ", ".join(str(item) for item in list(items)[:_SHOWN])
    return shown if len(items) <= _SHOWN else f"{shown} and {len(items) - _SHOWN} more"
