from pathlib import Path

import numpy as np

from birdlab.loggers import History, read_history


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
