"""What each part of the recipe brings on recordings with boxes, from the rows of `score`: a file for each.

    python experiments/frontier/parts.py none.csv PART.csv... --output FILE

Each file is of the runs that went without the part it is named after. Its row has what `summary` says of
their marks at their own thresholds, and ``found``, the recall at which `PRECISION` of what is marked lies in
boxes, read off the curve over `THRESHOLDS`: nobody gains by marking more or less. ``found`` is compared with
that of none.csv, whose recipe is whole, by bootstrap over seeds and recordings, corrected for the number of
parts (Holm).
"""

import argparse
import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from summary import OFFICIAL, PRECISION, THRESHOLDS, Row, scores

from birdlab.files import write_csv
from birdlab.significance import Statistic, compare_statistics, holm

WHOLE = "none"
_COUNTS = ("iou", "marked_in_boxes", "marked", "in_boxes", "boxes", "hit_boxes", "time_both", "time_either")
_SHOWN = ("precision", "precision_sd", "recall", "hit", "time_iou")


def read(file: Path) -> list[Row]:
    """What runs mark, with numbers as numbers."""
    with file.open(encoding="utf-8", newline="") as text:
        rows = [row for row in csv.DictReader(text) if row["output"] == "mask"]
    return [
        row
        | {key: float(row[key]) for key in ("threshold", *_COUNTS)}
        | {key: row[key] == "True" for key in ("own", "drawn")}
        for row in rows
    ]


def found(rows: Sequence[Row]) -> Statistic:
    """The recall of one seed at `PRECISION`, of some of its recordings in the order of their names."""
    counts = np.array(
        [
            [
                [row[key] for key in ("marked_in_boxes", "marked", "in_boxes")]
                for row in sorted(rows, key=lambda row: str(row["recording"]))
                if row["threshold"] == threshold and row["recording"] != OFFICIAL
            ]
            for threshold in THRESHOLDS
        ]
    )

    def of(places: NDArray[np.intp]) -> float:
        inside, marked, boxed = counts[:, places].sum(axis=1).T
        precision = np.divide(inside, marked, out=np.ones_like(inside), where=marked > 0)
        # From low thresholds to high ones, as often as not all but monotone.
        rising = np.maximum.accumulate(precision)
        return float(np.interp(PRECISION, rising, inside / boxed, right=0.0))

    return of


def table(parts: Mapping[str, Sequence[Row]]) -> list[Row]:
    """A row for each part, `WHOLE` among them.

    Args:
        parts: rows of its runs, whose recordings are the same.
    """
    names = sorted({row["recording"] for row in parts[WHOLE]} - {OFFICIAL})
    curves = {part: [found(those) for those in _by_seed(rows)] for part, rows in parts.items()}
    differences = {
        part: compare_statistics(each, curves[WHOLE], names) for part, each in curves.items() if part != WHOLE
    }
    corrected = dict(zip(differences, holm([one.p for one in differences.values()]), strict=True))
    made = []
    for part, rows in parts.items():
        at_own, drawn = (scores([row for row in rows if row[rule]]) for rule in ("own", "drawn"))
        each = [curve(np.arange(len(names))) for curve in curves[part]]
        row: Row = {"part": part, "seeds": len(each), "recordings": len(names)}
        row |= {"found": statistics.fmean(each), "found_sd": statistics.stdev(each)}
        if part in differences:
            row |= asdict(differences[part]) | {"p_holm": corrected[part]}
        made.append(row | {key: at_own[key] for key in _SHOWN} | {OFFICIAL: drawn.get(OFFICIAL)})
    return made


def _by_seed(rows: Sequence[Row]) -> list[list[Row]]:
    seeds = sorted({row["seed"] for row in rows})
    return [[row for row in rows if row["seed"] == seed] for seed in seeds]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    files = [file for file in given.files if not file.stem.endswith("_summary")]  # those lie beside them
    write_csv(given.output, table({file.stem: read(file) for file in files}))


if __name__ == "__main__":
    main()
