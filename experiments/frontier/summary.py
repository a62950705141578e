"""What rows of scores come to: which threshold each rule chooses, and means over recordings and seeds.

See `score`, which makes the rows, one for what a run marks in a recording, as one output at one threshold.
"""

import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from birdlab.significance import Statistic, estimate_statistic

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
OFFICIAL = "official"
PRECISION = 0.8
RATES = (10, 60)
"""False alarms an hour."""
Row = dict[str, Any]
"""What one run marks in one recording, as one output at one threshold."""
Chosen = dict[str, float]
"""A threshold by run."""
SCORES = {
    "iou": ("iou", None),
    "precision": ("marked_in_boxes", "marked"),
    "recall": ("marked_in_boxes", "in_boxes"),
    "hit": ("hit_boxes", "boxes"),
    "time_iou": ("time_both", "time_either"),
}
"""Of all recordings: a sum, and what it is divided by; None for their number."""


def summary(rows: Sequence[Row], alarms: Sequence[Row] = ()) -> list[Row]:
    """Over recordings and seeds, by output and threshold.

    A rule that chose no threshold for some run has no row: it would be of other recordings than the rest.
    Standard error says which.

    Args:
        rows: of scores.
        alarms: `score.alarms_of` each run; none where there are no recordings without birds.
    """
    runs = list(dict.fromkeys(row["run"] for row in rows))
    made = []
    for output in ("mask", "boxes"):
        of_output = [row for row in rows if row["output"] == output]
        for name, chosen in by_rule(of_output, output, alarms).items():
            if without := [run for run in runs if run not in chosen]:
                print(f"{output}, {name}: no row, {WHY[name]}: of {', '.join(without)}", file=sys.stderr)
                continue
            those = [row for row in of_output if row["threshold"] == chosen[row["run"]]]
            made.append({"output": output, "threshold": name} | scores(those) | measured(name, alarms))
        for threshold in THRESHOLDS:
            those = [row for row in of_output if row["threshold"] == threshold]
            made.append({"output": output, "threshold": threshold} | scores(those))
    return made


WHY = {
    "precise": f"in other folds' recordings, if there are any, no threshold puts {PRECISION:g} of the marks "
    "into boxes",
    "boxes": "there are no other folds",
} | {
    f"alarms_{rate}": "it has heard all recordings without birds, or marks too much there at any threshold"
    for rate in RATES
}
"""Why a rule may choose no threshold."""


def by_rule(rows: Sequence[Row], output: str, alarms: Sequence[Row]) -> dict[str, Chosen]:
    """What each rule chooses, of the rows of one output."""
    found = {
        name: {row["run"]: row["threshold"] for row in rows if row[name]}
        for name in (("own", "drawn") if output == "mask" else ("own",))
    }
    rules = {"precise": precise} | ({"boxes": best_iou} if output == "boxes" else {})
    found |= {name: on_others(rows, rule) for name, rule in rules.items()}
    for row in alarms:
        of_rate = found.setdefault(row["rule"], {})
        if row["threshold"] is not None:
            of_rate[row["run"]] = row["threshold"]
    return found


def measured(rule: str, alarms: Sequence[Row]) -> Row:
    """What a rule's false alarms were measured on, and their bound, each the worst of the runs'.

    Runs aren't added up: their recordings without birds are the same ones. Empty for other rules.
    """
    of_rule = [row for row in alarms if row["rule"] == rule]
    if not of_rule:
        return {}
    return {
        "bird_free_recordings": min(row["recordings"] for row in of_rule),
        "bird_free_minutes": min(row["minutes"] for row in of_rule),
        "alarms_an_hour_at_most": max(row["an_hour_at_most"] for row in of_rule),
    }


def on_others(rows: Sequence[Row], rule: Callable[[Mapping[float, list[Row]]], float | None]) -> Chosen:
    """The threshold that a rule chooses on recordings which only other runs of the seed test."""
    chosen = {}
    for run, seed in {(row["run"], row["seed"]) for row in rows}:
        own = {row["recording"] for row in rows if row["run"] == run} | {OFFICIAL}
        there = defaultdict(list)
        for row in rows:
            if row["seed"] == seed and row["recording"] not in own and row["threshold"] in THRESHOLDS:
                there[row["threshold"]].append(row)
        if there and (threshold := rule(there)) is not None:
            chosen[run] = threshold
    return chosen


def precise(rows: Mapping[float, list[Row]]) -> float | None:
    """The lowest threshold from which on `PRECISION` is kept; None if there is none."""
    chosen = None
    for threshold in sorted(rows, reverse=True):
        marked = sum(row["marked"] for row in rows[threshold])
        if marked and sum(row["marked_in_boxes"] for row in rows[threshold]) < PRECISION * marked:
            break
        chosen = threshold
    return chosen


def best_iou(rows: Mapping[float, list[Row]]) -> float:
    """The threshold with the best IoU with boxes."""
    return max(rows, key=lambda threshold: sum(row["iou"] for row in rows[threshold]))


def scores(rows: Sequence[Row]) -> Row:
    """`SCORES` and ``official``: means over seeds, ``_sd``, ``_low`` and ``_high``: the interval.

    Args:
        rows: of every seed the same recordings.
    """
    seeds: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: str(row["recording"])):
        seeds[row["seed"]].append(row)
    boxed = [[row for row in each if row["recording"] != OFFICIAL] for each in seeds.values()]
    names = [row["recording"] for row in boxed[0]]
    made: Row = {"seeds": len(seeds), "recordings": len(names)}
    for score in SCORES:
        each = [statistic(score, those) for those in boxed]
        whole = [one(np.arange(len(names))) for one in each]
        found = estimate_statistic(each, names).of_share()
        made |= {score: found.mean, f"{score}_sd": _sd(whole)}
        made |= {f"{score}_low": found.low, f"{score}_high": found.high}
    official = [row["iou"] for row in rows if row["recording"] == OFFICIAL]
    return made | ({"official": statistics.fmean(official), "official_sd": _sd(official)} if official else {})


def statistic(score: str, rows: Sequence[Row]) -> Statistic:
    """One of `SCORES`, of some of these recordings."""
    part, whole = SCORES[score]
    parts = np.array([row[part] for row in rows], np.float64)
    wholes = np.ones(len(rows)) if whole is None else np.array([row[whole] for row in rows], np.float64)

    def of(places: NDArray[np.intp]) -> float:
        # Nothing marked at all: nothing of it is wrong.
        return float(parts[places].sum() / total) if (total := wholes[places].sum()) else 1.0

    return of


def _sd(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan
