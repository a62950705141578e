"""Losses with their settings, as configs name them; the mathematics is in `birdlab.losses.functional`."""

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

import torch
from torch import Tensor, nn

from birdlab.errors import BirdlabError
from birdlab.losses import functional
from birdlab.losses.functional import Empty, Reduction, Sums

CHOICES = {"reduction": ("mean", "sum"), "sums": get_args(Sums), "empty": get_args(Empty)}
RANGES: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    "positive_weight": ("above 0", lambda value: value > 0),
    "foreground_share": ("between 0 and 1, or null", lambda value: 0 < value < 1),
    # A weight of 0 would make it perfect to mark everything, or nothing.
    "fn_weight": ("above 0", lambda value: value > 0),
    "fp_weight": ("above 0", lambda value: value > 0),
    "exponent": ("above 0", lambda value: value > 0),
    "smooth": ("0 or more", lambda value: value >= 0),
}
NULLABLE = {"foreground_share"}
"""What a setting may be, whichever loss it belongs to."""


class FunctionalLoss(nn.Module):
    """A loss function and its settings.

    Args:
        function: called with foreground logits and truth of equal shape, and the settings.
        settings: those named in `CHOICES` and `RANGES` are checked.

    Raises:
        BirdlabError: for a setting that isn't allowed.
    """

    def __init__(self, function: Callable[..., Tensor], **settings: Any) -> None:
        super().__init__()
        for name, value in settings.items():
            _check(name, value)
        self.function = function
        self.settings = settings

    def forward(self, logits: Tensor, truth: Tensor) -> Tensor:
        """The loss of foreground logits [B, F, T] and truth [B, F, T]."""
        return self.function(logits, truth, **self.settings)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())


class BCELoss(FunctionalLoss):
    """Binary cross-entropy: `functional.binary_cross_entropy`."""

    def __init__(self, positive_weight: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__(
            functional.binary_cross_entropy, positive_weight=positive_weight, reduction=reduction
        )


class FocalLoss(FunctionalLoss):
    """Focal loss: `functional.focal_loss`."""

    def __init__(
        self,
        exponent: float = 2.0,
        foreground_share: float | None = 0.25,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            functional.focal_loss,
            exponent=exponent,
            foreground_share=foreground_share,
            reduction=reduction,
        )


class DiceLoss(FunctionalLoss):
    """Soft Dice loss: `functional.dice_loss`."""

    def __init__(
        self,
        smooth: float = 1.0,
        sums: Sums = "sample",
        empty: Empty = "keep",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(functional.dice_loss, smooth=smooth, sums=sums, empty=empty, reduction=reduction)


class TverskyLoss(FunctionalLoss):
    """Tversky loss: `functional.tversky_loss`."""

    def __init__(
        self,
        fn_weight: float = 0.7,
        fp_weight: float = 0.3,
        smooth: float = 1.0,
        sums: Sums = "sample",
        empty: Empty = "keep",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            functional.tversky_loss,
            fn_weight=fn_weight,
            fp_weight=fp_weight,
            smooth=smooth,
            sums=sums,
            empty=empty,
            reduction=reduction,
        )


class FocalTverskyLoss(FunctionalLoss):
    """Focal Tversky loss: `functional.focal_tversky_loss`."""

    def __init__(
        self,
        fn_weight: float = 0.7,
        fp_weight: float = 0.3,
        exponent: float = 0.75,
        smooth: float = 1.0,
        sums: Sums = "sample",
        empty: Empty = "keep",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            functional.focal_tversky_loss,
            fn_weight=fn_weight,
            fp_weight=fp_weight,
            exponent=exponent,
            smooth=smooth,
            sums=sums,
            empty=empty,
            reduction=reduction,
        )


class LovaszHingeLoss(FunctionalLoss):
    """Lovász hinge: `functional.lovasz_hinge_loss`."""

    def __init__(self, sums: Sums = "sample", empty: Empty = "keep", reduction: Reduction = "mean") -> None:
        super().__init__(functional.lovasz_hinge_loss, sums=sums, empty=empty, reduction=reduction)


class WeightedSum(nn.Module):
    """Losses times their weights, added up.

    Args:
        losses: by a name of one's choice.
        weights: by the same names.

    Raises:
        BirdlabError: if the names differ or a weight isn't above 0.
    """

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        if not losses or losses.keys() != weights.keys():
            raise BirdlabError(
                f"loss.losses names {_names(losses)} and loss.weights {_names(weights)}. "
                "Give every loss one weight of the same name."
            )
        for name, weight in weights.items():
            if not _is_number(weight) or weight <= 0:
                raise BirdlabError(f"loss.weights.{name} = {weight!r}: must be a number above 0.")
        self.losses = nn.ModuleDict(losses)
        self.weights = dict(weights)

    def parts(self, logits: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Each loss times its weight, by name; they add up to the whole."""
        return {name: self.weights[name] * loss(logits, truth) for name, loss in self.losses.items()}

    def forward(self, logits: Tensor, truth: Tensor) -> Tensor:
        """The loss of foreground logits [B, F, T] and truth [B, F, T]."""
        return torch.stack(list(self.parts(logits, truth).values())).sum()

    def extra_repr(self) -> str:
        return f"weights={self.weights}"


def _check(name: str, value: Any) -> None:
    if name in CHOICES and value not in CHOICES[name]:
        raise _mistake(name, value, f"one of {', '.join(CHOICES[name])}")
    if name in RANGES and not (value is None and name in NULLABLE):
        allowed, holds = RANGES[name]
        if not _is_number(value) or not holds(value):
            raise _mistake(name, value, f"a number {allowed}")


def _mistake(name: str, value: Any, allowed: str) -> BirdlabError:
    return BirdlabError(
        f"{name} = {value!r}: must be {allowed}. Set loss.{name} (in a sum: loss.losses.NAME.{name})."
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _names(mapping: Mapping[str, Any]) -> str:
    return ", ".join(mapping) or "nothing"
