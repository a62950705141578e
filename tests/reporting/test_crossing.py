"""Folds become one run whose scores are of all recordings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from birdlab.metrics.calibration import ReliabilityCurve
from birdlab.reporting.comparison import POOLED, common_samples, rank
from birdlab.reporting.conditions import conditions
from birdlab.reporting.crossing import crossed
from birdlab.reporting.read import RunRecord

NAMES = ("crow", "gull", "wren")
ORIGIN = {"crow": "north", "gull": "north", "wren": "south"}


def fold(number: int, said: list[tuple[str, str, str]], *, seed: int = 0, **settings: object) -> RunRecord:
    """A run that tested recordings: (id, label, what was predicted)."""
    rows = [
        {"id": id, "group": id, "label": label, "predicted": predicted, "origin": ORIGIN[label]}
        | {f"p_{name}": "0.8" if name == predicted else "0.1" for name in NAMES}
        for id, label, predicted in said
    ]
    right = sum(label == predicted for _, label, predicted in said) / len(said)
    config = {"name": "study", "seed": seed, "data.fold": number}
    return RunRecord(
        Path(f"f{number}s{seed}"),
        f"f{number}s{seed}",
        "finished",
        config=config | {key.replace("__", "."): value for key, value in settings.items()},
        scores={"test/accuracy": right, "test/loss": 1.0 + number, "test/recordings": len(said)},
        references={
            name: {"accuracy": 0.25 * number, "recordings": len(said)} for name in ("always crow", "other")
        },
        facts={"wall_s": 10.0 + number, "peak_memory_gb": 1.0 + number, "best_epoch": 3 + number},
        history=[{"epoch": epoch, "val/loss": 1.0 + number} for epoch in range(3 - number)],
        samples=rows,
        reference_samples=[
            {"reference": "always crow", "id": id, "p_crow": "1.0", "p_gull": "0.0", "p_wren": "0.0"}
            for id, *_ in said
        ],
        splits={"train": 4, "test": len(said)},
    )


FIRST = [("a", "crow", "crow"), ("b", "gull", "crow"), ("c", "wren", "wren"), ("d", "crow", "crow")]
SECOND = [("e", "crow", "wren"), ("f", "gull", "gull")]


def test_scores_of_species_are_of_all_recordings_together() -> None:
    (one,) = crossed([fold(0, FIRST), fold(1, SECOND)])
    assert one.scores["test/accuracy"] == pytest.approx(4 / 6)
    # crow 2 of 3 found, gull 1 of 2, wren 1 of 1; a gull is called crow, a crow wren.
    assert one.scores["test/balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert one.scores["test/macro_f1"] == pytest.approx((4 / 6 + 2 / 3 + 2 / 3) / 3)
    # Among crow and gull the crow that was called wren is a toss-up, which the first one wins.
    assert one.scores["test/accuracy_within_north"] == pytest.approx(4 / 5)
    assert one.scores["test/accuracy_within_south"] == 1.0
    assert 0 < one.scores["test/average_precision"] < 1


def test_so_are_those_of_references() -> None:
    (one,) = crossed([fold(0, FIRST), fold(1, SECOND)])
    found = one.references["always crow"]
    assert found["accuracy"] == pytest.approx(3 / 6)
    assert found["macro_f1"] == pytest.approx(6 / 9 / 3)  # the mean over folds would be 2/3 / 3
    assert found["roc_auc"] == 0.5


def test_the_calibration_error_is_of_all_recordings_together() -> None:
    """Two folds that are wrong in opposite directions are right together; their mean error would be .2."""
    runs = []
    for number, happened in enumerate((0.3, 0.7)):
        run = fold(number, FIRST if number == 0 else SECOND)
        count, probability, frequency = torch.tensor([10]), torch.tensor([0.5]), torch.tensor([happened])
        scores = {**run.scores, "test/calibration_error": 0.2, "test/calibration_error_unscaled": 0.1}
        curve = ReliabilityCurve(count, probability, frequency)
        runs.append(replace(run, scores=scores, reliability=[("names", curve)]))
    (one,) = crossed(runs)
    assert one.scores["test/calibration_error"] == pytest.approx(0, abs=1e-6)
    assert "test/calibration_error_unscaled" not in one.scores


def test_probabilities_of_several_species_at_once_are_no_shares() -> None:
    runs = [fold(0, FIRST), fold(1, SECOND)]
    for run in runs:
        for row in run.samples:
            row["p_gull"] = "0.9"  # type: ignore[index]
    (one,) = crossed(runs)
    assert one.scores["test/accuracy"] == pytest.approx((4 * 3 / 4 + 2 * 1 / 2) / 6)
    assert "test/macro_f1" not in one.scores


def test_other_scores_are_means_weighted_by_samples_and_costs_are_sums() -> None:
    (one,) = crossed([fold(0, FIRST), fold(1, SECOND)])
    assert one.scores["test/loss"] == pytest.approx((4 * 1 + 2 * 2) / 6)
    assert one.scores["test/recordings"] == 6
    assert one.references["other"] == {"accuracy": pytest.approx(2 * 0.25 / 6), "recordings": 6}
    assert (one.facts["wall_s"], one.facts["peak_memory_gb"], one.facts["best_epoch"]) == (21.0, 2.0, "3/4")
    assert one.history == [{"epoch": 0, "val/loss": 1.5}, {"epoch": 1, "val/loss": 1.5}]
    assert (one.splits["test"], len(one.samples)) == (6, 6)
    assert one.config["data.fold"] == "0, 1"


def test_runs_that_test_the_same_recordings_stay_apart() -> None:
    runs = [fold(0, FIRST), fold(1, FIRST)]
    assert crossed(runs) == runs
    alone = [fold(0, FIRST, seed=seed) for seed in range(3)]
    assert crossed(alone) == alone


def test_masks_have_the_mean_of_their_samples() -> None:
    runs = []
    for number, ious in enumerate(([0.2, 0.4, 0.6], [0.9])):
        rows = [{"id": f"{number}{place}", "iou": str(iou)} for place, iou in enumerate(ious)]
        scores = {"test_tuned/iou": sum(ious) / len(ious)}
        config = {"name": "s", "seed": 0, "data.parts.boxes.fold": number}
        runs.append(RunRecord(Path("r"), str(number), "finished", config=config, scores=scores, samples=rows))
    (one,) = crossed(runs)
    assert one.score("iou") == pytest.approx(2.1 / 4)
    (condition,) = conditions(runs)  # a fold of a part is a fold as well
    assert len(condition.runs) == 1


def test_micro_f1_of_who_is_heard_is_of_the_windows_of_all_folds() -> None:
    """As its interval and comparisons count it: few names in one fold weigh less than many in another."""
    runs = []
    for number, counts in enumerate(([(1, 9)] * 6, [(18, 2)] * 6)):
        rows = [
            {"id": f"{number}{place}", "callers_right": str(right), "callers_wrong": str(wrong)}
            for place, (right, wrong) in enumerate(counts)
        ]
        micro_f1 = sum(2 * right for right, _ in counts) / sum(2 * right + wrong for right, wrong in counts)
        names = ("test/callers_micro_f1", "test_tuned/callers_micro_f1", "best_epoch/val/callers_micro_f1")
        scores = dict.fromkeys(names, micro_f1)
        config = {"name": "s", "seed": 0, "data.fold": number}
        runs.append(RunRecord(Path("r"), str(number), "finished", config=config, scores=scores, samples=rows))
    (condition,) = conditions(runs)
    pooled, mean = 2 * 19 / (2 * 19 + 11), (2 / 11 + 36 / 38) / 2
    assert condition.values("callers_micro_f1") == [pytest.approx(pooled)]
    (one,) = condition.runs
    assert one.scores["test/callers_micro_f1"] == pytest.approx(pooled)
    assert one.scores["best_epoch/val/callers_micro_f1"] == pytest.approx(mean)  # of which no window is kept
    statistic = POOLED["callers_micro_f1"](one, common_samples([one]))
    assert statistic is not None
    assert statistic(np.arange(12)) == pytest.approx(pooled)


@pytest.mark.parametrize("score", ["callers_average_precision", "roc_auc"])
def test_ranks_of_who_is_heard_are_of_the_windows_of_all_folds(score: str) -> None:
    """As their intervals and comparisons count them, whatever a fold scored by itself."""
    draw, runs = np.random.default_rng(0), []
    for number in range(2):
        rows = [
            {"id": f"{number}{place}", "label": ("nocall", "owl", "owl wren")[place % 3]}
            | {f"p_{name}": f"{draw.random():.6g}" for name in ("owl", "wren")}
            for place in range(9)
        ]
        config = {"name": "s", "seed": 0, "data.fold": number}
        scores = {f"test/{score}": 1.0}
        runs.append(RunRecord(Path("r"), str(number), "finished", config=config, scores=scores, samples=rows))
    (one,) = crossed(runs)
    statistic = POOLED[score](one, common_samples([one]))
    assert statistic is not None
    assert one.scores[f"test/{score}"] == pytest.approx(statistic(np.arange(18)))
    assert one.scores[f"test/{score}"] < 0.9


def test_conditions_are_compared_on_the_recordings_of_all_folds() -> None:
    def runs(rate: float, wrong: str) -> list[RunRecord]:
        said = [("a", "crow", "crow"), ("b", "gull", wrong), ("c", "wren", "wren"), ("d", "crow", "crow")]
        return [
            fold(number, part, seed=seed, optimizer__lr=rate)
            for seed in range(3)
            for number, part in enumerate((said, SECOND))
        ]

    found = conditions([*runs(0.1, "crow"), *runs(0.01, "gull")])
    assert [(one.label, len(one.runs)) for one in found] == [("lr 0.1", 3), ("lr 0.01", 3)]
    ranking = rank(found, "accuracy")
    assert ranking is not None
    (rival,) = ranking.rivals
    assert (ranking.best.label, rival.comparison and round(rival.comparison.difference, 4)) == (
        "lr 0.01",
        0.1667,
    )


def test_macro_f1_is_compared_over_all_recordings() -> None:
    """It is no mean over recordings: they are resampled, and it is computed of each draw."""
    labels = [NAMES[index % 3] for index in range(30)]
    good, bad = (
        [(str(i), label, guess(i, label)) for i, label in enumerate(labels)] for guess in (_mostly, _seldom)
    )
    runs = [
        fold(number, said[15 * number : 15 * number + 15], seed=seed, model=model)
        for model, said in (("good", good), ("bad", bad))
        for seed in (0, 1)
        for number in (0, 1)
    ]
    ranking = rank(conditions(runs), "macro_f1")
    assert ranking is not None
    comparison = ranking.rivals[0].comparison
    assert comparison is not None
    whole = {c.label: c.values("macro_f1")[0] for c in (ranking.best, ranking.rivals[0].condition)}
    assert comparison.difference == pytest.approx(whole["good"] - whole["bad"])
    assert comparison.low > 0
    assert ranking.rivals[0].p < 0.01


def _mostly(number: int, label: str) -> str:
    return label if number % 5 else NAMES[(NAMES.index(label) + 1) % 3]


def _seldom(number: int, label: str) -> str:
    return NAMES[(NAMES.index(label) + 1) % 3] if number % 4 else label
