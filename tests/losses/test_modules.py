"""Losses with their settings: what they pass on, what they refuse, and what configs make of them."""

import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from birdlab.errors import BirdlabError
from birdlab.losses import (
    BCELoss,
    DiceLoss,
    FocalLoss,
    FocalTverskyLoss,
    FunctionalLoss,
    LovaszHingeLoss,
    TverskyLoss,
    WeightedSum,
)

CONF = Path(__file__).parents[2] / "conf"
LOSSES: list[type[FunctionalLoss]] = [
    BCELoss,
    DiceLoss,
    FocalLoss,
    FocalTverskyLoss,
    LovaszHingeLoss,
    TverskyLoss,
]
UNUSUAL = {
    "positive_weight": 3.0,
    "foreground_share": 0.6,
    "fn_weight": 0.9,
    "fp_weight": 0.2,
    "exponent": 1.5,
    "smooth": 2.0,
    "sums": "batch",
    "empty": "skip",
    "reduction": "sum",
}
LOGITS = torch.linspace(-2, 2, 24).reshape(2, 3, 4)
TRUTH = torch.zeros(2, 3, 4, dtype=torch.uint8)
TRUTH[0, 1:] = 1


@pytest.mark.parametrize("kind", LOSSES)
def test_class_and_function_have_the_same_settings_and_defaults(kind: type[FunctionalLoss]) -> None:
    loss = kind()
    parameters = list(inspect.signature(loss.function).parameters.values())[2:]
    assert loss.settings == {parameter.name: parameter.default for parameter in parameters}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("foreground", [0, 1])
def test_masks_of_one_class_can_be_learned_from(kind: type[FunctionalLoss], foreground: int) -> None:
    """Scenes without birds are part of every data set: a step downhill brings the logits nearer to them."""
    logits = LOGITS.clone().requires_grad_()
    truth = torch.full_like(TRUTH, foreground)
    loss = kind()(logits, truth)
    loss.backward()
    assert logits.grad is not None
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    better = kind()(logits.detach() - 0.1 * logits.grad, truth)
    assert better < loss or not logits.grad.any()


@pytest.mark.parametrize("kind", LOSSES)
def test_every_setting_arrives(kind: type[FunctionalLoss]) -> None:
    for name in kind().settings:
        loss = kind(**{name: UNUSUAL[name]})
        torch.testing.assert_close(
            loss(LOGITS, TRUTH), loss.function(LOGITS, TRUTH, **{name: UNUSUAL[name]}), msg=name
        )
        assert f"{name}={UNUSUAL[name]!r}" in repr(loss)


@pytest.mark.parametrize("kind", LOSSES)
def test_travels_to_other_processes(kind: type[FunctionalLoss]) -> None:
    loss = pickle.loads(pickle.dumps(kind()))
    assert loss(LOGITS, TRUTH) == kind()(LOGITS, TRUTH)


@pytest.mark.parametrize(
    ("kind", "settings", "allowed"),
    [
        (FocalTverskyLoss, {"fn_weight": -1}, "above 0"),
        (FocalTverskyLoss, {"fp_weight": 0}, "above 0"),
        (FocalTverskyLoss, {"fp_weight": None}, "above 0"),
        (FocalTverskyLoss, {"exponent": float("nan")}, "above 0"),
        (TverskyLoss, {"fn_weight": "0.7"}, "above 0"),
        (DiceLoss, {"smooth": -0.1}, "0 or more"),
        (DiceLoss, {"sums": "image"}, "sample, batch"),
        (LovaszHingeLoss, {"empty": "drop"}, "keep, skip"),
        (BCELoss, {"positive_weight": float("inf")}, "above 0"),
        (BCELoss, {"reduction": "average"}, "mean, sum"),
        (FocalLoss, {"foreground_share": 1}, "between 0 and 1, or null"),
    ],
)
def test_settings_out_of_range(kind: type[FunctionalLoss], settings: dict[str, Any], allowed: str) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(BirdlabError, match=f"{name} = {value!r}: must be .*{allowed}.*loss.{name}"):
        kind(**settings)


def test_focal_loss_without_shares() -> None:
    assert FocalLoss(foreground_share=None)(LOGITS, TRUTH) == 2 * FocalLoss(foreground_share=0.5)(
        LOGITS, TRUTH
    )


def test_weighted_sum_is_the_sum_of_its_parts() -> None:
    loss = WeightedSum({"bce": BCELoss(), "dice": DiceLoss()}, {"bce": 2, "dice": 0.5})
    parts = loss.parts(LOGITS, TRUTH)
    assert parts == {"bce": 2 * BCELoss()(LOGITS, TRUTH), "dice": 0.5 * DiceLoss()(LOGITS, TRUTH)}
    assert loss(LOGITS, TRUTH) == sum(parts.values())


def test_weighted_sum_takes_the_parameters_of_its_losses_along() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(3.0))

        def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
            return self.scale * (logits - truth).abs().mean()

    loss = WeightedSum({"own": Scaled()}, {"own": 1.0})
    assert dict(loss.named_parameters()).keys() == {"losses.own.scale"}


@pytest.mark.parametrize(
    ("losses", "weights", "message"),
    [
        ({}, {}, "loss.losses names nothing"),
        ({"bce": BCELoss()}, {"dice": 1.0}, "names bce and loss.weights dice"),
        ({"bce": BCELoss()}, {"bce": 1.0, "dice": 1.0}, "names bce and loss.weights bce, dice"),
        ({"bce": BCELoss()}, {"bce": 0}, r"loss.weights.bce = 0: must be a number above 0"),
        ({"bce": BCELoss()}, {"bce": None}, r"loss.weights.bce = None"),
    ],
)
def test_weighted_sum_refuses(losses: dict[str, nn.Module], weights: dict[str, Any], message: str) -> None:
    with pytest.raises(BirdlabError, match=message):
        WeightedSum(losses, weights)


@pytest.mark.parametrize("name", sorted(file.stem for file in (CONF / "loss").glob("[!s]*.yaml")))
def test_configs_state_the_defaults_of_the_classes(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loss = instantiate(compose(f"loss/{name}").loss, _convert_="all")
    singles = list(loss.losses.values()) if isinstance(loss, WeightedSum) else [loss]
    for single in singles:
        assert single.settings == type(single)().settings
    assert loss(LOGITS, TRUTH).isfinite()
