"""Cross-validation: the runs that test a fold each, put together as one that tests every sample."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import fsum
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from birdlab.metrics.calibration import ReliabilityCurve
from birdlab.metrics.classification import WITHIN, single_label_scores, within_origin
from birdlab.reporting.heard import callers_micro_f1, names_in, one_each, probabilities, ranked
from birdlab.reporting.read import RunRecord
from birdlab.trained_on import STARTS

_COUNTS = ("recordings", "images")
_BLOCKS = ("test", "test_tuned")


def crossed(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Runs that differ in seed and fold alone, with those of one seed as one where each tests other samples.

    A fold of a small data set is too few recordings for a score of its own: of a species with seven, one is
    tested. Where each recording is of one species, scores of network and references are computed anew from
    the recordings of all folds, and so are the scores of who is heard where that may be several, or nobody,
    and the calibration error. Any other score is the mean over folds, weighted by their samples, which for a
    mean over samples is exact.
    """
    by_seed: dict[Any, list[RunRecord]] = {}
    for run in runs:
        by_seed.setdefault(run.config.get("seed"), []).append(run)
    return [one for folds in by_seed.values() for one in ([_joined(folds)] if _test_apart(folds) else folds)]


def is_fold(key: str) -> bool:
    """Whether a config's key says which fold a run tests, of its data set or of a part of it."""
    return key.startswith("data.") and key.endswith(".fold")


def _test_apart(runs: Sequence[RunRecord]) -> bool:
    tested = [{row["id"] for row in run.samples} for run in runs]
    return len(runs) > 1 and all(tested) and all(a.isdisjoint(b) for a, b in combinations(tested, 2))


def _joined(folds: Sequence[RunRecord]) -> RunRecord:
    first = folds[0]
    weights = [len(run.samples) for run in folds]
    samples = [row for run in folds for row in run.samples]
    scores = _together([run.scores for run in folds], weights)
    of_one = _of_species(samples)
    scores |= {f"test/{name}": value for name, value in of_one.items()}
    if not of_one:
        pooled = {
            f"{block}/{name}": value for block in _BLOCKS for name, value in _of_several(samples).items()
        }
        scores |= {name: value for name, value in pooled.items() if name in scores}
    curves = [curve for run in folds for _, curve in run.reliability]
    if len(curves) == len(folds):
        # Of the few samples of a fold it would be larger by chance; of the unscaled one no curve is kept.
        scores["test/calibration_error"] = ReliabilityCurve.together(curves).error
        scores.pop("test/calibration_error_unscaled", None)
    truth = {row["id"]: row for row in samples}
    said = [row for run in folds for row in run.reference_samples if row["id"] in truth]
    references = {
        name: _together([run.references[name] for run in folds], weights)
        | _of_species([{**truth[row["id"]], **row} for row in said if row["reference"] == name])
        for name in first.references
        if all(name in run.references for run in folds)
    }
    joined = {  # what they tested, and started from
        key: ", ".join(dict.fromkeys(str(run.config.get(key)) for run in folds))
        for key, value in first.config.items()
        if is_fold(key) or (key in STARTS and value is not None)
    }
    epochs = zip(*(run.history for run in folds), strict=False)  # as far as all of them went
    tests = sum(run.splits.get("test", 0) for run in folds)
    return replace(
        first,
        name=f"{first.name} and {len(folds) - 1} more folds",
        config={**first.config, **joined},
        scores=scores,
        references=references,
        facts={**first.facts, **_facts(folds)},
        history=[_means(rows, [1] * len(folds)) for rows in epochs],
        samples=samples,
        reliability=[each for run in folds for each in run.reliability],
        splits=dict(first.splits) | ({"test": tests} if tests else {}),
        pictures=[picture for run in folds for picture in run.pictures],
        folds=len(folds),
    )


def _facts(folds: Sequence[RunRecord]) -> dict[str, Any]:
    """What all ``folds`` took together; of the rest the mean."""
    facts = _means([run.facts for run in folds], [1] * len(folds))
    if "wall_s" in facts:
        facts["wall_s"] = fsum(run.facts["wall_s"] for run in folds)
    if "peak_memory_gb" in facts:
        facts["peak_memory_gb"] = max(run.facts["peak_memory_gb"] for run in folds)
    return facts | {"best_epoch": "/".join(str(run.facts.get("best_epoch", "—")) for run in folds)}


def _together(rows: Sequence[Mapping[str, Any]], weights: Sequence[int]) -> dict[str, Any]:
    """Scores of all folds: what counts samples summed, of the rest the weighted mean."""
    scores = _means(rows, weights)
    return scores | {
        name: sum(row[name] for row in rows) for name in scores if name.rsplit("/", 1)[-1] in _COUNTS
    }


def _means(rows: Sequence[Mapping[str, Any]], weights: Sequence[int]) -> dict[str, Any]:
    """Weighted means of the numbers that all rows have."""
    numbers = [
        name
        for name, value in rows[0].items()
        if all(isinstance(row.get(name), int | float) and not isinstance(row[name], bool) for row in rows)
        and isinstance(value, int | float)
    ]
    return {
        name: fsum(row[name] * weight for row, weight in zip(rows, weights, strict=True)) / sum(weights)
        for name in numbers
    }


def _of_several(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Scores of who is heard where that may be several, or nobody, with and without a mask beside."""
    found: dict[str, float] = {}
    every = np.arange(len(rows))
    if (by_rank := ranked(rows)) is not None:
        found = {"average_precision": by_rank.average_precision(every), "roc_auc": by_rank.roc_auc(every)}
        found |= {f"callers_{name}": value for name, value in found.items()}
    if (micro_f1 := callers_micro_f1(rows)) is not None and not math.isnan(value := micro_f1(every)):
        found["callers_micro_f1"] = value
    return found


def _of_species(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Scores from what was said of each recording; none of masks, or of several species at once.

    Args:
        rows: ``label``, ``origin`` where it is known, and a probability of each species, which sum to 1.
    """
    names = names_in(rows)
    if not names or any(row["label"] not in names for row in rows):
        return {}
    said = probabilities(rows, names)
    if not one_each(said):
        return {}
    logits = torch.from_numpy(said).float().log()
    truth = torch.tensor([names.index(row["label"]) for row in rows])
    origins = [row.get("origin", "") for row in rows]
    found = [{origins[i] for i in (truth == label).nonzero()[:, 0].tolist()} for label in range(len(names))]
    within = within_origin(logits, truth, origins, found)
    return single_label_scores(logits, F.one_hot(truth, len(names))) | {
        f"{WITHIN}{origin}": value for origin, value in within.items()
    }
