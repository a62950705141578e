"""Which condition is the best, or better than a baseline, and whether the runs support saying so."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from birdlab.metrics.resampled import RankedOnce
from birdlab.reporting import heard
from birdlab.reporting.conditions import Condition
from birdlab.reporting.read import RunRecord
from birdlab.significance import Comparison, Statistic, compare, compare_statistics, holm

LEVEL = 0.05
"""Of significance, after correction."""
LOWER_IS_BETTER = frozenset({"loss", "over_segmentation", "under_segmentation", "false_positive_area"})
_MOST_CELLS = 200_000
"""Of a table of probabilities whose ranks are resampled: a quarter of a minute for each run."""
_COUNTS = ("true_positive", "false_negative", "false_positive", "true_negative")

Key = tuple[str, ...]
"""Of a sample: its id, its recording, and of its truth as much as the table tells. Another data set may have
the same ids."""


@dataclass(frozen=True)
class Rival:
    """A condition beside the best one, or beside a baseline.

    Attributes:
        condition: the rival.
        comparison: of the best with it, or of it with the baseline; None without scores of common samples.
        p: corrected for the number of rivals; NaN where nothing can be said.
    """

    condition: Condition
    comparison: Comparison | None
    p: float


@dataclass(frozen=True)
class Ranking:
    """The conditions by one score.

    Attributes:
        score: its name.
        best: of the best mean.
        rivals: all others that have the score, better ones first; with a baseline all but that.
        baseline: what the rivals are compared with instead of with the best.
    """

    score: str
    best: Condition
    rivals: tuple[Rival, ...]
    baseline: Condition | None = None

    @property
    def supported(self) -> bool:
        """Whether the best is better than every rival, beyond seeds and recordings; never with a baseline."""
        every = bool(self.rivals) and all(rival.p < LEVEL for rival in self.rivals)
        return every and self.baseline is None

    @property
    def better(self) -> list[Condition]:
        """What is better, beyond seeds and recordings, than every rival, or than the baseline."""
        if self.baseline is None:
            return [self.best] if self.supported else []
        return [rival.condition for rival in self.rivals if self._beyond(rival) > 0]

    def _beyond(self, rival: Rival) -> int:
        """1 if a rival is better than the baseline, -1 if it is worse, 0 if that can't be told."""
        if rival.comparison is None or not rival.p < LEVEL:
            return 0
        return 1 if (rival.comparison.difference > 0) != (self.score in LOWER_IS_BETTER) else -1

    def verdict(self, heading: str) -> str:
        """A sentence on it."""
        if not self.rivals:
            return f"There is nothing to compare {heading} with: all runs are of one condition."
        if self.baseline is not None:
            names: dict[int, list[str]] = {1: [], -1: [], 0: []}
            for rival in self.rivals:
                names[self._beyond(rival)].append(f"‘{rival.condition.label}’")
            better, worse, open_ = (", ".join(found) or "none" for found in names.values())
            return (
                f"{heading} against ‘{self.baseline.label}’: better {better}; worse {worse}; "
                f"not to be told from it {open_}."
            )
        name, runner_up = self.best.label, self.rivals[0]
        if self.supported:
            gap = runner_up.comparison
            assert gap is not None
            low, high = sorted((abs(gap.low), abs(gap.high)))
            return (
                f"{name} has the best {heading}, better than every other condition: the next, "
                f"{runner_up.condition.label}, is {abs(gap.difference):.3f} away "
                f"(95 % interval {low:.3f} to {high:.3f})."
            )
        unknown = [rival for rival in self.rivals if np.isnan(rival.p)]
        if unknown:
            alone = "there is one seed or one recording"
            why = "there are no scores of the same samples" if unknown[0].comparison is None else alone
            return (
                f"{name} has the best mean {heading}; whether it would have with other seeds and recordings "
                f"can't be told: {why}."
            )
        near = sum(rival.p >= LEVEL for rival in self.rivals)
        return (
            f"{name} has the best mean {heading}, but {near} of {len(self.rivals)} other conditions "
            "can't be told from it."
        )


def rank(conditions: Sequence[Condition], score: str, baseline: Condition | None = None) -> Ranking | None:
    """The conditions by the mean of a score; None if none has it, or the baseline hasn't.

    Args:
        conditions: to be compared.
        score: its name.
        baseline: one of them, which all others are compared with; None is the best.
    """
    sign = -1 if score in LOWER_IS_BETTER else 1
    scored = sorted(
        (condition for condition in conditions if condition.values(score)),
        key=lambda condition: sign * float(np.mean(condition.values(score))),
        reverse=True,
    )
    if not scored or baseline not in [None, *scored]:
        return None
    best = scored[0]
    if baseline is None:
        others = scored[1:]
        comparisons = [_compared(best, other, score) for other in others]
        # On the samples that both have, the best may be the worse one; then nothing speaks for it.
        raw = [1.0 if one is None or sign * one.difference <= 0 else one.p for one in comparisons]
    else:
        others = [condition for condition in scored if condition is not baseline]
        comparisons = [_compared(other, baseline, score) for other in others]
        raw = [1.0 if one is None else one.p for one in comparisons]
    # What can't be tested is no test, and a test not made needs no correction.
    tested = [index for index, p in enumerate(raw) if not np.isnan(p) and comparisons[index] is not None]
    corrected = dict(zip(tested, holm([raw[index] for index in tested]), strict=True))
    rivals = (
        Rival(other, comparison, corrected.get(index, float("nan")))
        for index, (other, comparison) in enumerate(zip(others, comparisons, strict=True))
    )
    return Ranking(score, best, tuple(rivals), baseline)


