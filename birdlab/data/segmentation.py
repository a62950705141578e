"""The LightningDataModule of segmentation: images and masks, augmented in the loading processes."""

from pathlib import Path
from typing import Literal

from torch.utils.data import DataLoader

from birdlab.data.augment import Augmentation
from birdlab.data.cache import Arrays
from birdlab.data.loading import Item, SegmentationDataset, collate
from birdlab.data.module import SourceData
from birdlab.data.source import SegmentationSource, Split


class SegmentationData(SourceData):
    """Batches of a segmentation data set; see `SourceData`.

    Training batches are augmented by (seed, epoch, index) alone, as they are shuffled. There are loading
    processes where there is augmentation, or native masks to decode.

    Args:
        source: the data set.
        augment: applied to training samples; None for none.
        batch_size, num_workers, cache_dir, seed: see `SourceData`.
    """

    source: SegmentationSource

    def __init__(
        self,
        source: SegmentationSource,
        augment: Augmentation | None = None,
        batch_size: int = 16,
        num_workers: int | Literal["auto"] = "auto",
        cache_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source, batch_size, num_workers, cache_dir, seed)
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

    def _loader(
        self, split: Split, *, training: bool = False, native_masks: bool = False
    ) -> DataLoader[Item]:
        augment = self.augment if training else None
        dataset = SegmentationDataset(
            self.arrays(split), augment, self.source if native_masks else None, self.splits[split]
        )
        idle = augment is None and not native_masks
        return self._batches(dataset, collate, training=training, idle=idle)
