"""``train_soundscapes`` of BirdCLEF 2021: long recordings, labelled every five seconds."""

from collections.abc import Iterator, MutableSequence, Sequence
from pathlib import Path

from birdlab.audio import io
from birdlab.data.species import LabelledStack
from birdlab.data.tables import read_table
from birdlab.errors import BirdlabError

ROW_S = 5.0
NOBODY = "nocall"
Recording = tuple[Path, float]
"""A file and its seconds."""


_COLUMNS = ("row_id", "site", "audio_id", "seconds", "birds")


def soundscape_rows(
    root: Path, names: Sequence[str], stack_s: float, unreadable: MutableSequence[str] | None = None
) -> Iterator[LabelledStack]:
    """One sample for each row of ``train_soundscape_labels.csv``: the five seconds before ``seconds``.

    ``birds`` holds the species that are heard, with spaces between, or ``nocall``: then all targets are 0, as
    for species that aren't among ``names``. Samples of one recording are one group.

    Args:
        root: folder of the CSV file and of ``train_soundscapes``.
        names: the species.
        stack_s: seconds of a stack, which must be those of a row.
        unreadable: if given, recordings that can't be read are left out, and why is added here; each is
            decoded once to find out.

    Raises:
        BirdlabError: for a stack of another length, an absent or incomplete table, and recordings that are
            absent or too short, or can't be read.
    """
    if abs(stack_s - ROW_S) > 1e-6:
        raise BirdlabError(
            f"data.segments and data.segment_s make stacks of {stack_s:g} s, and the rows of soundscapes "
            f"last {ROW_S:g} s. Set for instance data.segments=5 data.segment_s=1."
        )
    table = root / "train_soundscape_labels.csv"
    recordings: dict[str, Recording | None] = {}
    for line, row in enumerate(_rows(table), start=2):
        audio_id = row["audio_id"]
        if audio_id not in recordings:
            recordings[audio_id] = _recording(root, row, unreadable)
        found = recordings[audio_id]
        if found is None:
            continue
        file, duration_s = found
        try:
            end_s = float(row["seconds"])
        except ValueError:
            raise BirdlabError(f"{table}: line {line}: seconds are {row['seconds']!r}, no number.") from None
        if not ROW_S <= end_s <= duration_s + 0.1:
            raise BirdlabError(
                f"{table}: row {row['row_id']} ends at {end_s:g} s, and {file.name} lasts {duration_s:.1f} s."
            )
        heard = set(row["birds"].split()) - {NOBODY}
        yield LabelledStack(
            id=row["row_id"],
            group=f"soundscape {audio_id}",
            files=(file,),
            stratum=NOBODY if not heard else "",
            targets=tuple(float(name in heard) for name in names),
            duration_s=ROW_S,
            real_s=ROW_S,
            start_s=end_s - ROW_S,
        )


def _rows(table: Path) -> list[dict[str, str]]:
    rows = read_table(table)
    if not rows or not set(_COLUMNS) <= set(rows[0]):
        raise BirdlabError(
            f"{table}: has no rows, or lacks one of the columns {', '.join(sorted(_COLUMNS))}."
        )
    for line, row in enumerate(rows, start=2):
        if not all(row[name] for name in _COLUMNS):
            raise BirdlabError(f"{table}: line {line} is incomplete: it needs {', '.join(_COLUMNS)}.")
    return rows


def _recording(root: Path, row: dict[str, str], unreadable: MutableSequence[str] | None) -> Recording | None:
    name = f"{row['audio_id']}_{row['site']}_*"
    found = sorted((root / "train_soundscapes").glob(name))
    if len(found) != 1:
        raise BirdlabError(
            f"{root / 'train_soundscapes'}: {len(found)} recordings {name}, and the labels name one."
        )
    try:
        if unreadable is not None:
            io.read(found[0])
        return found[0], io.info(found[0]).duration_s
    except BirdlabError as error:
        if unreadable is None:
            raise BirdlabError(f"{error} Or set data.on_error=skip.") from error
        unreadable.append(str(error))
        return None
