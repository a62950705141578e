"""The last layer that is solved for: against scikit-learn, and what must not matter."""

import pytest
import torch
from torch import Tensor

from birdlab.callbacks.fitted_head import FittedHead, best_layer
from birdlab.errors import BirdlabError
from birdlab.losses import SpeciesBCE, SpeciesCrossEntropy

LABELS = torch.tensor([0] * 20 + [1] * 9 + [2] * 5)
BALANCED = SpeciesCrossEntropy(class_weights="balanced", counts=[20, 9, 5])


def features(columns: int = 6) -> Tensor:
    drawn = torch.randn(len(LABELS), columns, generator=torch.Generator().manual_seed(0))
    drawn[:, :3] += torch.nn.functional.one_hot(LABELS, 3)
    return drawn


def test_it_is_the_solution_that_scikit_learn_finds() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x, penalty = 5 * features() + 2, 0.05
    scaled = preprocessing.StandardScaler().fit_transform(x.double().numpy())
    # scikit-learn's C weighs the sum of the losses against half the squared weights.
    other = linear.LogisticRegression(
        C=1 / (penalty * len(x)), class_weight="balanced", tol=1e-9, max_iter=1000
    )
    other.fit(scaled, LABELS.numpy())
    weight, bias = best_layer(x, LABELS, BALANCED, 3, penalty)
    probabilities = (x @ weight.T + bias).softmax(dim=1)
    expected = torch.from_numpy(other.predict_proba(scaled))
    torch.testing.assert_close(probabilities.double(), expected, atol=1e-3, rtol=0)


def test_the_unit_of_a_feature_does_not_matter_and_a_constant_one_counts_for_nothing() -> None:
    x = features()
    weight, bias = best_layer(x, LABELS, BALANCED, 3, 0.1)
    other = torch.cat([x * 1000, torch.full((len(x), 1), 7.0)], dim=1)
    scaled, moved = best_layer(other, LABELS, BALANCED, 3, 0.1)
    assert not scaled[:, -1].any()
    torch.testing.assert_close(other @ scaled.T + moved, x @ weight.T + bias, atol=1e-3, rtol=0)


def test_features_that_are_all_alike_leave_what_is_commonest() -> None:
    weight, bias = best_layer(torch.ones(len(LABELS), 2), LABELS, SpeciesCrossEntropy(), 3, 0.1)
    assert not weight.any()
    torch.testing.assert_close(bias.softmax(dim=0), torch.bincount(LABELS) / len(LABELS), atol=1e-4, rtol=0)


def test_species_that_are_there_together() -> None:
    shares = (features(3) > 0.5).float()
    weight, bias = best_layer(shares * 2 - 1, shares, SpeciesBCE(), 3, 1e-3)
    logits = (shares * 2 - 1) @ weight.T + bias
    assert torch.equal(logits > 0, shares > 0)


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_without_a_penalty_there_is_no_best_layer(penalty: float) -> None:
    with pytest.raises(BirdlabError, match=r"callbacks\.fitted\.penalty"):
        FittedHead(penalty)
