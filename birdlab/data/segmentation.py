"""The LightningDataModule of segmentation: images and masks, augmented one by one or on the device."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from torch.utils.data import DataLoader

from birdlab.data.augment import Augmentation
from birdlab.data.augment_levels import LevelAugmentation
from birdlab.data.cache import Arrays
from birdlab.data.loading import Batch, Draw, Item, SegmentationDataset, collate
from birdlab.data.module import SourceData
from birdlab.data.source import Image, Mask, SegmentationSource, Split
from birdlab.errors import BirdlabError


class SegmentationData(SourceData):
    """Batches of a segmentation data set; see `SourceData`.

    Training samples are augmented by (seed, epoch, index) alone, as they are shuffled, or by (seed, rank,
    step), a batch at a time where it is. There are loading processes where single samples are augmented, or
    native masks decoded.

    Args:
        source: the data set.
        augment: applied to training samples, or to batches of levels; None for none.
        batch_size, num_workers, cache_dir, seed: see `SourceData`.
    """

    source: SegmentationSource

    def __init__(
        self,
        source: SegmentationSource,
        augment: Augmentation | LevelAugmentation | None = None,
        batch_size: int = 16,
        num_workers: int | Literal["auto"] = "auto",
        cache_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source, batch_size, num_workers, cache_dir, seed)
        if not isinstance(augment, Augmentation | LevelAugmentation | None):
            raise BirdlabError("augment=species is for species: set augment=physical, levels, or none.")
        if isinstance(augment, LevelAugmentation) and source.picture != "level":
            raise BirdlabError("augment=levels is for pictures of levels: set data.picture=level.")
        self.augment = augment
        self._arrays: dict[Split, Arrays] = {}

    def arrays(self, split: Split) -> Arrays:
        """One split at network size, decoded now unless it was before.

        Raises:
            BirdlabError: if the split has no samples, or one cannot be read.
        """
        if split not in self._arrays:
            self._arrays[split] = self._cached(split, self.samples(split))
        return self._arrays[split]

    def load(self, split: Split) -> None:
        """See `SourceData.load`."""
        self.arrays(split)

    def drawn(self, indices: Sequence[int], epoch: int) -> list[tuple[Image, Mask]]:
        """Training samples as some epoch might augment them, as one batch."""
        single = self.augment if isinstance(self.augment, Augmentation) else None
        dataset = SegmentationDataset(self.arrays("train"), single)
        items = collate([dataset[Draw(epoch, index)] for index in indices])
        if isinstance(self.augment, LevelAugmentation):
            items["image"], items["mask"] = self.augment(items["image"], items["mask"], step=(0, epoch))
        return list(zip(items["image"].numpy(), items["mask"].numpy(), strict=True))

    def train_dataloader(self) -> DataLoader[Item]:
        """Shuffled, augmented batches of the epoch that the trainer is about to run."""
        return self._loader("train", training=True)

    def val_dataloader(self) -> DataLoader[Item]:
        """Batches for the score at network size."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Item]:
        """Batches with native masks."""
        return self.native_dataloader(self.tested)

    def predict_dataloader(self) -> DataLoader[Item]:
        """The same as for testing."""
        return self.native_dataloader(self.tested)

    def native_dataloader(self, split: Split) -> DataLoader[Item]:
        """Batches of any split, in order, with its masks at native size, read from the source."""
        return self._loader(split, native_masks=True)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch of levels where it is."""
        trainer = self.trainer
        if not isinstance(self.augment, LevelAugmentation) or trainer is None or not trainer.training:
            return batch
        image, mask = self.augment(batch["image"], batch["mask"], step=self.drawing_step())
        return batch | {"image": image, "mask": mask}

    def _loader(
        self, split: Split, *, training: bool = False, native_masks: bool = False
    ) -> DataLoader[Item]:
        augment = self.augment if training and isinstance(self.augment, Augmentation) else None
        dataset = SegmentationDataset(
            self.arrays(split), augment, self.source if native_masks else None, self.splits[split]
        )
        idle = augment is None and not native_masks
        return self._batches(dataset, collate, training=training, idle=idle)
