"""The LightningDataModule of species classification: stacks of mel levels, augmented on the device."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch.utils.data import DataLoader, Dataset

from birdlab.data.augment_audio import SpeciesAugmentation
from birdlab.data.cache import Arrays
from birdlab.data.loading import Draw
from birdlab.data.module import SourceData
from birdlab.data.source import SPLITS, Split
from birdlab.data.species import LabelledStack, SpeciesSource
from birdlab.errors import BirdlabError

Batch = dict[str, Any]
"""``stack`` float16 [B, S, M, T], levels in dB; ``label`` int64 [B], or float32 [B, K] where targets are
shares of species; ``id`` list[str]; and, where the source gives it, ``prior`` float32 [B, 4]."""


class ClassificationData(SourceData):
    """Batches of a species data set; see `SourceData`.

    All splits are one cache, of which each takes its rows: cross-validation decodes once. Training batches
    are augmented on the device, by (seed, rank, step) alone, as `on_after_batch_transfer`.

    Args:
        source: the data set.
        augment: applied to training batches; None for none.
        batch_size, num_workers, cache_dir, seed: see `SourceData`.
    """

    source: SpeciesSource

    def __init__(
        self,
        source: SpeciesSource,
        augment: SpeciesAugmentation | None = None,
        batch_size: int = 16,
        num_workers: int | Literal["auto"] = "auto",
        cache_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source, batch_size, num_workers, cache_dir, seed)
        if not isinstance(augment, SpeciesAugmentation | None):
            raise BirdlabError("augment is for pictures with masks: set augment=species, or none.")
        self.augment = augment

    @property
    def names(self) -> tuple[str, ...]:
        """The species; a label is an index into them."""
        return self.source.names

    def settled(self) -> dict[str, Any]:
        """See `SourceData.settled`: the species, training recordings of each, and the length of a segment."""
        counts = [0] * len(self.names)
        for sample in self.source.assigned()["train"]:
            assert isinstance(sample, LabelledStack)
            counts[sample.label] += 1
        return {
            "task.names": list(self.names),
            "task.classes": len(self.names),
            "task.counts": counts,
            "data.segment_s": self.source.seconds / self.source.segments,
        }

    @cached_property
    def arrays(self) -> Arrays:
        """The stacks of all splits, in order of id, decoded now unless they were before."""
        samples = sorted((s for split in SPLITS for s in self.splits[split]), key=lambda sample: sample.id)
        return self._cached("recordings", samples)

    def load(self, split: Split) -> None:
        """See `SourceData.load`."""
        self.samples(split)
        _ = self.arrays
        if split == "train" and self.augment is not None and self.augment.noise is not None:
            self.augment.load_noise(self.source, lambda *asked: self._cached(*asked)["stacks"])

    def prepare_data(self) -> None:
        """See `SourceData.prepare_data`; prints what the curation left and the real sound in each stack."""
        console = Console(stderr=True)
        for table in self.source.report(self.splits):
            console.print(table)
        super().prepare_data()

    def stacks(self, split: Split) -> "StackDataset":
        """One split, in order of id."""
        return StackDataset(
            self.arrays, self.labelled(split), multilabel=self.source.multilabel, prior=self.source.prior
        )

    def labelled(self, split: Split) -> list[LabelledStack]:
        """The samples of one split and what is known of them: origin, duration, seconds of real sound."""
        return [sample for sample in self.samples(split) if isinstance(sample, LabelledStack)]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches of the epoch that the trainer is about to run."""
        return self._loader("train", training=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches in order."""
        return self.in_order("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches of the split that is tested, in order."""
        return self.in_order(self.tested)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The same as for testing."""
        return self.in_order(self.tested)

    def in_order(self, split: Split) -> DataLoader[Batch]:
        """Batches of any split as it is: in order of id, not augmented, dealt out to the ranks."""
        return self._loader(split, training=False)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch where it is."""
        trainer = self.trainer
        if self.augment is None or trainer is None or not trainer.training:
            return batch
        augmented: Batch = self.augment(batch, classes=len(self.names), step=self.drawing_step())
        return augmented

    def _loader(self, split: Split, *, training: bool) -> DataLoader[Batch]:
        self.load(split)
        return self._batches(self.stacks(split), _as_it_is, training=training, idle=True)


class StackDataset(Dataset[Batch]):
    """Samples of a cache, loaded a batch at a time.

    Args:
        arrays: the cache.
        samples: some of those in it.
        multilabel: labels are shares of all species.
        prior: with place and date.
    """

    def __init__(
        self, arrays: Arrays, samples: Sequence[LabelledStack], *, multilabel: bool, prior: bool
    ) -> None:
        self.arrays = arrays
        row_of = {id: row for row, id in enumerate(arrays.ids)}
        self.ids = [sample.id for sample in samples]
        self.rows: NDArray[np.intp] = np.array([row_of[id] for id in self.ids], np.intp)
        targets = torch.tensor([sample.targets for sample in samples])
        self.labels = targets if multilabel else targets.argmax(dim=1)
        self.priors = torch.tensor([sample.prior for sample in samples]) if prior else None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, draw: Draw | int) -> Batch:
        """A batch of one."""
        return self.__getitems__([draw])

    def __getitems__(self, draws: Sequence[Draw | int]) -> Batch:
        """One batch; called by DataLoader. A bare index is what Lightning's `overfit_batches` gives."""
        indices = [draw.index if isinstance(draw, Draw) else draw for draw in draws]
        batch: Batch = {
            "stack": torch.from_numpy(self.arrays["stacks"][self.rows[indices]]),
            "label": self.labels[indices],
            "id": [self.ids[index] for index in indices],
        }
        if self.priors is not None:
            batch["prior"] = self.priors[indices]
        self.arrays.release()
        return batch


def _as_it_is(batch: Batch) -> Batch:
    return batch
