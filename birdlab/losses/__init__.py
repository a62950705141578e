"""Segmentation losses: foreground logits and truth of equal shape to a scalar."""

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

__all__ = [
    "BCELoss",
    "DiceLoss",
    "FocalLoss",
    "FocalTverskyLoss",
    "FunctionalLoss",
    "LovaszHingeLoss",
    "TverskyLoss",
    "WeightedSum",
]
