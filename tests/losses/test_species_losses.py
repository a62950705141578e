"""Losses of species: beside torch's own, and class weights worked by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from birdlab.errors import BirdlabError
from birdlab.losses import SpeciesBCE, SpeciesCrossEntropy

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0], [0.0, 3.0, 1.0], [1.0, 1.0, 1.0]])
LABEL = torch.tensor([0, 1, 1, 2])


def test_cross_entropy_of_labels_and_of_shares_is_torch_s() -> None:
    loss = SpeciesCrossEntropy()
    assert loss(LOGITS, LABEL).item() == pytest.approx(F.cross_entropy(LOGITS, LABEL).item())
    mixed = 0.3 * F.one_hot(LABEL, 3) + 0.7 * F.one_hot(LABEL.flip(0), 3)
    assert loss(LOGITS, mixed).item() == pytest.approx(F.cross_entropy(LOGITS, mixed).item())


def test_balanced_weights_worked_by_hand() -> None:
    loss = SpeciesCrossEntropy("balanced", counts=[6, 3, 3])
    assert loss.weights is not None
    assert loss.weights.tolist() == pytest.approx([12 / 18, 12 / 9, 12 / 9])
    assert sum(n * w for n, w in zip([6, 3, 3], loss.weights.tolist(), strict=True)) == pytest.approx(12)
    even = torch.zeros(2, 3)
    assert loss(even, torch.tensor([0, 1])).item() == pytest.approx((12 / 18 + 12 / 9) / 2 * math.log(3))


def test_a_weighted_loss_is_the_mean_of_its_recordings_whatever_the_batch() -> None:
    loss = SpeciesCrossEntropy([0.5, 2.0, 1.0])
    alone = [loss(LOGITS[i : i + 1], LABEL[i : i + 1]).item() for i in range(4)]
    assert loss(LOGITS, LABEL).item() == pytest.approx(sum(alone) / 4)


def test_bce_takes_any_number_of_species() -> None:
    truth = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    expected = F.binary_cross_entropy_with_logits(LOGITS, truth)
    assert SpeciesBCE()(LOGITS, truth).item() == pytest.approx(expected.item())
    assert SpeciesBCE()(LOGITS, LABEL).item() == pytest.approx(
        F.binary_cross_entropy_with_logits(LOGITS, F.one_hot(LABEL, 3).float()).item()
    )


def test_bce_weighs_species() -> None:
    weighted = SpeciesBCE([1.0, 2.0, 3.0])(LOGITS, LABEL)
    truth = F.one_hot(LABEL, 3).float()
    each = F.binary_cross_entropy_with_logits(LOGITS, truth, reduction="none").mean(dim=0)
    assert weighted.item() == pytest.approx(float((each * torch.tensor([1.0, 2.0, 3.0])).mean()))
    assert SpeciesBCE("balanced", [1, 1, 2]).weights.tolist() == pytest.approx([4 / 3, 4 / 3, 2 / 3])


def test_half_precision_logits_are_summed_in_full() -> None:
    for loss in (SpeciesCrossEntropy(), SpeciesBCE()):
        made = loss(LOGITS.bfloat16(), LABEL)
        assert made.dtype == torch.float32


@pytest.mark.parametrize(
    ("weights", "counts", "said"),
    [
        ("equal", [1, 1], "class_weights=equal: give balanced"),
        ("balanced", None, "needs training recordings of every species; there are None"),
        ("balanced", [3, 0], r"every species; there are \[3, 0\]"),
        ([1.0], [3, 3], "a number above 0 for each of the 2 species"),
        ([1.0, 0.0], None, "a number above 0"),
        ([], None, "a number above 0"),
    ],
)
def test_weights_that_can_t_be_are_refused(weights: object, counts: list[int] | None, said: str) -> None:
    with pytest.raises(BirdlabError, match=said):
        SpeciesCrossEntropy(weights, counts)  # type: ignore[arg-type]
