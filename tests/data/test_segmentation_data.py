import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import albumentations
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from birdlab.data.augment import Augmentation
from birdlab.data.segmentation import SegmentationData
from birdlab.errors import BirdlabError

# Lightning and torch would rather have more workers than this.
pytestmark = pytest.mark.filterwarnings("ignore:.*worker")

Seen = list[tuple[int, list[str], int]]


@pytest.fixture
def root(toy: ModuleType, tmp_path: Path) -> Path:
    toy.toy_files(tmp_path / "data", train=10, val=5, test=3)
    return tmp_path / "data"


@pytest.fixture
def data(toy: ModuleType, root: Path) -> SegmentationData:
    return SegmentationData(toy.ToySource(root=root), batch_size=4, cache_dir=root.parent / "cache")


class Recorder(LightningModule):
    """Notes which samples, augmented how, it was shown in which epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: Seen = []
        self.validated: Seen = []

    def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch["id"], int(batch["image"].sum())))
        return self.weight.sum()

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        self.validated.append((self.current_epoch, batch["id"], int(batch["image"].sum())))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(directory: Path, epochs: int, **settings: Any) -> Trainer:
    return Trainer(
        default_root_dir=directory,
        max_epochs=epochs,
        use_distributed_sampler=False,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("saved", ["after validation", "at the end of the epoch"])
def test_a_resumed_run_sees_what_an_uninterrupted_one_would(
    toy: ModuleType, root: Path, tmp_path: Path, workers: int, saved: str
) -> None:
    def run(epochs: int, resumed: Path | None = None) -> tuple[Seen, Path]:
        noise = Augmentation([albumentations.GaussNoise(p=0.7)], seed=2)
        data = SegmentationData(
            toy.ToySource(root=root), noise, 4, workers, cache_dir=tmp_path / "cache", seed=2
        )
        directory = tmp_path / "checkpoints"
        shutil.rmtree(directory, ignore_errors=True)
        saver = ModelCheckpoint(
            directory, filename="last", save_on_train_epoch_end=saved == "at the end of the epoch"
        )
        module = Recorder()
        trainer(tmp_path, epochs, callbacks=[saver]).fit(
            module, datamodule=data, ckpt_path=resumed, weights_only=True
        )
        kept = tmp_path / "interrupted.ckpt"
        shutil.copy(directory / "last.ckpt", kept)
        return module.seen, kept

    whole, _ = run(4)
    first, checkpoint = run(2)
    second, _ = run(4, checkpoint)
    assert first + second == whole
    assert [epoch for epoch, *_ in whole] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    orders = [tuple(name for e, ids, _ in whole if e == epoch for name in ids) for epoch in range(4)]
    assert len(set(orders)) == 4
    assert all(set(order) == {f"train-{i:03d}" for i in range(10)} for order in orders)


def test_validation_sees_every_sample_once_in_order(data: SegmentationData, tmp_path: Path) -> None:
    module = Recorder()
    trainer(tmp_path, 2, enable_checkpointing=False).fit(module, datamodule=data)
    for epoch in range(2):
        ids = [name for e, batch, _ in module.validated if e == epoch for name in batch]
        assert ids == [f"val-{i:03d}" for i in range(5)]


@pytest.mark.parametrize(("batch_size", "batches"), [(3, 3), (4, 3), (1, 10), (9, 1), (16, 1)])
def test_a_last_batch_of_one_image_is_left_out(
    toy: ModuleType, root: Path, tmp_path: Path, batch_size: int, batches: int
) -> None:
    data = SegmentationData(toy.ToySource(root=root), batch_size=batch_size, cache_dir=tmp_path / "cache")
    sizes = [len(batch["id"]) for batch in data.train_dataloader()]  # of 10 images
    assert len(sizes) == batches
    assert batch_size == 1 or min(sizes) > 1


def test_a_single_image_is_a_batch(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "one", train=1, val=1, test=1)
    data = SegmentationData(toy.ToySource(root=tmp_path / "one"), batch_size=4, cache_dir=tmp_path / "cache")
    assert len(data.train_dataloader()) == 1


def test_overfitting_repeats_the_same_batches(toy: ModuleType, root: Path, tmp_path: Path) -> None:
    noise = Augmentation([albumentations.GaussNoise(p=1)])
    data = SegmentationData(toy.ToySource(root=root), noise, 4, 0, cache_dir=tmp_path / "cache")
    module = Recorder()
    trainer(tmp_path, 2, enable_checkpointing=False, overfit_batches=2).fit(module, datamodule=data)
    assert [seen[1:] for seen in module.seen[:2]] == [seen[1:] for seen in module.seen[2:]]


def test_test_batches_have_native_masks(data: SegmentationData) -> None:
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert batch["id"] == ["test-000", "test-001", "test-002"]
    assert [tuple(mask.shape) for mask in batch["native_mask"]] == [(20, 30)] * 3
    (other, _) = data.native_dataloader("val")
    assert other["id"] == [f"val-{i:03d}" for i in range(4)]


def test_a_split_without_samples_is_named(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", test=2)
    data = SegmentationData(toy.ToySource(root=tmp_path / "data"), cache_dir=tmp_path / "cache")
    data.prepare_data()
    data.setup("test")
    with pytest.raises(BirdlabError, match=r"train split has no samples \(train: 0, val: 0, test: 2\)"):
        data.setup("fit")


def test_bad_test_files_show_before_training(data: SegmentationData, root: Path) -> None:
    (root / "test" / "001.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(BirdlabError, match=r"001\.npy: not an image"):
        data.prepare_data()


def test_ids_are_those_of_the_source(data: SegmentationData) -> None:
    assert data.split_ids() == {
        "train": [f"train-{i:03d}" for i in range(10)],
        "val": [f"val-{i:03d}" for i in range(5)],
        "test": [f"test-{i:03d}" for i in range(3)],
    }


def test_copies_of_a_data_set_have_one_manifest(
    toy: ModuleType, data: SegmentationData, root: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    assert SegmentationData(toy.ToySource(root=copy)).manifest_hash() == data.manifest_hash()
    (copy / "train" / "003.npy").unlink()
    assert SegmentationData(toy.ToySource(root=copy)).manifest_hash() != data.manifest_hash()


def test_workers_only_where_there_is_work(toy: ModuleType, root: Path, tmp_path: Path) -> None:
    source = toy.ToySource(root=root)
    noise = Augmentation([albumentations.GaussNoise(p=1)])
    plain = SegmentationData(source, cache_dir=tmp_path / "cache")
    augmented = SegmentationData(source, noise, cache_dir=tmp_path / "cache")
    told = SegmentationData(source, num_workers=3, cache_dir=tmp_path / "cache")
    assert plain.train_dataloader().num_workers == 0
    assert augmented.val_dataloader().num_workers == 0
    assert 1 <= augmented.train_dataloader().num_workers <= 8
    assert 1 <= plain.test_dataloader().num_workers <= 8
    assert told.train_dataloader().num_workers == 3


@pytest.mark.parametrize(("key", "value"), [("batch_size", 0), ("num_workers", -1), ("num_workers", "many")])
def test_impossible_settings_are_named(toy: ModuleType, root: Path, key: str, value: object) -> None:
    with pytest.raises(BirdlabError, match=rf"loader\.{key}={value}"):
        SegmentationData(toy.ToySource(root=root), **{key: value})


def test_iterating_leaves_the_random_state_of_training_alone(data: SegmentationData) -> None:
    loader = data.val_dataloader()
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), before)
