"""From cached arrays to batches: which samples, in which order, augmented how."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, TypedDict

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from birdlab.data.cache import Arrays
from birdlab.data.source import Image, Mask, Sample, SegmentationSource
from birdlab.errors import BirdlabError

if TYPE_CHECKING:  # reports and predictions would import albumentations
    from birdlab.data.augment import Augmentation

Batch = dict[str, Any]
"""``image`` uint8 [B, F, T], ``mask`` uint8 [B, F, T], ``id`` list[str] and, for scores at native size,
``native_mask``: list of uint8 [F_i, T_i]."""


class Draw(NamedTuple):
    """One sample to load: the epoch travels with the index, since persistent workers never hear of epochs."""

    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


class Item(TypedDict):
    """One sample as loaded."""

    id: str
    image: Image
    mask: Mask
    native_mask: NotRequired[Mask]


class EpochSampler(Sampler[Draw]):
    """The order of samples as a function of (seed, epoch), dealt out to the ranks of distributed training.

    Training shuffles, and repeats a few samples where they do not divide evenly, because ranks must take the
    same number of steps.

    Evaluation keeps the order and repeats none, so that no sample counts twice. It deals out whole batches,
    the first ones to the first rank and so on: what the ranks find, put together in their order, is what one
    process finds, to the last bit. Ranks differ by at most one batch, and none is without, since distributed
    training exchanges buffers in the first batch of each evaluation: where there would be fewer batches than
    ranks they are made smaller.

    Args:
        size: number of samples.
        seed: of the order.
        training: shuffled and padded, or in order and whole.
        batch_size: of the loader that is to draw from this; read `batch_size` again, which may be smaller.
        rank: this process.
        world_size: number of processes.

    Raises:
        BirdlabError: if there are fewer samples to evaluate than processes.
    """

    def __init__(
        self, size: int, *, seed: int, training: bool, batch_size: int = 1, rank: int = 0, world_size: int = 1
    ) -> None:
        if not training and 1 < world_size > size:
            raise BirdlabError(
                f"{size} samples can't be dealt out to {world_size} processes: evaluate at least as many "
                f"(data.n_val, data.n_test), or set trainer.devices={max(1, size)}."
            )
        self.size = size
        self.seed = seed
        self.training = training
        enough = training or math.ceil(size / batch_size) >= world_size
        self.batch_size = batch_size if enough else max(1, size // world_size)
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Of the next iterator; Lightning calls this at the start of each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Draw]:
        # An iterator keeps the epoch it was made in, whatever `set_epoch` says while it runs.
        epoch, order = self.epoch, np.arange(self.size)
        if self.training:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.size)
            order = np.resize(order, len(self) * self.world_size)[self.rank :: self.world_size]
        else:
            order = order[self._begin(self.rank) : self._begin(self.rank + 1)]
        return (Draw(epoch, int(index)) for index in order)

    def __len__(self) -> int:
        if self.training:
            return math.ceil(self.size / self.world_size)
        return self._begin(self.rank + 1) - self._begin(self.rank)

    def _begin(self, rank: int) -> int:
        """The first sample that a rank evaluates."""
        batches = math.ceil(self.size / self.batch_size)
        return min(self.size, batches * rank // self.world_size * self.batch_size)


class SegmentationDataset(Dataset[Item]):
    """Samples of a cached split.

    Args:
        arrays: the split at network size.
        augment: applied to each image and mask; None leaves them.
        source: if given, the masks at native size are read from it as well.
        samples: of ``arrays``, in the same order; needed by ``source`` only.
    """

    def __init__(
        self,
        arrays: Arrays,
        augment: "Augmentation | None" = None,
        source: SegmentationSource | None = None,
        samples: Sequence[Sample] = (),
    ) -> None:
        self.arrays = arrays
        self.augment = augment
        self.source = source
        self.samples = samples

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, draw: Draw | int) -> Item:
        """Load one sample; a bare index, as Lightning's `overfit_batches` gives, draws as in epoch 0."""
        epoch, index = draw if isinstance(draw, tuple) else (0, draw)
        # Copies, since the map is read-only.
        image, mask = (np.array(self.arrays[field][index]) for field in ("images", "masks"))
        if self.augment is not None:
            image, mask = self.augment(image, mask, epoch=epoch, index=index)
        item = Item(id=self.arrays.ids[index], image=image, mask=mask)
        if self.source is not None:
            item["native_mask"] = self.source.read(self.samples[index])[1]
        return item

    def __getitems__(self, draws: Sequence[Draw | int]) -> list[Item]:
        """Load one batch; called by DataLoader instead of one ``__getitem__`` after the other."""
        items = [self[draw] for draw in draws]
        self.arrays.release()
        return items


def collate(items: Sequence[Item]) -> Batch:
    """Stack items of one size into a batch; native masks, which differ in size, stay a list."""
    batch: Batch = {
        "id": [item["id"] for item in items],
        "image": torch.from_numpy(np.stack([item["image"] for item in items])),
        "mask": torch.from_numpy(np.stack([item["mask"] for item in items])),
    }
    if "native_mask" in items[0]:
        batch["native_mask"] = [torch.from_numpy(np.ascontiguousarray(item["native_mask"])) for item in items]
    return batch


def start_worker(_: int) -> None:
    """For ``DataLoader(worker_init_fn=...)``: or OpenCV starts a thread per core in every worker."""
    cv2.setNumThreads(0)
