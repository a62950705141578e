"""Files that are written whole or not at all."""

import csv
import errno
import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, wraps
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

# Read once: there is no way of reading it without setting it, for all threads of the process.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


Result = TypeVar("Result")


def remembered(function: Callable[[Path], Result]) -> Callable[[Path], Result]:
    """A function of a file, which is called again only where the file's size or time is another.

    The last thousand results are kept.
    """

    @lru_cache(maxsize=1000)
    def of_state(path: Path, size: int, mtime_ns: int) -> Result:
        return function(path)

    @wraps(function)
    def of_file(path: Path) -> Result:
        status = path.stat()
        return of_state(path, status.st_size, status.st_mtime_ns)

    return of_file


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an exception.

    Whoever reads ``path`` sees the old content or all of the new one, whenever the process is killed. The
    temporary name keeps the suffix, since many writers choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; what we leave behind is as readable as any other new file.
        temporary.chmod(0o666 & ~_UMASK)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends without an exception.

    A folder that is there is moved aside first, and removed at last: between the two steps there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, aside = (
        Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", dir=path.parent)) for _ in range(2)
    )
    try:
        yield temporary
        temporary.chmod(0o777 & ~_UMASK)
        for attempt in count():
            old = aside / str(attempt)
            if path.is_dir() and not path.is_symlink():
                with suppress(FileNotFoundError):  # somebody else moved it
                    path.rename(old)
            try:
                temporary.rename(path)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # somebody else put one there
                    if old.exists():
                        old.rename(path)
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain values, whole or not at all; NaN, which JSON doesn't have, becomes null."""
    text = json.dumps(_without_nan(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, whole or not at all: columns in the order in which they first occur, NaN empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(_without_nan(row) for row in rows)
    write_text(path, text.getvalue())


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
