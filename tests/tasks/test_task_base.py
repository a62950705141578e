"""What is true of every task: here with a network of one weight."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from birdlab.errors import BirdlabError
from birdlab.loggers import History, read_history
from birdlab.tasks import Task


class OneWeight(Task):
    def inputs(self, batch: dict[str, Any]) -> Tensor:
        image: Tensor = batch["image"]
        return image.unsqueeze(1) / 255

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self(self.inputs(batch)), torch.ones(1, 1, 2, 2))
        self.train_loss.update(loss.detach())
        return loss


class Validated(OneWeight):
    """Its validation never gets better."""

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("val/loss", torch.tensor(1.0))


@pytest.mark.parametrize(("every", "frequency", "rates"), [(1, 1, 5), (3, 1, 1), (1, 2, 2)])
def test_a_plateau_is_looked_for_where_there_is_a_new_score(every: int, frequency: int, rates: int) -> None:
    """With a patience of 0 each look but the first lowers the rate."""
    schedule = {
        "scheduler": partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0, factor=0.1),
        "interval": "epoch",
        "frequency": frequency,
        "monitor": "val/loss",
        "steps_argument": None,
    }
    trainer = Trainer(
        max_epochs=6,
        check_val_every_n_epoch=every,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = [{"image": torch.zeros(1, 2, 2, dtype=torch.uint8), "id": ["a"]}]
    task = Validated(nn.Conv2d(1, 1, 1), nn.MSELoss(), partial(torch.optim.SGD, lr=0.01), schedule)
    loader = DataLoader(batches, batch_size=None)
    trainer.fit(task, loader, loader)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 * 0.1**rates)


@pytest.mark.parametrize(
    ("scheduler", "wrong", "said"),
    [
        (torch.optim.lr_scheduler.CosineAnnealingLR, {"steps_argument": "T_max"}, r"max_epochs=-1: .*an end"),
        (torch.optim.lr_scheduler.ReduceLROnPlateau, {"interval": "step"}, r"scheduler\.interval=step"),
    ],
)
def test_schedules_that_cannot_be(scheduler: Any, wrong: dict[str, str], said: str) -> None:
    schedule = {"scheduler": scheduler, "interval": "epoch", "monitor": "val/loss"} | wrong
    task = Validated(nn.Conv2d(1, 1, 1), nn.MSELoss(), partial(torch.optim.SGD, lr=0.01), schedule)
    trainer = Trainer(max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False)
    loader = DataLoader([{"image": torch.zeros(1, 2, 2, dtype=torch.uint8), "id": ["a"]}], batch_size=None)
    with pytest.raises(BirdlabError, match=said):
        trainer.fit(task, loader, loader)


class WhenSaved(ModelCheckpoint):
    """What the history holds as the checkpoint of each epoch is about to be written."""

    def __init__(self, history: Path) -> None:
        super().__init__(dirpath=history.parent, filename="last", enable_version_counter=False)
        self.history, self.rows = history, list[dict[str, float]]()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.rows.append(read_history(self.history)[-1])
        super().on_train_epoch_end(trainer, pl_module)


def test_an_epoch_is_in_the_history_before_its_checkpoint_is_written(tmp_path: Path) -> None:
    """A run killed in between goes on with the next epoch: this one's row must not wait for it."""
    saved = WhenSaved(tmp_path / "metrics.csv")
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=History(tmp_path),
        callbacks=[saved],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = [
        {"image": torch.full((1, 2, 2), grey, dtype=torch.uint8), "id": ["a"]} for grey in (51, 102, 255)
    ]
    task = OneWeight(nn.Conv2d(1, 1, 1), nn.MSELoss(), partial(torch.optim.SGD, lr=0.01))
    trainer.fit(task, DataLoader(batches, batch_size=None))
    assert [(row["epoch"], row["step"]) for row in saved.rows] == [(0, 2), (1, 5)]
    assert all({"train/loss", "train/rate"} <= set(row) for row in saved.rows)
    assert read_history(tmp_path / "metrics.csv") == saved.rows
