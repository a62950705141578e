"""Losses: of segmentation, foreground logits and truth of equal shape to a scalar; and of species."""

from birdlab.losses.modules import (
    BCELoss,
    DiceLoss,
    FocalLoss,
    FocalTverskyLoss,
    FunctionalLoss,
    LovaszHingeLoss,
    TverskyLoss,
    WeightedSum,
)
from birdlab.losses.species import SpeciesBCE, SpeciesCrossEntropy

__all__ = [
    "BCELoss",
    "DiceLoss",
    "FocalLoss",
    "FocalTverskyLoss",
    "FunctionalLoss",
    "LovaszHingeLoss",
    "SpeciesBCE",
    "SpeciesCrossEntropy",
    "TverskyLoss",
    "WeightedSum",
]