def sample_scores(record: RunRecord, score: str) -> dict[Key, float]:
    """A score of each test sample, whose mean is that of the run; empty where the run keeps none."""
    rows = record.samples
    if not rows:
        return {}
    try:
        if score in rows[0]:
            return {_key(row): float(row[score]) for row in rows if row[score]}
        if score in {"accuracy", "balanced_accuracy"} and {"label", "predicted"} <= rows[0].keys():
            return _hits(rows, balanced=score == "balanced_accuracy")
    except (ValueError, KeyError):
        pass
    return {}


def macro_f1(record: RunRecord, keys: Sequence[Key]) -> Statistic | None:
    """Macro F1 of a run's test samples, to be resampled; None where masks, or several species, are named.

    Args:
        record: the run.
        keys: of its samples, in the order that the statistic counts them.
    """
    mine = _samples(record, keys)
    if not mine or not all({"label", "predicted"} <= row.keys() for row in mine):
        return None
    names = sorted({row[column] for row in mine for column in ("label", "predicted")})
    true, said = (np.array([names.index(row[column]) for row in mine]) for column in ("label", "predicted"))

    def statistic(places: NDArray[np.intp]) -> float:
        label, guess = true[places], said[places]
        found = np.bincount(label[label == guess], minlength=len(names))
        named = np.bincount(label, minlength=len(names)) + np.bincount(guess, minlength=len(names))
        return float(np.mean(2 * found[named > 0] / named[named > 0]))

    return statistic


def callers_micro_f1(record: RunRecord, keys: Sequence[Key]) -> Statistic | None:
    """As `macro_f1`, micro F1 of who is heard beside a mask; None where a run doesn't say."""
    mine = _samples(record, keys)
    return None if mine is None else heard.callers_micro_f1(mine)


def average_precision(record: RunRecord, keys: Sequence[Key]) -> Statistic | None:
    """As `macro_f1`, the mean average precision of species; None, too, where that would take minutes."""
    found = _ranked(record, keys)
    return None if found is None else found.average_precision


def roc_auc(record: RunRecord, keys: Sequence[Key]) -> Statistic | None:
    """As `average_precision`, the mean ROC-AUC of species."""
    found = _ranked(record, keys)
    return None if found is None else found.roc_auc


def _ranked(record: RunRecord, keys: Sequence[Key]) -> RankedOnce | None:
    mine = _samples(record, keys)
    if mine is None or sum(map(len, mine)) > _MOST_CELLS:
        return None
    # Scores of folds that were put together are of what was said, not of logits.
    temperature = 1.0 if record.folds > 1 else float(record.facts.get("temperature") or 1)
    return heard.ranked(mine, temperature)


def _samples(record: RunRecord, keys: Sequence[Key]) -> list[Mapping[str, str]] | None:
    """A run's test samples in the order of ``keys``; None if it lacks one."""
    rows = {_key(row): row for row in record.samples}
    mine = [rows[key] for key in keys if key in rows]
    return mine if len(mine) == len(keys) else None


POOLED = {
    "macro_f1": macro_f1,
    "average_precision": average_precision,
    "roc_auc": roc_auc,
    "callers_micro_f1": callers_micro_f1,
    "callers_average_precision": average_precision,
    "callers_roc_auc": roc_auc,
}
"""Scores that are no mean over samples and can be resampled all the same."""


def common_samples(runs: Sequence[RunRecord]) -> list[Key]:
    """The test samples that all runs have."""
    keys = [{_key(row) for row in run.samples} for run in runs]
    return sorted(set.intersection(*keys)) if keys else []


def _compared_pooled(one: Condition, other: Condition, score: str) -> Comparison | None:
    common = common_samples([*one.runs, *other.runs])
    found = [[POOLED[score](run, common) for run in condition.runs] for condition in (one, other)]
    first, second = ([each for each in runs if each is not None] for runs in found)
    if not first or not second:
        return None
    return compare_statistics(first, second, [group for _, group, *_ in common])


def _compared(one: Condition, other: Condition, score: str) -> Comparison | None:
    """On the samples that all runs of both have; None if there are none."""
    if score in POOLED:
        return _compared_pooled(one, other, score)
    scores = [
        [found for run in condition.runs if (found := sample_scores(run, score))]
        for condition in (one, other)
    ]
    if not all(scores):
        return None
    common = sorted(set.intersection(*(set(run) for runs in scores for run in runs)))
    if not common:
        return None
    first, second = ([[run[key] for key in common] for run in runs] for runs in scores)
    return compare(first, second, [group for _, group, *_ in common])


def _hits(rows: Sequence[Mapping[str, str]], *, balanced: bool) -> dict[Key, float]:
    counts = Counter(row["label"] for row in rows)
    # Balanced accuracy is the mean over classes: with these weights it is one over samples, too.
    weights = {label: len(rows) / (len(counts) * count) for label, count in counts.items()}
    return {
        _key(row): (weights[row["label"]] if balanced else 1.0) * (row["label"] == row["predicted"])
        for row in rows
    }


def _key(row: Mapping[str, str]) -> Key:
    counts = [int(row[name]) for name in _COUNTS if name in row]
    truth = (str(counts[0] + counts[1]), str(sum(counts))) if len(counts) == len(_COUNTS) else ()
    return (row["id"], row.get("group", row["id"]), *truth, row.get("label", ""))
