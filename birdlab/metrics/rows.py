"""Metrics that keep a row for each sample or batch: nothing is averaged before the end."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat


class Rows(Metric):
    """A metric that keeps rows of numbers and computes from all of them, of all processes, at the end."""

    full_state_update = False
    rows: list[Tensor]

    def __init__(self, *shape: int, dtype: torch.dtype = torch.int64) -> None:
        super().__init__()
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.shape = shape
        self.row_dtype = dtype

    def sync(self, *args: Any, **settings: Any) -> None:
        # A process that had no images would gather a tensor of another shape, and all would wait forever.
        if not self.rows:
            self.rows.append(torch.empty(0, *self.shape, dtype=self.row_dtype, device=self.device))
        super().sync(*args, **settings)

    def gathered(self) -> Tensor:
        """The rows of all processes [N, ...], on the CPU.

        Raises:
            ValueError: if no process has any.
        """
        # compute() comes here with the rows gathered already; scores() and the like don't.
        with nullcontext() if self._is_synced else self.sync_context(should_sync=self._to_sync):
            rows: Tensor = dim_zero_cat(self.rows).cpu()
        if not len(rows):
            raise ValueError(f"{type(self).__name__} has nothing to score.")
        return rows


class MeanLoss(Rows):
    """The mean of the losses of batches, each weighted by its images; the same for any number of processes.

    A running sum would differ in its last digits with the order in which processes add to it.
    """

    def __init__(self) -> None:
        super().__init__(2, dtype=torch.float32)

    def update(self, loss: Tensor, images: int) -> None:
        """Keep the loss of one batch, a scalar."""
        loss = loss.detach().float()
        self.rows.append(torch.stack([loss, loss.new_tensor(images)])[None])

    def compute(self) -> float:
        """The mean; NaN if one of them is."""
        loss, images = self.gathered().double().unbind(1)
        return float((loss * images).sum() / images.sum())
