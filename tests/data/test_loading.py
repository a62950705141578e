from pathlib import Path
from types import ModuleType

import albumentations
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from birdlab.data.augment import Augmentation
from birdlab.data.cache import Arrays, cached
from birdlab.data.loading import Draw, EpochSampler, SegmentationDataset, collate
from birdlab.errors import BirdlabError

sizes, worlds, epochs = st.integers(0, 40), st.integers(1, 5), st.integers(0, 3)


def shards(size: int, world: int, epoch: int, *, training: bool, batch_size: int = 1) -> list[list[Draw]]:
    dealt = []
    for rank in range(world):
        sampler = EpochSampler(
            size, seed=7, training=training, batch_size=batch_size, rank=rank, world_size=world
        )
        sampler.set_epoch(epoch)
        dealt.append(list(sampler))
        assert len(dealt[-1]) == len(sampler)
        assert all(draw.epoch == epoch for draw in dealt[-1])
    return dealt


@given(sizes, worlds, epochs, st.integers(1, 9))
def test_evaluation_takes_every_sample_once_and_in_order(
    size: int, world: int, epoch: int, batch_size: int
) -> None:
    if 1 < world > size:
        with pytest.raises(BirdlabError, match=f"{size} samples can't be dealt out to {world} processes"):
            shards(size, world, epoch, training=False)
        return
    dealt = shards(size, world, epoch, training=False, batch_size=batch_size)
    assert [draw.index for shard in dealt for draw in shard] == list(range(size))


@given(sizes, worlds, st.integers(1, 9))
def test_ranks_evaluate_the_batches_that_one_process_would(size: int, world: int, batch_size: int) -> None:
    batches = -(-size // batch_size)
    if batches < world:
        return
    dealt = shards(size, world, 0, training=False, batch_size=batch_size)
    assert all(shard[0].index % batch_size == 0 for shard in dealt if shard)
    taken = [-(-len(shard) // batch_size) for shard in dealt]
    assert sum(taken) == batches
    assert max(taken) - min(taken) <= 1


def test_no_rank_is_without_a_batch_to_evaluate() -> None:
    dealt = shards(5, 2, 0, training=False, batch_size=16)
    assert [[draw.index for draw in shard] for shard in dealt] == [[0, 1], [2, 3, 4]]
    assert EpochSampler(5, seed=0, training=False, batch_size=16, world_size=2).batch_size == 2


@given(sizes.filter(bool), worlds, epochs)
def test_training_takes_every_sample_in_equal_shares(size: int, world: int, epoch: int) -> None:
    dealt = shards(size, world, epoch, training=True)
    assert {len(shard) for shard in dealt} == {-(-size // world)}
    assert {draw.index for shard in dealt for draw in shard} == set(range(size))


@given(sizes.filter(lambda size: size > 9), worlds)
def test_ranks_deal_out_one_order(size: int, world: int) -> None:
    (whole,) = shards(size, 1, 2, training=True)
    dealt = shards(size, world, 2, training=True)
    assert [dealt[i % world][i // world] for i in range(size)] == whole


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(50, seed=seed, training=True)
        sampler.set_epoch(epoch)
        return [draw.index for draw in sampler]

    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(*pair)) for pair in [(0, 0), (0, 1), (1, 0), (1, 1)]}) == 4
    assert order(0, 0) != sorted(order(0, 0))


def test_an_iterator_keeps_its_epoch() -> None:
    sampler = EpochSampler(5, seed=0, training=True)
    iterator = iter(sampler)
    sampler.set_epoch(1)
    assert {draw.epoch for draw in iterator} == {0}


@pytest.fixture
def arrays(toy: ModuleType, tmp_path: Path) -> Arrays:
    toy.toy_files(tmp_path / "data", train=13)
    source = toy.ToySource(root=tmp_path / "data")
    return cached(source, "train", source.splits()["train"], tmp_path / "cache", 1)


def test_a_batch(arrays: Arrays) -> None:
    dataset = SegmentationDataset(arrays)
    batch = collate(dataset.__getitems__([Draw(0, 3), Draw(0, 1)]))
    assert set(batch) == {"id", "image", "mask"}
    assert batch["id"] == ["train-003", "train-001"]
    assert batch["image"].dtype == batch["mask"].dtype == torch.uint8
    np.testing.assert_array_equal(batch["image"].numpy(), arrays["images"][[3, 1]])
    np.testing.assert_array_equal(batch["mask"].numpy(), arrays["masks"][[3, 1]])


def test_native_masks_keep_their_size(toy: ModuleType, tmp_path: Path, arrays: Arrays) -> None:
    source = toy.ToySource(root=tmp_path / "data")
    samples = source.splits()["train"]
    dataset = SegmentationDataset(arrays, None, source, samples)
    batch = collate(dataset.__getitems__([Draw(0, 5)]))
    (native,) = batch["native_mask"]
    np.testing.assert_array_equal(native.numpy(), source.read(samples[5])[1])
    assert native.shape == (20, 30)


def test_a_bare_index_is_epoch_0(arrays: Arrays) -> None:
    noise = Augmentation([albumentations.GaussNoise(p=1)])
    dataset = SegmentationDataset(arrays, noise)
    np.testing.assert_array_equal(dataset[4]["image"], dataset[Draw(0, 4)]["image"])
    assert (dataset[4]["image"] != dataset[Draw(1, 4)]["image"]).any()


def test_batches_do_not_depend_on_the_number_of_workers(arrays: Arrays) -> None:
    flips = [albumentations.HorizontalFlip(p=0.5), albumentations.GaussNoise(p=0.5)]
    runs = []
    for workers in (0, 1, 2):
        sampler = EpochSampler(13, seed=3, training=True)
        loader = DataLoader(
            SegmentationDataset(arrays, Augmentation(flips, seed=5)),
            batch_size=4,
            sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        batches = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            batches += list(loader)
        runs.append(batches)
    assert len(runs[0]) == 8
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            assert first["id"] == second["id"]
            assert torch.equal(first["image"], second["image"])
            assert torch.equal(first["mask"], second["mask"])
