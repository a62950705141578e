"""Losses of species: logits [B, K] and labels, or shares of species, to a scalar."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from birdlab.errors import BirdlabError


class _SpeciesLoss(nn.Module):
    """What losses of species have in common: weights, and labels as shares."""

    weights: Tensor | None

    def __init__(
        self,
        class_weights: Literal["balanced"] | Sequence[float] | None = None,
        counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("weights", _weights(class_weights, counts), persistent=False)

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss of logits [B, K] and labels, int64 [B] or shares float [B, K]."""
        logits = logits.float()
        truth = F.one_hot(label, logits.shape[1]) if label.ndim == 1 else label
        return self.of_shares(logits, truth.to(logits.dtype))

    def of_shares(self, logits: Tensor, truth: Tensor) -> Tensor:
        """The loss of logits and shares, float32 [B, K] both."""
        raise NotImplementedError


class SpeciesCrossEntropy(_SpeciesLoss):
    """Cross-entropy of the softmax over species; labels may be shares, as mixup makes them.

    The mean over recordings of -sum_k w_k y_k log p_k. As the sum is not divided by that of the weights, each
    recording counts the same in whatever batch it is.

    Args:
        class_weights: None weighs all species 1; ``balanced`` by N / (K n_k), so that all species together
            have the same weight and a training recording weighs 1 on average; or a number for each species.
        counts: n_k, training recordings of each species.

    Raises:
        BirdlabError: for weights that can't be.
    """

    def of_shares(self, logits: Tensor, truth: Tensor) -> Tensor:
        return F.cross_entropy(logits, truth, self.weights)


class SpeciesBCE(_SpeciesLoss):
    """Binary cross-entropy of each species by itself, averaged over recordings and species.

    For recordings that hold several species, or none; targets may be anything in 0..1.

    Args:
        class_weights, counts: as of `SpeciesCrossEntropy`.

    Raises:
        BirdlabError: for weights that can't be.
    """

    def of_shares(self, logits: Tensor, truth: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, truth, self.weights)


def _weights(
    class_weights: Literal["balanced"] | Sequence[float] | None, counts: Sequence[int] | None
) -> Tensor | None:
    if class_weights is None:
        return None
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise BirdlabError(
                f"loss.class_weights={class_weights}: give balanced, a number for each species, or null."
            )
        if not counts or min(counts) < 1:
            raise BirdlabError(
                f"loss.class_weights=balanced needs training recordings of every species; there are {counts}."
            )
        number = torch.tensor(counts, dtype=torch.float32)
        return number.sum() / (len(number) * number)
    if not class_weights or min(class_weights) <= 0 or (counts and len(class_weights) != len(counts)):
        raise BirdlabError(
            f"loss.class_weights={list(class_weights)}: give a number above 0 for each "
            f"{f'of the {len(counts)} ' if counts else ''}species."
        )
    return torch.tensor(class_weights, dtype=torch.float32)
