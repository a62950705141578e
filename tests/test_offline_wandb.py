"""The reader of offline runs, which other tests rely on, against what wandb itself writes."""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import wandb


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline_wandb: ModuleType) -> Path:
    """A run with a long text, which doesn't fit into one block of the file, and an image with masks."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    config = {"nested": {"value": [1, 2]}, "text": "x" * 100_000}
    with wandb.init(
        mode="offline", dir=tmp_path, project="p", name="n", config=config, settings=settings
    ) as run:
        run.config.update({"later": None})
        for step in range(3):
            run.log({"loss": 0.5**step})
        mask: Any = {
            "truth": {"mask_data": np.eye(8, dtype=np.uint8), "class_labels": {0: "background", 1: "bird"}}
        }
        run.log({"panels": wandb.Image(np.zeros((8, 8), np.uint8), masks=mask, caption="XC1")})
    (found,) = (tmp_path / "wandb").glob("offline-run-*")
    offline_wandb.read_offline_run(found)  # wait until it is written
    return found


def test_it_reads_what_wandb_wrote(folder: Path, offline_wandb: ModuleType) -> None:
    run = offline_wandb.read_offline_run(folder)
    assert (run.project, run.name, run.exit_code) == ("p", "n", 0)
    assert run.config == {"nested": {"value": [1, 2]}, "text": "x" * 100_000, "later": None}
    assert [row.get("loss") for row in run.history] == [1, 0.5, 0.25, None]
    assert run.summary["loss"] == 0.25
    panels = run.history[3]["panels"]
    assert panels["caption"] == "XC1"
    media = {panels["path"], panels["masks"]["truth"]["path"]}
    assert media <= set(run.files)
    assert all((folder / "files" / path).is_file() for path in media)


def test_a_run_cut_short_is_read_as_far_as_it_goes(folder: Path, offline_wandb: ModuleType) -> None:
    (file,) = folder.glob("*.wandb")
    whole = file.read_bytes()
    for cut in (1, 5, 20):
        file.write_bytes(whole[:-cut])
        run = offline_wandb.read_offline_run(folder, patience_s=0)
        assert run.exit_code is None
        assert len(run.history) == 4
    for kept in range(7, 200):
        file.write_bytes(whole[:kept])
        offline_wandb.read_offline_run(folder, patience_s=0)


def test_damage_is_noticed(folder: Path, offline_wandb: ModuleType) -> None:
    (file,) = folder.glob("*.wandb")
    whole = bytearray(file.read_bytes())
    whole[50_000] ^= 1
    file.write_bytes(whole)
    with pytest.raises(ValueError, match="damaged"):
        offline_wandb.read_offline_run(folder)
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"not a \.wandb file"):
        offline_wandb.read_offline_run(folder)
