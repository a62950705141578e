import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from birdlab.checkpoint_io import CheckpointFiles
from birdlab.errors import BirdlabError


def test_a_run_that_was_moved_remembers_its_best_epoch(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "checkpoints").mkdir(parents=True)
    best = ModelCheckpoint(dirpath=before / "checkpoints", filename="best", monitor="val/iou", mode="max")
    path = str(before / "checkpoints" / "best.ckpt")
    best.best_model_path = best.kth_best_model_path = path
    best.best_model_score = best.kth_value = torch.tensor(0.75)
    best.best_k_models = {path: torch.tensor(0.75)}
    CheckpointFiles().save_checkpoint(
        {"callbacks": {best.state_key: best.state_dict()}}, before / "checkpoints" / "last.ckpt"
    )

    before.rename(after)
    moved = ModelCheckpoint(dirpath=after / "checkpoints", filename="best", monitor="val/iou", mode="max")
    state = CheckpointFiles().load_checkpoint(after / "checkpoints" / "last.ckpt")["callbacks"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved.load_state_dict(state[moved.state_key])
    path = str(after / "checkpoints" / "best.ckpt")
    assert moved.best_model_score == 0.75
    assert moved.best_model_path == path
    assert moved.best_k_models == {path: torch.tensor(0.75)}


def test_a_disk_that_fills_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    CheckpointFiles().save_checkpoint({"epoch": 1}, last)

    def full(checkpoint: object, path: Path) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(BirdlabError, match=r"No space left on device.*resume="):
        CheckpointFiles().save_checkpoint({"epoch": 2}, last)
    assert CheckpointFiles().load_checkpoint(last) == {"epoch": 1}
    assert list(last.parent.iterdir()) == [last]
