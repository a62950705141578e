"""The tables that a report prints: what a paper shows, rounded."""

import math
import re
import statistics as stats
from collections.abc import Mapping, Sequence

from birdlab.metrics import WITHIN
from birdlab.reporting.comparison import LOWER_IS_BETTER, Ranking
from birdlab.reporting.conditions import Condition, as_number, factors, short_names, shown
from birdlab.reporting.read import RunRecord
from birdlab.reporting.rendering import Cell, Table

HEADINGS = {
    "iou": "IoU",
    "iou_present": "IoU where birds are",
    "absent_unmarked": "bird-free unmarked",
    "iou_pooled": "pooled IoU",
    "iou_two_class": "two-class IoU",
    "dice": "Dice",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "average_precision": "average precision",
    "roc_auc": "ROC-AUC",
    "micro_f1": "micro F1",
    "row_f1": "row F1",
    "callers_average_precision": "callers' average precision",
    "callers_roc_auc": "callers' ROC-AUC",
    "callers_micro_f1": "callers' micro F1",
}
"""Scores that a paper prints, in this order; every score is in the CSV files."""
SPEEDS = {
    "real_time_1_core": ("× real time, 1 core", 1.0),
    "real_time_2_cores": ("× real time, 2 cores", 1.0),
    "real_time_gpu": ("× real time, GPU", 1.0),
}
"""What `birdlab.speed` finds of a run, as in `COSTS`."""
COSTS = {
    "wall_s": ("time (min)", 1 / 60),
    "samples_per_s": ("samples/s", 1.0),
    "peak_memory_gb": ("memory (GB)", 1.0),
    "parameters": ("parameters (M)", 1e-6),
    **SPEEDS,
}
"""What a run costs: by fact its heading, and the factor to its unit."""


def printed_scores(records: Sequence[RunRecord]) -> list[str]:
    """The scores that tables print: those of `HEADINGS` that some run has, and accuracies within collections.

    If there are none of these: whatever there is.
    """
    known = dict.fromkeys(
        name.removeprefix(f"{record.block}/")
        for record in records
        for name in record.scores
        if name.startswith(f"{record.block}/")
    )
    printed = [name for name in HEADINGS if name in known]
    printed += sorted(name for name in known if name.startswith(WITHIN))
    return printed or [name for name in known if name != "loss"]


def heading(score: str) -> str:
    """A score as tables and figures call it."""
    return HEADINGS.get(score, f"in {score.removeprefix(WITHIN)}" if score.startswith(WITHIN) else score)


def speed_devices(records: Sequence[RunRecord], speed: str) -> list[str]:
    """What one of `SPEEDS` was measured on; runs measured by an older birdlab don't say."""
    found = (record.facts.get(f"{speed}_device") for record in records)
    return list(dict.fromkeys(str(device) for device in found if device))


def main_score(records: Sequence[RunRecord]) -> str | None:
    """What the study monitors, as a test score; else the first that is printed."""
    printed = printed_scores(records)
    for record in records:
        monitored = str(record.config.get("monitor.metric", "")).removeprefix("val/")
        name = re.sub(r"(_best)?_resized$", "", monitored)
        if name in printed:
            return name
    return printed[0] if printed else None


def summary_table(conditions: Sequence[Condition], rankings: Mapping[str, Ranking], main: str) -> Table:
    """Mean ± standard deviation by condition, the best first, in bold what the comparison supports."""
    scores = printed_scores([run for condition in conditions for run in condition.runs])
    factors = list(dict.fromkeys(key for condition in conditions for key in condition.factors))
    names = short_names(factors)
    costs = [
        name
        for name in COSTS
        if len({cost for condition in conditions for cost in condition.facts(name)}) > 1
    ]
    ordered = sorted(conditions, key=lambda condition: _order(condition, main))
    rows = []
    for condition in ordered:
        cells = [_factor_cell(condition.factors.get(key, "")) for key in factors] or [
            Cell(condition.label, condition.label)
        ]
        cells.append(Cell(str(len(condition.runs)), len(condition.runs)))
        for score in scores:
            ranking = rankings.get(score)
            bold = ranking is not None and condition in ranking.better
            cells.append(mean_cell(condition.values(score), bold=bold))
        cells += [
            mean_cell([COSTS[name][1] * value for value in condition.facts(name)], digits=1) for name in costs
        ]
        rows.append(tuple(cells))
    headings = (
        *([names[key] for key in factors] or ["condition"]),
        "n",
        *(heading(score) for score in scores),
        *(COSTS[name][0] for name in costs),
    )
    baseline = rankings[main].baseline
    note = (
        "Mean and standard deviation over n runs. Bold: better than "
        f"{baseline.label if baseline else 'every other condition'} (p < .05; "
        "bootstrap over seeds and recordings, paired by recording, with Student's t; Holm-corrected)."
        + _measured_on([run for condition in conditions for run in condition.runs], costs)
        + _incomplete(ordered)
    )
    return Table("Scores on the test split", headings, tuple(rows), note)


