"""The LightningDataModule of both tasks at once: images, masks, and who is heard in them."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from birdlab.data.augment_levels import LevelAugmentation
from birdlab.data.loading import Batch
from birdlab.data.segmentation import SegmentationData
from birdlab.data.source import SPLITS, Sample
from birdlab.errors import BirdlabError


class MultitaskData(SegmentationData):
    """Batches of a segmentation data set whose labels say who is heard; see `SegmentationData`.

    Batches have a ``label``, too: float32 [B, K], 1 for who is heard.

    Args:
        args, settings: see `SegmentationData`.
        names: who may be heard, as a trained network knows them; None is who is heard in any split, so that
            the folds of a cross-validation name the same.

    Raises:
        BirdlabError: if the labels name nobody, or augmentation makes windows sound at once.
    """

    def __init__(self, *args: Any, names: Sequence[str] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if names is not None:
            self.names = tuple(names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Who may be heard, in alphabetical order."""
        heard = {name for split in SPLITS for sample in self.splits[split] for name in self._heard(sample)}
        if not heard:
            raise BirdlabError(
                f"task=multitask: the labels of {type(self.source).__name__} name nobody. Use data=synthetic "
                "or data=annotated_audio, whose labels do."
            )
        return tuple(sorted(heard))

    def settled(self) -> dict[str, Any]:
        """See `SourceData.settled`."""
        if isinstance(self.augment, LevelAugmentation) and self.augment.mix:
            raise BirdlabError("task=multitask: labels aren't mixed with their windows. Set augment.mix=0.")
        return {"task.names": list(self.names), "task.classes": len(self.names)}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch, and say who is heard in any."""
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        label = torch.stack([self._labels[id] for id in batch["id"]])
        return batch | {"label": label.to(batch["image"].device)}

    @cached_property
    def _labels(self) -> dict[str, Tensor]:
        """By sample; small, and not known to loading processes."""
        return {
            sample.id: torch.tensor([float(name in heard) for name in self.names])
            for split in SPLITS
            for sample in self.splits[split]
            for heard in [self._heard(sample)]
        }

    def _heard(self, sample: Sample) -> frozenset[str]:
        heard = self.source.callers(sample)
        if heard is None:
            raise BirdlabError(
                f"task=multitask: nothing says who is heard in {sample.id}. Use data=synthetic or "
                "data=annotated_audio, whose labels do."
            )
        return heard
