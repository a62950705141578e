"""The rows of a report's CSV files: everything there is, unrounded."""

import statistics
from collections.abc import Sequence
from typing import Any

from birdlab.reporting.comparison import Ranking
from birdlab.reporting.conditions import Condition, overridden, shown
from birdlab.reporting.read import RunRecord
from birdlab.reporting.tables import COSTS, SPEEDS

_ORIGIN = ("best_epoch", "threshold", "precision", "device", "birdlab", "commit", "dirty", "data_hash")


def result_rows(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """``results.csv``: every run with what sets it apart, every score, and what it took."""
    keys = ["seed", *(key for key in overridden(records) if key != "seed")]
    scores = dict.fromkeys(name for record in records for name in record.scores)
    costs = _costs(records)
    speeds = [f"{name}_device" for name in costs if name in SPEEDS]
    return [
        {"run": record.name, "status": record.status, "reason": record.reason}
        | {key: shown(record.config[key]) if key in record.config else None for key in keys}
        | {name: record.scores.get(name) for name in scores}
        | {"epochs": len(record.history) or None}
        | {name: record.facts.get(name) for name in (*costs, *speeds, *_ORIGIN)}
        for record in records
    ]


def summary_rows(conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """``summary.csv``: mean, standard deviation (of a sample) and number of runs, by condition."""
    scores = dict.fromkeys(name for condition in conditions for run in condition.runs for name in run.scores)
    rows = []
    for condition in conditions:
        row: dict[str, Any] = {"condition": condition.label, **condition.factors, "n": len(condition.runs)}
        for name in scores:
            row |= _moments(name, [run.scores[name] for run in condition.runs if name in run.scores])
        for name in _costs([run for condition in conditions for run in condition.runs]):
            row |= _moments(name, condition.facts(name))
        rows.append(row)
    return rows


def comparison_rows(rankings: Sequence[Ranking]) -> list[dict[str, Any]]:
    """``comparisons.csv``: for each score that samples have.

    The best less each other condition, or each other one less the ``baseline``, which is then a column.
    """
    return [
        {
            "score": ranking.score,
            "best" if ranking.baseline is None else "baseline": (ranking.baseline or ranking.best).label,
            "other": rival.condition.label,
            "difference": rival.comparison.difference if rival.comparison else None,
            "low": rival.comparison.low if rival.comparison else None,
            "high": rival.comparison.high if rival.comparison else None,
            "p": rival.comparison.p if rival.comparison else None,
            "p_holm": rival.p,
        }
        for ranking in rankings
        for rival in ranking.rivals
    ]


def reference_rows(conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """``references.csv``: what networks stand beside, once for each data set, and a run that says so."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in (run for condition in conditions for run in condition.runs):
        for name, scores in run.references.items():
            same = (name, *((score, round(value, 6)) for score, value in scores.items()))
            rows.setdefault(same, {"reference": name, **scores, "of_run": run.name})
    return list(rows.values())


def _costs(records: Sequence[RunRecord]) -> list[str]:
    """Those that are always known, and speeds where somebody measured them."""
    return [name for name in COSTS if name not in SPEEDS or any(name in run.facts for run in records)]


def _moments(name: str, values: Sequence[float]) -> dict[str, float | None]:
    return {
        f"{name}_mean": statistics.fmean(values) if values else None,
        f"{name}_sd": statistics.stdev(values) if len(values) > 1 else None,
    }
