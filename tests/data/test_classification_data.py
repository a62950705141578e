"""Batches of species: their contents, the cache they share, and augmentation that a resume doesn't change."""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from birdlab.data.augment_audio import SpeciesAugmentation
from birdlab.data.birdclef import BirdCLEF
from birdlab.data.cache import cached
from birdlab.data.classification import ClassificationData
from birdlab.errors import BirdlabError

# Lightning and torch would rather have more workers than this.
pytestmark = pytest.mark.filterwarnings("ignore:.*worker")

Seen = list[tuple[int, list[str], float, list[float]]]


@pytest.fixture
def root(birds: ModuleType, tmp_path: Path) -> Path:
    birds.birdclef_files(tmp_path / "data", {"owl": [1.2] * 6, "wren": [1.2] * 6})
    return tmp_path / "data"


def data_of(
    birds: ModuleType, root: Path, augment: SpeciesAugmentation | None = None, **settings: object
) -> ClassificationData:
    source = BirdCLEF(root=root, **birds.SETTINGS | {"species": 2} | settings)
    return ClassificationData(source, augment, batch_size=4, cache_dir=root.parent / "cache", seed=2)


class Recorder(LightningModule):
    """Notes what it was shown in which epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: Seen = []
        self.validated: Seen = []

    def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
        self.seen.append(self.note(batch))
        return self.weight.sum()

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        self.validated.append(self.note(batch))

    def note(self, batch: dict[str, Any]) -> tuple[int, list[str], float, list[float]]:
        label = batch["label"].double().flatten().tolist()
        return self.current_epoch, batch["id"], float(batch["stack"].double().sum()), label

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    module: Recorder, data: ClassificationData, directory: Path, epochs: int, resumed: Path | None = None
) -> None:
    trainer = Trainer(
        default_root_dir=directory,
        max_epochs=epochs,
        use_distributed_sampler=False,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        callbacks=[ModelCheckpoint(directory, filename="last")],
    )
    trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)


def test_batches_hold_stacks_labels_and_ids(birds: ModuleType, root: Path) -> None:
    data = data_of(birds, root)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert set(batch) == {"stack", "label", "id"}
    assert (batch["stack"].shape, batch["stack"].dtype) == ((4, 4, 16, 16), torch.float16)
    assert (batch["label"].shape, batch["label"].dtype) == ((4,), torch.int64)
    assert data.names == ("owl", "wren")
    samples = {sample.id: sample for sample in data.labelled("train")}
    for id, label, stack in zip(batch["id"], batch["label"], batch["stack"], strict=True):
        assert label == samples[id].label == ["owl", "wren"].index(samples[id].stratum)
        np.testing.assert_array_equal(stack, data.source.decode(samples[id])["stacks"])
    assert [id for b in data.val_dataloader() for id in b["id"]] == data.split_ids()["val"]


def test_shares_place_and_date_where_asked_for(birds: ModuleType, tmp_path: Path) -> None:
    known = {"latitude": "45", "longitude": "90", "date": "2020-04-01", "secondary_labels": "['wren']"}
    birds.birdclef_files(tmp_path / "data", {"owl": [1.2] * 3, "wren": [1.2] * 3}, {"XC1000": known})
    data = data_of(birds, tmp_path / "data", multilabel=True, prior=True, fractions=(1, 0, 0))
    (first, second) = data.train_dataloader()
    labels, priors = (torch.cat([first[key], second[key]]) for key in ("label", "prior"))
    assert (labels.shape, labels.dtype) == ((6, 2), torch.float32)
    assert (priors.shape, priors.dtype) == ((6, 4), torch.float32)
    row = [*first["id"], *second["id"]].index("XC1000")
    assert labels[row].tolist() == [1, 0.5]
    assert priors[row, :2].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_what_an_uninterrupted_one_would(
    birds: ModuleType, root: Path, tmp_path: Path, workers: int
) -> None:
    def run(epochs: int, resumed: Path | None = None) -> tuple[Recorder, Path]:
        augment = SpeciesAugmentation(shift=0.5, mixup=0.4, gain_db=(-6, 6), time_masks=2, seed=2)
        data = data_of(birds, root, augment)
        data.num_workers = workers
        module, directory = Recorder(), tmp_path / "checkpoints"
        shutil.rmtree(directory, ignore_errors=True)
        fit(module, data, directory, epochs, resumed)
        return module, shutil.copy(directory / "last.ckpt", tmp_path / "interrupted.ckpt")

    whole, _ = run(3)
    first, checkpoint = run(1)
    second, _ = run(3, checkpoint)
    assert first.seen + second.seen == whole.seen
    assert len({tuple(ids) for _, ids, *_ in whole.seen}) == 6
    assert len({total for *_, total, _ in whole.seen}) == 6
    # Mixed labels are shares; validation is left alone.
    assert all(len(label) == 2 * len(ids) for _, ids, _, label in whole.seen)
    assert all(set(label) <= {0, 1} for *_, label in whole.validated)
    assert len({tuple(label) for *_, label in whole.validated}) == 1


def test_all_splits_and_folds_share_one_cache(
    birds: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data_of(birds, root)
    first.prepare_data()
    monkeypatch.setattr(BirdCLEF, "decode", lambda *_: pytest.fail("decoded twice"))
    for fold in range(3):
        folded = data_of(birds, root, folds=3, fold=fold, fold_tests=True)
        folded.prepare_data()
        assert folded.arrays.directory == first.arrays.directory
        held = np.concatenate([folded.stacks(split).rows for split in ("train", "val", "test")])
        assert sorted(held) == list(range(12))


def test_the_curation_is_printed_before_training(
    birds: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_of(birds, root).prepare_data()
    told = capsys.readouterr().err
    assert "Recordings left after each step" in told
    assert "Seconds of real sound in stacks of 1.00 s" in told


def test_empty_splits_are_named(birds: ModuleType, root: Path) -> None:
    data = data_of(birds, root, fractions=(1, 0, 0))
    data.setup("test") if data.splits["test"] else None
    with pytest.raises(BirdlabError, match=r"the val split has no samples \(train: 12, val: 0, test: 0\)"):
        data.setup("fit")


def test_workers_only_if_asked_for(birds: ModuleType, root: Path) -> None:
    data = data_of(birds, root, SpeciesAugmentation(shift=1))
    assert data.train_dataloader().num_workers == 0
    data.num_workers = 1
    assert data.train_dataloader().num_workers == 1


def test_the_cache_keeps_half_precision(birds: ModuleType, root: Path, tmp_path: Path) -> None:
    source = data_of(birds, root).source
    samples = source.splits()["train"]
    arrays = cached(source, "train", samples, tmp_path / "other", 2)
    assert (arrays["stacks"].shape, arrays["stacks"].dtype) == ((len(samples), 4, 16, 16), np.float16)
    np.testing.assert_array_equal(arrays["stacks"][1], source.decode(samples[1])["stacks"])
