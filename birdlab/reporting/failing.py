"""Where a run goes wrong, from its ``scores.csv``: the tables of a model card."""

from collections.abc import Sequence
from math import isnan
from typing import Any

from birdlab.analysis import FACTORS, Row, binned, confused, coverage, recall_by_species
from birdlab.metrics import CoverageCurve
from birdlab.reporting.read import RunRecord
from birdlab.reporting.rendering import Cell, Table

_WORST, _PAIRS = 8, 8
_FALSE_EVENTS = {
    "an hour, wanted": ("wanted_an_hour", "g"),
    "--threshold": ("threshold", ".6g"),
    "found": ("an_hour", ".3g"),
    "at most (95 %)": ("an_hour_at_most", ".3g"),
    "recall of pixels (validation)": ("recall", ".3f"),
    "precision": ("precision", ".3f"),
}
_NAMED = {
    "share, wanted": ("wanted", ".0%"),
    "--min-confidence": ("confidence", ".6g"),
    "found": ("found", ".1%"),
    "at most (95 %)": ("found_at_most", ".1%"),
    "birds named (test)": ("named", ".1%"),
    "of these right": ("right", ".1%"),
}
"""Columns of `bird_free_table`: what is asked of each row, and how it is printed."""
_CONFIDENCES = (0.0, 0.5, 0.7, 0.9, 0.95)


def mask_tables(run: RunRecord) -> list[Table]:
    """IoU and errors by what is known of the samples, and what is found where there are no birds."""
    rows = _numeric(run.samples)
    needed = {"iou", "foreground_share", "true_positive", "false_positive", "false_negative"}
    if not rows or not all(needed <= row.keys() for row in rows):
        return []
    cells = [
        (
            Cell(FACTORS[factor], FACTORS[factor]),
            Cell(f"{each.low:.3g} to {each.high:.3g}", f"{each.low:.3g}"),
            Cell(str(each.samples), each.samples),
            Cell(f"{each.iou:.3f}", each.iou),
            Cell("—", "—")
            if isnan(each.iou_low)
            else Cell(f"{each.iou_low:.3f} to {each.iou_high:.3f}", f"{each.iou_low:.3f}"),
            Cell(f"{each.over_segmentation:.2f}", each.over_segmentation),
            Cell(f"{each.under_segmentation:.2f}", each.under_segmentation),
        )
        for factor in FACTORS
        for each in binned(rows, factor)
    ]
    headings = ("by", "from, to", "samples", "IoU", "95 % interval", "over-segm.", "under-segm.")
    note = (
        "Over- and under-segmentation: false alarms, and what is missed, by the true area of these samples."
    )
    tables = [Table("Scores by what is known of the samples", headings, tuple(cells), note)] if cells else []
    empty = [row for row in rows if row["foreground_share"] == 0]
    if empty:
        alarms = sum(row["false_positive"] > 0 for row in empty)
        facts = (("samples", len(empty)), ("of them with a false alarm", alarms))
        tables.append(
            Table(
                "Samples without birds",
                ("", ""),
                tuple((Cell(name, name), Cell(str(value), value)) for name, value in facts),
            )
        )
    return tables


def bird_free_table(run: RunRecord) -> Table | None:
    """What `birdlab.evaluate --bird-free` found where there are no birds; None where nobody asked."""
    asked = run.facts.get("bird_free")
    if not isinstance(asked, dict):
        return None
    if "stretches" in asked:
        heard = f"names given to {asked['stretches']} stretches of {asked['recordings']} recordings"
        rows, columns = asked["shares"], _NAMED
    else:
        heard = f"false events in {asked['hours']:.3g} hours of {asked['recordings']} recordings"
        rows, columns = asked["rates"], _FALSE_EVENTS
    cells = tuple(
        tuple(
            Cell("—", "—") if (value := row.get(key)) is None else Cell(format(value, form), value)
            for key, form in columns.values()
        )
        for row in rows
    )
    note = "A dash where no threshold keeps to it, or nothing is known of recordings with birds."
    return Table(f"Without birds: {heard}", tuple(columns), cells, f"Of {run.directory.name}. {note}")


def species_tables(run: RunRecord) -> list[Table]:
    """The species that are found least, and which are taken for which."""
    if not _single_species(run):
        return []
    worst = [
        (Cell(name, name), Cell(f"{share:.3f}", share), Cell(str(count), count))
        for name, share, count in recall_by_species(run.samples)[:_WORST]
    ]
    pairs = [
        (Cell(true, true), Cell(said, said), Cell(str(count), count))
        for true, said, count in confused(run.samples)[:_PAIRS]
    ]
    tables = [Table("The species found least", ("species", "found", "recordings"), tuple(worst))]
    if pairs:
        tables.append(Table("Taken for one another", ("species", "taken for", "recordings"), tuple(pairs)))
    return tables


def coverage_table(run: RunRecord) -> Table | None:
    """What ``--min-confidence`` brings on the test split; None without probabilities of one species each."""
    curve = coverage_of(run)
    if curve is None:
        return None
    rows = []
    for confidence in _CONFIDENCES:
        share, accuracy = curve.at(confidence)
        if share:
            rows.append(
                (
                    Cell(f"{confidence:g}", confidence),
                    Cell(f"{share:.3f}", share),
                    Cell(f"{accuracy:.3f}", accuracy),
                )
            )
    note = "Of the test split, which says what a confidence brings and not which one to take."
    return Table(
        "Naming only what it is sure of", ("--min-confidence", "named", "accuracy"), tuple(rows), note
    )


def coverage_of(run: RunRecord) -> CoverageCurve | None:
    """Of a run's test recordings; None without probabilities of one species each."""
    if not _single_species(run):
        return None
    try:
        return coverage(run.samples)
    except (KeyError, ValueError):
        return None


def _single_species(run: RunRecord) -> bool:
    return (
        bool(run.samples)
        and {"label", "predicted"} <= run.samples[0].keys()
        and run.config.get("data.multilabel") is not True
    )


def _numeric(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of a CSV file with numbers for what are numbers; empty cells are left out."""
    found = []
    for row in rows:
        numbers: dict[str, Any] = {}
        for name, text in row.items():
            try:
                numbers[name] = float(text)
            except ValueError:
                if text:
                    numbers[name] = text
        found.append(numbers)
    return found
