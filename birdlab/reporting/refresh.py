"""``python -m birdlab.reporting.refresh FILE.md...``: tables in Markdown, made anew from committed CSV files.

A table stands between two comments, and the first one says what it shows::

    <!-- table: results.csv; columns: run as trained on, iou:.3f as IoU; where: method=network; sort: -iou -->
    ...
    <!-- end of table -->

``columns`` (all by default) may have a format and a heading, ``where`` keeps rows (several conditions are
separated by commas), ``sort`` orders them by a column, descending with ``-``. The CSV file is found from the
Markdown file.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from birdlab.errors import BirdlabError, command
from birdlab.files import write_text
from birdlab.reporting.conditions import as_number
from birdlab.reporting.rendering import escaped_markdown, markdown_lines

_BLOCK = re.compile(
    r"(?P<begin><!--\s*table:(?P<settings>[^>]*?)-->[ \t]*\n).*?(?P<end><!-- end of table -->)",
    re.DOTALL,
)
_OPENING = re.compile(r"<!--\s*table:")
_COLUMN = re.compile(r"(?P<name>.+?)(?::(?P<format>[^:\s]+))?(?:\s+as\s+(?P<heading>.+))?")


@dataclass(frozen=True)
class Column:
    """A column of the table: of the CSV file, how its numbers look, and what stands above it."""

    name: str
    format: str
    heading: str


@dataclass(frozen=True)
class Settings:
    """What the opening comment says."""

    file: str
    columns: tuple[Column, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    sort: str = ""


def refreshed(text: str, folder: Path) -> str:
    """The Markdown with every table made anew.

    Args:
        text: of the Markdown file.
        folder: from which its CSV files are found.

    Raises:
        BirdlabError: for a table that has no end, a file or column that isn't there, or a bad setting.
    """
    if len(_OPENING.findall(text)) != len(_BLOCK.findall(text)):
        raise BirdlabError(
            "a table begins with <!-- table: FILE.csv -->, and ends with <!-- end of table -->"
        )
    return _BLOCK.sub(lambda found: _table(found, folder), text)


def main(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.md...", help="Markdown files with tables.")],
    check: Annotated[bool, typer.Option(help="Change nothing; fail if a table isn't up to date.")] = False,
) -> None:
    """Make the tables in Markdown files anew from the CSV files that they name."""
    with command():
        stale = []
        for file in files:
            try:
                old = file.read_text(encoding="utf-8")
                new = refreshed(old, file.parent)
            except (OSError, UnicodeDecodeError, BirdlabError) as error:
                raise BirdlabError(f"{file}: {error}") from error
            if new != old:
                stale.append(str(file))
                if not check:
                    write_text(file, new)
        if check and stale:
            raise BirdlabError(
                f"{', '.join(stale)}: a table isn't as its CSV file says. Run `make report` and commit."
            )


def _table(found: re.Match[str], folder: Path) -> str:
    settings = _settings(found["settings"])
    file = folder / settings.file
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            rows, names = list(reader), list(reader.fieldnames or [""])
    except OSError as error:
        raise BirdlabError(f"{settings.file} can't be read ({error.strerror}).") from error
    columns = settings.columns or tuple(Column(name, "", name) for name in names)
    used = [column.name for column in columns] + [name for name, _ in settings.where]
    absent = [name for name in [*used, settings.sort.removeprefix("-") or names[0]] if name not in names]
    if absent:
        raise BirdlabError(f"{settings.file} has no column {absent[0]!r}; it has {', '.join(names)}.")
    kept = [row for row in rows if all(row[name] == value for name, value in settings.where)]
    if settings.sort:
        kept.sort(
            key=lambda row: _order(row[settings.sort.removeprefix("-")]), reverse=settings.sort[0] == "-"
        )
    cells = [[_shown(row[column.name] or "", column.format) for column in columns] for row in kept]
    numeric = [
        all(as_number(row[column.name] or "0") is not None for row in kept) and bool(kept)
        for column in columns
    ]
    made = markdown_lines([escaped_markdown(column.heading) for column in columns], cells, numeric)
    return found["begin"] + "\n" + "\n".join(made) + "\n\n" + found["end"]


def _settings(text: str) -> Settings:
    file, *parts = (part.strip() for part in text.split(";"))
    given = {}
    for part in filter(None, parts):
        key, colon, value = part.partition(":")
        if key.strip() not in {"columns", "where", "sort"} or not colon:
            raise BirdlabError(f"{part!r} in a table's comment: there are columns:, where: and sort:.")
        given[key.strip()] = value.strip()
    return Settings(
        file=file,
        columns=tuple(map(_column, _split(given.get("columns", "")))),
        where=tuple(_condition(part) for part in _split(given.get("where", ""))),
        sort=given.get("sort", ""),
    )


def _column(text: str) -> Column:
    found = _COLUMN.fullmatch(text)
    assert found is not None  # there is at least one sign
    name = found["name"].strip()
    return Column(name, found["format"] or "", (found["heading"] or name).strip())


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BirdlabError(f"{text!r} in a table's comment: write COLUMN=VALUE.")
    return name.strip(), value.strip()


def _split(text: str) -> Sequence[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _shown(text: str, form: str) -> str:
    number = as_number(text)
    if form and number is not None:
        try:
            return format(number, form)
        except ValueError as error:
            raise BirdlabError(f"{form!r} in a table's comment: {error}.") from error
    return escaped_markdown(text)


def _order(text: str) -> tuple[bool, float, str]:
    number = as_number(text)
    return number is None, number or 0.0, text


if __name__ == "__main__":
    typer.run(main)