def _incomplete(conditions: Sequence[Condition]) -> str:
    """For a note: which cross-validations lack folds, so that their scores are of other samples."""
    found = []
    for condition in conditions:
        for run in condition.runs:
            for key, value in run.config.items():
                wanted = value if key.startswith("data.") and key.endswith(".folds") else None
                tests = run.config.get(f"{key.removesuffix('s')}_tests") is True
                if wanted and tests and run.folds != wanted:
                    seed = run.config.get("seed")
                    found.append(f"{condition.label} (seed {seed}: {run.folds} of {wanted})")
    return (
        f" Folds are missing, so that these are scores of other samples: {'; '.join(found)}." if found else ""
    )


def comparison_table(ranking: Ranking) -> Table:
    """The best against each other condition, or each other one against the baseline."""
    rows = []
    for rival in ranking.rivals:
        one = rival.comparison
        interval = "—" if one is None or math.isnan(one.p) else f"{one.low:.3f} to {one.high:.3f}"
        rows.append(
            (
                Cell(rival.condition.label, rival.condition.label),
                Cell("—", "") if one is None else Cell(f"{one.difference:+.3f}", one.difference),
                Cell(interval, "" if one is None else one.low),
                Cell("—", "") if math.isnan(rival.p) else Cell(_p_text(rival.p), rival.p),
            )
        )
    one_and_others = ranking.best.label, "the others"
    if ranking.baseline:
        one_and_others = "the others", ranking.baseline.label
    return Table(
        f"{heading(ranking.score)}: {' against '.join(one_and_others)}",
        ("condition", "difference", "95 % interval", "p (Holm)"),
        tuple(rows),
        "— where one seed, or no common samples, leave it open.",
    )


def reference_table(records: Sequence[RunRecord]) -> Table | None:
    """What the networks stand beside, once for each data set."""
    scores = printed_scores(records)
    rows: dict[tuple[str, ...], str] = {}
    for record in records:
        for name, values in record.references.items():
            rows.setdefault((name, *(f"{values.get(score, math.nan):.3f}" for score in scores)), record.name)
    if not rows:
        return None
    several = len({key[0] for key in rows}) < len(rows)
    return Table(
        "What the networks stand beside",
        ("reference", *(["of run"] if several else []), *(heading(score) for score in scores)),
        tuple(
            (
                Cell(name, name),
                *([Cell(run, run)] if several else []),
                *(_text_cell(value) for value in values),
            )
            for (name, *values), run in rows.items()
        ),
    )


def failure_table(records: Sequence[RunRecord]) -> Table | None:
    """Runs without a result, and what is wrong with others."""
    rows = tuple(
        (
            Cell(record.name, record.name),
            Cell(record.status, record.status),
            Cell(record.reason, record.reason),
        )
        for record in records
        if record.status != "finished" or record.reason
    )
    return (
        Table("Runs that failed, or can't be used in full", ("run", "status", "reason"), rows)
        if rows
        else None
    )


def run_table(records: Sequence[RunRecord]) -> Table:
    """Every run: what sets it apart, its scores, and what it took."""
    columns = factors([record for record in records if record.config])
    scores = printed_scores(records)
    costs = [name for name in COSTS if any(record.cost(name) is not None for record in records)]
    names = short_names(columns)
    values = iter(zip(*columns.values(), strict=True))
    rows = []
    for record in records:
        own = next(values, ()) if record.config else ()
        commit = str(record.facts.get("commit") or "")[:8] + "*" * bool(record.facts.get("dirty"))
        rows.append(
            (
                Cell(record.name, record.name),
                Cell(record.status, record.status),
                _factor_cell(shown(record.config.get("seed", ""))),
                *(_factor_cell(text) for text in own or [""] * len(columns)),
                *(_cost_cell(record.score(score), 3) for score in scores),
                *(_cost_cell(record.cost(name), 1, COSTS[name][1]) for name in costs),
                Cell(commit, commit),
            )
        )
    headings = (
        *("run", "status", "seed"),
        *(names[key] for key in columns),
        *(heading(score) for score in scores),
        *(COSTS[name][0] for name in costs),
        "commit",
    )
    note = "A commit with * had changes that were not committed." + _measured_on(records, costs)
    return Table("Each run", headings, tuple(rows), note)


def mean_cell(values: Sequence[float], *, digits: int = 3, bold: bool = False) -> Cell:
    """``0.550 ± 0.012``; one value stands alone."""
    if not values:
        return Cell("—", "")
    mean = stats.fmean(values)
    spread = f" ± {stats.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return Cell(f"{mean:.{digits}f}{spread}", mean, bold)


def _measured_on(records: Sequence[RunRecord], costs: Sequence[str]) -> str:
    """The devices of the speeds among some costs, for a note: runs needn't have been trained there."""
    found = {SPEEDS[name][0]: speed_devices(records, name) for name in costs if name in SPEEDS}
    return "".join(f" {label}: on {', '.join(devices)}." for label, devices in found.items() if devices)


def _order(condition: Condition, main: str) -> float:
    values = condition.values(main)
    sign = 1 if main in LOWER_IS_BETTER else -1
    return sign * stats.fmean(values) if values else math.inf


def _factor_cell(text: str) -> Cell:
    number = as_number(text)
    return Cell(text, text if number is None else number)


def _cost_cell(value: float | None, digits: int, unit: float = 1.0) -> Cell:
    return Cell("—", "") if value is None else Cell(f"{unit * value:.{digits}f}", unit * value)


def _text_cell(text: str) -> Cell:
    return Cell("—", "") if text == "nan" else Cell(text, float(text))


def _p_text(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
