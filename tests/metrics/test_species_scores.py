"""Species scores: worked by hand, and beside scikit-learn and torchmetrics on random input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor
from torchmetrics.functional.classification import multiclass_auroc, multiclass_f1_score

from birdlab.metrics import SpeciesScores, within_origin
from birdlab.metrics.classification import average_precision, confusion_matrix, log_odds, roc_auc, shares

APPROX = {"abs": 1e-12}


def scores(logits: Tensor, label: Tensor, *, multilabel: bool = False) -> dict[str, float]:
    made = SpeciesScores(logits.shape[1], multilabel=multilabel)
    made.update(logits, label)
    return made.compute()


def certain(predicted: list[int], classes: int) -> Tensor:
    return 10.0 * shares(torch.tensor(predicted), classes)


def test_scores_of_a_confusion_matrix_worked_by_hand() -> None:
    true, predicted = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 1, 0, 2])
    assert confusion_matrix(predicted, true, 3).tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    found = scores(certain(predicted.tolist(), 3), true)
    assert found["recordings"] == 6
    assert found["accuracy"] == pytest.approx(4 / 6, **APPROX)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3, **APPROX)
    assert found["macro_f1"] == pytest.approx((4 / 6 + 2 / 4 + 1) / 3, **APPROX)


def test_average_precision_and_roc_auc_worked_by_hand() -> None:
    score = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    truth = torch.tensor([[True], [False], [True], [False]])
    # Precision 1 at the first, 2/3 at the third; of the four pairs three are in order.
    assert average_precision(score, truth).item() == pytest.approx((1 + 2 / 3) / 2, **APPROX)
    assert roc_auc(score, truth).item() == pytest.approx(3 / 4, **APPROX)
    tied = torch.tensor([[0.9], [0.5], [0.5], [0.1]])
    assert average_precision(tied, truth).item() == pytest.approx((1 + 2 / 3) / 2, **APPROX)
    assert roc_auc(tied, truth).item() == pytest.approx((1 + 1 + 1 / 2 + 1) / 4, **APPROX)


def test_a_species_that_is_nowhere_is_left_out_unless_it_is_predicted() -> None:
    true = torch.tensor([0, 0, 1, 1])
    never = scores(certain([0, 0, 1, 1], 3), true)
    assert {name: never[name] for name in never if name != "recordings"} == pytest.approx(
        dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "average_precision", "roc_auc"), 1.0)
    )
    once = scores(certain([0, 0, 1, 2], 3), true)
    assert once["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)  # its recall is no number
    assert once["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)  # its precision is 0


def test_a_mean_over_nothing_is_no_number() -> None:
    found = scores(certain([0, 0], 2), torch.tensor([0, 0]))
    assert math.isnan(found["roc_auc"])  # nothing else to rank above
    assert found["average_precision"] == 1


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 40))
def test_single_label_scores_are_those_of_scikit_learn(seed: int, classes: int, extra: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    label = torch.cat([torch.arange(classes), torch.randint(classes, (extra,), generator=draw)])
    # Rounded, so that some are equal.
    logits = (3 * torch.randn(len(label), classes, generator=draw)).round() / 2
    found = scores(logits, label)
    true, predicted = label.numpy(), logits.argmax(dim=1).numpy()
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted), **APPROX)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(true, predicted), **APPROX)
    assert found["macro_f1"] == pytest.approx(
        sk.f1_score(true, predicted, average="macro", zero_division=0), **APPROX
    )
    probability = logits.double().softmax(dim=1).numpy()
    one_hot = shares(label, classes).numpy()
    # Rounded, since softmax may make two equal probabilities differ in their last digit.
    assert found["average_precision"] == pytest.approx(
        sk.average_precision_score(one_hot, probability.round(12), average="macro"), abs=1e-9
    )
    assert found["roc_auc"] == pytest.approx(
        sk.roc_auc_score(one_hot, probability.round(12), average="macro"), abs=1e-9
    )


def test_torchmetrics_agrees_where_every_species_is_there() -> None:
    draw = torch.Generator().manual_seed(0)
    label = torch.arange(60) % 5
    logits = torch.randn(60, 5, generator=draw)
    found = scores(logits, label)
    assert found["macro_f1"] == pytest.approx(
        multiclass_f1_score(logits, label, 5, average="macro").item(), abs=1e-6
    )
    assert found["roc_auc"] == pytest.approx(
        multiclass_auroc(logits.softmax(1), label, 5, average="macro").item(), abs=1e-6
    )


def test_certain_probabilities_keep_their_order() -> None:
    """In float32 both would be 1, and share a rank."""
    logits = torch.tensor([[60.0, 0.0], [50.0, 0.0], [40.0, 0.0]])
    found = scores(logits, torch.tensor([0, 1, 1]))
    assert (found["roc_auc"], found["average_precision"]) == (1, 1)


def test_several_species_and_nobody_worked_by_hand() -> None:
    truth = torch.tensor([[1, 0.5, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]])
    said = torch.tensor([[1, -1, -1], [-1, -1, -1], [-1, 1, 1], [-1, -1, -1]])
    found = scores(2.0 * said, truth, multilabel=True)
    # Row by row TP, FP + FN: 1, 1; nocall 1, 0; 1, 1; 0, 2 (the species missed, nocall false).
    assert found["micro_f1"] == pytest.approx(2 * 3 / (2 * 3 + 4), **APPROX)
    assert found["row_f1"] == pytest.approx((2 / 3 + 1 + 2 / 3 + 0) / 4, **APPROX)
    assert "accuracy" not in found


def test_multi_label_scores_are_those_of_scikit_learn() -> None:
    draw = torch.Generator().manual_seed(1)
    truth = (torch.rand(50, 4, generator=draw) < 0.3).float()
    logits = torch.randn(50, 4, generator=draw)
    found = scores(logits, truth, multilabel=True)
    there, said = (
        torch.cat([each, ~each.any(1, keepdim=True)], 1).numpy() for each in (truth > 0, logits > 0)
    )
    assert found["micro_f1"] == pytest.approx(sk.f1_score(there, said, average="micro"), **APPROX)
    assert found["row_f1"] == pytest.approx(sk.f1_score(there, said, average="samples"), **APPROX)
    assert found["average_precision"] == pytest.approx(
        sk.average_precision_score(truth.numpy(), logits.numpy(), average="macro"), abs=1e-9
    )
    assert found["roc_auc"] == pytest.approx(
        sk.roc_auc_score(truth.numpy(), logits.numpy(), average="macro"), abs=1e-9
    )


@settings(max_examples=15)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_batches_don_t_change_a_score(sizes: list[int]) -> None:
    draw = torch.Generator().manual_seed(sum(sizes))
    logits, label = (
        torch.randn(sum(sizes), 3, generator=draw),
        torch.randint(3, (sum(sizes),), generator=draw),
    )
    pieces = SpeciesScores(3)
    for part, truth in zip(logits.split(sizes), label.split(sizes), strict=True):
        pieces.update(part, truth)
    assert pieces.compute() == pytest.approx(scores(logits, label), nan_ok=True, abs=0)


def test_a_network_of_other_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 5\) and truth \(2, 3\).*return 3 logits"):
        SpeciesScores(3).update(torch.zeros(2, 5), torch.tensor([0, 1]))


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_log_odds_are_of_each_class_against_all_others(seed: int, classes: int) -> None:
    logits = 5 * torch.randn(7, classes, generator=torch.Generator().manual_seed(seed)).double()
    for k in range(classes):
        others = torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1)
        torch.testing.assert_close(
            log_odds(logits)[:, k], logits[:, k] - others.logsumexp(dim=1), rtol=0, atol=2e-9
        )


def test_accuracy_within_an_origin_rules_out_the_others() -> None:
    logits = torch.tensor([[1.0, 2.0, 9.0], [3.0, 2.0, 9.0], [9.0, 2.0, 1.0]])
    labels, apart = torch.tensor([1, 1, 2]), [{"wild"}, {"wild"}, {"zoo"}]
    assert within_origin(logits, labels, ["wild", "wild", "zoo"], apart) == {"wild": 0.5, "zoo": 1.0}
    assert within_origin(logits, labels, ["", "", ""], [{""}] * 3) == {}


def test_a_species_of_two_collections_counts_in_both() -> None:
    logits, labels = torch.eye(3) * 5, torch.tensor([0, 1, 2])
    scores = within_origin(logits, labels, ["wild", "wild", "zoo"], [{"wild"}, {"wild", "zoo", ""}, {"zoo"}])
    assert scores == {"wild": 1.0, "zoo": 1.0}
