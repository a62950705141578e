"""What the LightningDataModules of both tasks share: splits, the cache, and loaders that resume."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningDataModule
from lightning.fabric.utilities.data import suggested_max_num_workers
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader, Dataset

from birdlab.data.cache import Arrays, cached, default_directory
from birdlab.data.loading import EpochSampler, start_worker
from birdlab.data.source import SPLITS, Sample, Source, Split
from birdlab.errors import BirdlabError

_MOST_WORKERS = 8
"""A few workers augment faster than any network trains; the rest of a large machine is for other runs."""


class SourceData(LightningDataModule):
    """A source's splits, cached, sampled and batched; subclasses say what a batch is.

    Training batches are shuffled by (seed, epoch, index) alone, so neither the number of workers nor a resume
    changes them. Needs ``Trainer(use_distributed_sampler=False)``: the samplers deal samples out to the ranks
    themselves. A last training batch of one sample is left out.

    Args:
        source: the data set.
        batch_size: on each rank.
        num_workers: loading processes of each loader. ``auto`` takes none where a batch is only copied out
            of the cache, which is quicker than sending it from process to process, and all cores but one
            (at most 8) where there is more to do.
        cache_dir: parent of the cache; None is ``$BIRDLAB_CACHE`` or the user's cache folder.
        seed: of the order of training samples.

    Attributes:
        tested: the split that is tested; change it before testing.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int = 16,
        num_workers: int | Literal["auto"] = "auto",
        cache_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise BirdlabError(f"loader.batch_size={batch_size}: a batch holds at least one sample.")
        if num_workers != "auto" and not (isinstance(num_workers, int) and num_workers >= 0):
            raise BirdlabError(f"loader.num_workers={num_workers}: give auto, 0 or a positive number.")
        self.source = source
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir is not None else default_directory()
        self.seed = seed
        self.tested: Split = "test"

    @cached_property
    def splits(self) -> dict[Split, list[Sample]]:
        """The samples by split."""
        return self.source.splits()

    def split_ids(self) -> dict[str, list[str]]:
        """The ids of all samples by split, as they are written to a run's ``splits.json``."""
        return {split: [sample.id for sample in self.splits[split]] for split in SPLITS}

    def recordings(self, *splits: Split) -> set[str]:
        """What is heard in the samples of these splits: see `Sample.recordings`."""
        return {name for split in splits for sample in self.splits[split] for name in sample.recordings()}

    def manifest_hash(self) -> str:
        """SHA-256 over the splits, ids, and the names and sizes of files.

        Two copies of a data set in different folders have the same hash, unlike their cache keys.
        """
        manifest = {
            split: [
                [sample.id, [[f.name, f.stat().st_size] for f in sample.files]]
                for sample in self.splits[split]
            ]
            for split in SPLITS
        }
        return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()

    def settled(self) -> dict[str, Any]:
        """Values that a config leaves open because only the data say them, by dotted key."""
        return {}

    def samples(self, split: Split) -> list[Sample]:
        """The samples of one split.

        Raises:
            BirdlabError: if it has none.
        """
        if not self.splits[split]:
            sizes = ", ".join(f"{name}: {len(self.splits[name])}" for name in SPLITS)
            raise BirdlabError(
                f"{type(self.source).__name__}: the {split} split has no samples ({sizes}). "
                f"Check data.root, data.n_{split} and the shares of train, val and test, such as "
                "data.fractions=[0.7,0.15,0.15]."
            )
        return self.splits[split]

    def prepare_data(self) -> None:
        """On one rank, before training: decode every split; bad files of the test split show now, too."""
        if self.trainer is not None and self.trainer.state.fn != TrainerFn.FITTING:
            return
        for split in SPLITS:
            if self.splits[split]:
                self.load(split)

    def setup(self, stage: str) -> None:
        """On all ranks: open what the stage (``fit``, ``validate``, ``test``, ``predict``) needs."""
        needed: dict[str, tuple[Split, ...]] = {"fit": ("train", "val"), "validate": ("val",)}
        for split in needed.get(stage, (self.tested,)):
            self.load(split)

    def load(self, split: Split) -> None:
        """Have a split at hand, decoded now unless it was before.

        Raises:
            BirdlabError: if the split has no samples, or one cannot be read.
        """
        raise NotImplementedError

    def _cached(self, name: str, samples: Sequence[Sample], source: Source | None = None) -> Arrays:
        return cached(source or self.source, name, samples, self.cache_dir, self._reading_threads)

    def drawing_step(self) -> tuple[int, int]:
        """Rank and batch of the training, over all epochs: what augmentation on the device draws from."""
        trainer = self.trainer
        assert trainer is not None
        # With accumulated gradients several batches belong to one step of the optimizer.
        parts = trainer.accumulate_grad_batches
        part = trainer.fit_loop.epoch_loop.batch_progress.current.ready % parts if parts > 1 else 0
        return trainer.global_rank, trainer.global_step * parts + part

    def _batches(
        self, dataset: Dataset[Any], collate: Callable[[Any], Any], *, training: bool, idle: bool
    ) -> DataLoader[Any]:
        """A loader over a data set that understands `Draw`; ``idle`` if it only copies out of the cache."""
        trainer = self.trainer
        sampler = EpochSampler(
            len(dataset),  # type: ignore[arg-type]
            seed=self.seed,
            training=training,
            batch_size=self.batch_size,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )
        if training and trainer is not None:
            # Lightning makes the first iterator, whose workers load their first samples at once, before it
            # calls `set_epoch`. `processed` is what it will say: after a resume from the end of an epoch,
            # `trainer.current_epoch` is one behind.
            sampler.set_epoch(trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
        workers = self._workers(idle=idle)
        # Batch norm has no variance of one sample whose features are down to one pixel. Each epoch leaves out
        # another sample.
        single = training and self.batch_size > 1 and len(sampler) % self.batch_size == 1 < len(sampler)
        return DataLoader(
            dataset,
            batch_size=sampler.batch_size,
            drop_last=single,
            sampler=sampler,
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=start_worker,
            persistent_workers=workers > 0,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
            # Every iterator draws a seed for its workers. From a generator of its own, as the one of training
            # would otherwise depend on how many iterators there were.
            generator=torch.Generator(),
        )

    def _workers(self, *, idle: bool) -> int:
        if self.num_workers != "auto":
            return self.num_workers
        ranks_here = self.trainer.num_devices if self.trainer is not None else 1
        return 0 if idle else min(_MOST_WORKERS, suggested_max_num_workers(ranks_here))

    @property
    def _reading_threads(self) -> int:
        """All cores read the files, once, while nothing else runs; no more than the user allows."""
        return suggested_max_num_workers(1) + 1 if self.num_workers == "auto" else max(1, self.num_workers)
