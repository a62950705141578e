"""``train_soundscapes`` of BirdCLEF 2021: long recordings, labelled every five seconds."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from birdlab.audio import io
from birdlab.data.species import LabelledStack
from birdlab.errors import BirdlabError

ROW_S = 5.0
NOBODY = "nocall"


def soundscape_rows(root: Path, names: Sequence[str], stack_s: float) -> Iterator[LabelledStack]:
    """One sample for each row of ``train_soundscape_labels.csv``: the five seconds before ``seconds``.

    ``birds`` holds the species that are heard, with spaces between, or ``nocall``: then all targets are 0, as
    for species that aren't among ``names``. Samples of one recording are one group.

    Args:
        root: folder of the CSV file and of ``train_soundscapes``.
        names: the species.
        stack_s: seconds of a stack, which must be those of a row.

    Raises:
        BirdlabError: for a stack of another length, an absent or incomplete table, and recordings that are
            absent or too short.
    """
    if abs(stack_s - ROW_S) > 1e-6:
        raise BirdlabError(
            f"data.segments and data.segment_s make stacks of {stack_s:g} s, and the rows of soundscapes "
            f"last {ROW_S:g} s. Set for instance data.segments=5 data.segment_s=1."
        )
    table = root / "train_soundscape_labels.csv"
    try:
        with table.open(newline="", encoding="utf-8-sig") as text:
            rows = list(csv.DictReader(text))
    except OSError as error:
        raise BirdlabError(f"{table}: cannot be read ({error.strerror}).") from error
    needed = {"row_id", "site", "audio_id", "seconds", "birds"}
    if not rows or not needed <= set(rows[0]):
        raise BirdlabError(f"{table}: has no rows, or lacks one of the columns {', '.join(sorted(needed))}.")
    recordings: dict[str, tuple[Path, float]] = {}
    for row in rows:
        audio_id = row["audio_id"]
        if audio_id not in recordings:
            found = sorted((root / "train_soundscapes").glob(f"{audio_id}_{row['site']}_*"))
            if len(found) != 1:
                raise BirdlabError(
                    f"{root / 'train_soundscapes'}: {len(found)} recordings {audio_id}_{row['site']}_*, and "
                    f"{table.name} names one."
                )
            recordings[audio_id] = found[0], io.info(found[0]).duration_s
        file, duration_s = recordings[audio_id]
        end_s = float(row["seconds"])
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
