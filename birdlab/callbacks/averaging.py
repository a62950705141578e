"""Averages of the weights of many steps, which score better than those of any one of them."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from birdlab.errors import BirdlabError


class AveragedWeights(WeightAveraging):
    """Validate, keep and test an exponential moving average of the network's weights.

    The average follows closely at first, with a decay of (1 + n) / (10 + n) after n steps, so that it forgets
    the random weights it began with however short the training is.

    Args:
        decay: what is kept of the average at each step; .995 is an average over the last 200 or so.

    Raises:
        BirdlabError: for a decay that isn't between 0 and 1.
    """

    def __init__(self, decay: float = 0.995) -> None:
        if not 0 <= decay < 1:
            raise BirdlabError(f"callbacks.average.decay={decay}: give a number from 0 to below 1.")

        def averaged(average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
            keep = min(decay, (1 + int(steps)) / (10 + int(steps)))
            if not average.is_floating_point():
                return current
            return torch.lerp(current.to(average.dtype), average, keep)

        super().__init__(avg_fn=averaged)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """What isn't the network's, such as a threshold, was chosen for the average already."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        chosen = checkpoint.get("current_model_state", {})
        checkpoint["state_dict"] |= {
            name: value for name, value in chosen.items() if not name.startswith("net.")
        }
