import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from birdlab.loggers import History, WandB, read_history


def log_epoch(history: History, epoch: int, **metrics: float) -> None:
    """As Lightning does: values of an epoch in several calls, each followed by `save`."""
    for name, value in metrics.items():
        history.log_metrics({name.replace("_", "/", 1): value, "epoch": epoch}, step=10 * epoch + 9)
        history.save()


def test_a_row_an_epoch_with_the_union_of_columns(tmp_path: Path) -> None:
    history = History(tmp_path)
    log_epoch(history, 0, val_loss=0.5, train_loss=0.25)
    log_epoch(history, 1, val_loss=0.001, val_iou=0.75)
    assert (tmp_path / "metrics.csv").read_text() == (
        "epoch,step,train/loss,val/iou,val/loss\n"  #
        "0,9,0.25,,0.5\n"
        "1,19,,0.75,0.001\n"
    )
    assert read_history(tmp_path / "metrics.csv") == [
        {"epoch": 0, "step": 9, "train/loss": 0.25, "val/loss": 0.5},
        {"epoch": 1, "step": 19, "val/iou": 0.75, "val/loss": 0.001},
    ]


def test_float32_values_are_short_and_exact(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(50).astype(np.float32)
    history = History(tmp_path)
    for epoch, value in enumerate(values):
        log_epoch(history, epoch, train_loss=float(value))
    read = [row["train/loss"] for row in read_history(tmp_path / "metrics.csv")]
    assert np.array_equal(np.array(read, np.float32), values)
    assert max(len(line) for line in (tmp_path / "metrics.csv").read_text().splitlines()) < 25


def test_a_resumed_run_writes_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole, killed = History(tmp_path / "whole"), History(tmp_path / "killed")
    for epoch in range(4):
        log_epoch(whole, epoch, val_loss=1 / (epoch + 3), train_loss=1 / (epoch + 7))
    for epoch in range(3):
        log_epoch(killed, epoch, val_loss=1 / (epoch + 3), train_loss=1 / (epoch + 7))
    resumed = History(tmp_path / "killed")  # its checkpoint is of epoch 1: 2 comes again
    assert (tmp_path / "killed" / "metrics.csv").read_text().count("\n") == 4
    log_epoch(resumed, 2, val_loss=1 / 5)
    assert [row["epoch"] for row in read_history(resumed.file)] == [0, 1, 2]
    assert "train/loss" not in read_history(resumed.file)[2]
    log_epoch(resumed, 2, train_loss=1 / 9)
    log_epoch(resumed, 3, val_loss=1 / 6, train_loss=1 / 10)
    assert resumed.file.read_bytes() == whole.file.read_bytes()


def test_what_comes_before_its_epoch_waits_for_it(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.log_metrics({"lr-Adam": 0.5}, step=0)  # so does Lightning's LearningRateMonitor
    history.save()
    assert not history.file.exists()
    log_epoch(history, 0, val_loss=1.0)
    assert read_history(history.file) == [{"epoch": 0, "step": 9, "lr-Adam": 0.5, "val/loss": 1}]


def test_test_scores_are_no_history(tmp_path: Path) -> None:
    history = History(tmp_path)
    log_epoch(history, 0, val_loss=1.0)
    history.log_metrics({"test/iou": 0.5, "test_tuned/iou": 0.6, "epoch": 1}, step=10)
    history.finalize("success")
    assert len(read_history(history.file)) == 1


def test_there_is_no_history_without_a_file(tmp_path: Path) -> None:
    assert read_history(tmp_path / "metrics.csv") == []


@pytest.fixture
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the login nor the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def offline_runs(directory: Path) -> list[Path]:
    return sorted((directory / "wandb").glob("offline-run-*"))


@pytest.mark.usefixtures("no_login")
def test_without_a_login_a_run_is_kept_and_says_how_to_upload_it(
    tmp_path: Path, offline_wandb: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "003_adam_seed-0"
    directory.mkdir()
    logger = WandB(directory, group="focal_tversky")
    logger.log_hyperparams({"optimizer": {"lr": 0.01}, "data": {"image_size": [128, 128]}})
    logger.log_metrics({"val/loss": 0.5, "epoch": 0}, step=9)
    logger.log_metrics({"train/loss": 0.25, "epoch": 0}, step=9)
    logger.log_metrics({"val/loss": 0.125, "epoch": 1}, step=19)
    logger.finalize("success")
    logger.log_metrics({"test/iou": 0.75}, step=20)
    logger.finish()

    (folder,) = offline_runs(directory)
    run = offline_wandb.read_offline_run(folder)
    assert (run.project, run.group, run.name) == ("birdlab", "focal_tversky", "003_adam_seed-0")
    assert folder.name.endswith(run.id)
    assert run.config == {"optimizer": {"lr": 0.01}, "data": {"image_size": [128, 128]}}
    logged = [{key: value for key, value in row.items() if not key.startswith("_")} for row in run.history]
    assert logged == [
        {"val/loss": 0.5, "epoch": 0, "trainer/global_step": 9},
        {"train/loss": 0.25, "epoch": 0, "trainer/global_step": 9},
        {"val/loss": 0.125, "epoch": 1, "trainer/global_step": 19},
        {"test/iou": 0.75, "trainer/global_step": 20},
    ]
    assert [row["_step"] for row in run.history] == [9, 10, 19, 20]
    assert run.summary["val/loss"] == 0.125
    assert run.exit_code == 0
    said = capsys.readouterr().out
    assert said == f"W&B is offline; upload with: wandb sync {folder}\n"


@pytest.mark.usefixtures("no_login")
def test_a_resumed_run_goes_on_and_another_one_is_another_one(
    tmp_path: Path, offline_wandb: ModuleType
) -> None:
    def run(name: str, step: int, status: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        logger = WandB(tmp_path / name)
        logger.log_metrics({"val/loss": 1.0}, step=step)
        logger.finalize(status)
        logger.finish()

    run("one", 9, "failed")
    run("other", 9, "success")
    first = offline_runs(tmp_path / "one")[0]
    first.rename(first.with_name(first.name.replace("run-2", "run-1")))  # a second later at least
    run("one", 19, "success")

    one = [offline_wandb.read_offline_run(folder) for folder in offline_runs(tmp_path / "one")]
    (other,) = [offline_wandb.read_offline_run(folder) for folder in offline_runs(tmp_path / "other")]
    assert [run.id for run in one] == [one[0].id] * 2
    assert other.id != one[0].id
    assert [[row["_step"] for row in run.history] for run in one] == [[9], [19]]
    assert [run.exit_code for run in one] == [1, 0]


@pytest.mark.usefixtures("no_login")
def test_with_a_login_or_a_wish_of_the_users_wandb_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert WandB(tmp_path).offline
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "online")
            assert not WandB(tmp_path).offline
    (tmp_path / "netrc").write_text("machine example.org login user password secret\n")
    assert WandB(tmp_path).offline
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert not WandB(tmp_path).offline
    (tmp_path / "netrc").write_text("no netrc file at all")
    assert WandB(tmp_path).offline
