"""Which condition is the best, and when that may be said."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from birdlab.metrics.classification import single_label_scores
from birdlab.reporting.comparison import POOLED, common_samples, rank, sample_scores
from birdlab.reporting.conditions import Condition
from birdlab.reporting.read import RunRecord

DRAW = np.random.default_rng(0)
HARD = DRAW.normal(0, 0.1, 50)


def run(quality: float, *, pixels: int = 100, samples: int = 50) -> RunRecord:
    iou = quality + DRAW.normal(0, 0.005) + HARD[:samples] + DRAW.normal(0, 0.02, samples)
    counts = {
        "true_positive": "40",
        "false_negative": "10",
        "false_positive": "5",
        "true_negative": str(pixels),
    }
    rows = [
        {"id": f"s{number}", "group": f"XC{number // 2}", "iou": str(value)} | counts
        for number, value in enumerate(iou)
    ]
    scores = {"test_tuned/iou": float(iou.mean()), "test/loss": 1 - quality}
    return RunRecord(Path("r"), "r", "finished", scores=scores, samples=rows)


def condition(label: str, runs: Sequence[RunRecord]) -> Condition:
    return Condition(label, {}, tuple(runs))


def seeds(label: str, quality: float, count: int = 3) -> Condition:
    return condition(label, [run(quality) for _ in range(count)])


def test_the_best_is_supported_if_it_beats_all_others() -> None:
    found = rank([seeds("worst", 0.3), seeds("best", 0.6), seeds("middle", 0.4)], "iou")
    assert found is not None
    assert found.best.label == "best"
    assert [rival.condition.label for rival in found.rivals] == ["middle", "worst"]
    assert found.supported
    assert all(rival.comparison and rival.p >= rival.comparison.p for rival in found.rivals)
    assert "best has the best IoU, better than every other condition: the next, middle" in found.verdict(
        "IoU"
    )


def test_the_best_of_all_samples_may_be_worse_on_those_that_both_have() -> None:
    """A score that is left empty where it is no number: the mean of the others may be anything."""
    one, other = seeds("one", 0.5), seeds("other", 0.6)
    for record in other.runs:
        record.scores["test_tuned/iou"] = 0.1  # of samples that the first one has no score of
    found = rank([one, other], "iou")
    assert found is not None
    assert found.best.label == "one"
    assert not found.supported


def test_a_near_rival_forbids_it() -> None:
    found = rank([seeds("worst", 0.3), seeds("one", 0.6), seeds("other", 0.6)], "iou")
    assert found is not None
    assert not found.supported
    assert "1 of 2 other conditions can't be told from it" in found.verdict("IoU")


@pytest.mark.parametrize(
    ("rival", "why"),
    [
        (seeds("other", 0.3, count=1), "one seed"),
        (condition("other", [run(0.3, pixels=99) for _ in range(3)]), "no scores of the same samples"),
        (
            condition("other", [RunRecord(Path("r"), "r", "finished", scores={"test_tuned/iou": 0.3})]),
            "no scores",
        ),
    ],
)
def test_what_cannot_be_tested_supports_nothing(rival: Condition, why: str) -> None:
    found = rank([seeds("best", 0.6), rival], "iou")
    assert found is not None
    assert math.isnan(found.rivals[0].p)
    assert not found.supported
    assert why in found.verdict("IoU")


def test_only_common_samples_are_compared() -> None:
    found = rank([seeds("best", 0.6), condition("fewer", [run(0.4, samples=30) for _ in range(3)])], "iou")
    assert found is not None
    assert found.supported


def test_of_a_loss_the_lowest_is_best() -> None:
    low, high = (
        Condition(label, {}, (RunRecord(Path("r"), "r", "finished", scores={"test/loss": value}),))
        for label, value in (("low", 0.2), ("high", 0.3))
    )
    found = rank([high, low], "loss")
    assert found is not None
    assert found.best is low
    assert rank([high, low], "iou") is None


def test_all_are_compared_with_a_baseline() -> None:
    groups = [seeds("down", 0.3), seeds("base", 0.5), seeds("same", 0.5), seeds("up", 0.6)]
    found = rank(groups, "iou", groups[1])
    assert found is not None
    assert found.best is groups[3]
    assert found.baseline is groups[1]
    assert [one.label for one in found.better] == ["up"]
    assert not found.supported  # nothing is said of the best against each other
    differences = {
        rival.condition.label: rival.comparison.difference for rival in found.rivals if rival.comparison
    }
    assert differences == pytest.approx({"up": 0.1, "same": 0, "down": -0.2}, abs=0.02)
    assert all(rival.comparison and rival.p >= rival.comparison.p for rival in found.rivals)
    assert (
        found.verdict("IoU")
        == "IoU against ‘base’: better ‘up’; worse ‘down’; not to be told from it ‘same’."
    )
    assert rank(groups, "iou", condition("none", [])) is None


def test_less_of_a_loss_than_the_baseline_is_better() -> None:
    base, low = seeds("base", 0.5), seeds("low", 0.3)
    for record in (*base.runs, *low.runs):
        record.scores["test_tuned/loss"] = record.scores["test_tuned/iou"]
        for row in record.samples:
            row["loss"] = row["iou"]  # type: ignore[index]
    found = rank([base, low], "loss", base)
    assert found is not None
    assert found.better == [low]


def test_alone_there_is_nothing_to_say() -> None:
    found = rank([seeds("only", 0.5)], "iou")
    assert found is not None
    assert not found.supported
    assert "nothing to compare" in found.verdict("IoU")


def test_hits_of_a_classifier_average_to_its_accuracies() -> None:
    rows = [
        {"id": f"{n}", "group": f"{n}", "label": label, "predicted": predicted}
        for n, (label, predicted) in enumerate([("a", "a"), ("a", "a"), ("a", "b"), ("b", "b")])
    ]
    record = RunRecord(Path("r"), "r", "finished", samples=rows)
    assert np.mean(list(sample_scores(record, "accuracy").values())) == 0.75
    # By hand: 2 of 3 for a, 1 of 1 for b.
    assert np.mean(list(sample_scores(record, "balanced_accuracy").values())) == pytest.approx(5 / 6)
    assert sample_scores(record, "macro_f1") == {}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        # By hand: a is found first and third, b first, and in the second case second and third.
        (("a", "b", "a"), ((1 + 2 / 3) / 2 + 1) / 2),
        (("a b", "nocall", "b"), (1 + (1 / 2 + 2 / 3) / 2) / 2),
        (("b a", "b", "a"), None),  # not in the order of the names: "b a" may be a third one
    ],
)
def test_ranks_are_resampled(labels: Sequence[str], expected: float | None) -> None:
    likely = {"a": (0.9, 0.3, 0.2), "b": (0.4, 0.5, 0.1)}
    rows = [
        {"id": f"{n}", "label": label, "p_a": str(likely["a"][n]), "p_b": str(likely["b"][n])}
        for n, label in enumerate(labels)
    ]
    record = RunRecord(Path("r"), "r", "finished", samples=rows)
    statistic = POOLED["average_precision"](record, common_samples([record]))
    if expected is None:
        assert statistic is None
    else:
        assert statistic is not None
        assert statistic(np.arange(3)) == pytest.approx(expected)


def test_ranks_are_those_of_logits_though_what_is_kept_was_calibrated() -> None:
    """A temperature moves recordings of several species past each other."""
    logits = np.random.default_rng(0).normal(0, 6, (40, 3))
    truth = np.random.default_rng(1).integers(0, 3, 40)
    said = np.exp(logits / 2.5)
    said /= said.sum(axis=1, keepdims=True)
    rows = [
        {"id": f"{n:02}", "label": f"species {label}"}
        | {f"p_species {k}": f"{p:.6g}" for k, p in enumerate(each)}
        for n, (label, each) in enumerate(zip(truth, said, strict=True))
    ]
    record = RunRecord(Path("r"), "r", "finished", samples=rows, facts={"temperature": 2.5})
    expected = single_label_scores(torch.from_numpy(logits), torch.eye(3)[torch.from_numpy(truth)])
    for name in ("average_precision", "roc_auc"):
        statistic = POOLED[name](record, common_samples([record]))
        assert statistic is not None
        assert statistic(np.arange(40)) == pytest.approx(expected[name], abs=1e-6)


def test_names_with_spaces_are_told_apart() -> None:
    names = ("Bubo bubo", "Parus major", "Turdus merula")
    labels = ("nocall", "Bubo bubo Turdus merula", "Parus major")
    rows = [
        {"id": f"{n}", "label": label} | {f"p_{name}": "0.9" if name in label else "0.1" for name in names}
        for n, label in enumerate(labels)
    ]
    record = RunRecord(Path("r"), "r", "finished", samples=rows)
    statistic = POOLED["callers_roc_auc"](record, common_samples([record]))
    assert statistic is not None
    assert statistic(np.arange(3)) == 1
