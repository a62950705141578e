"""Averaged weights: what is kept is the average, with the threshold that was chosen for it."""

from pathlib import Path

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from birdlab import config
from birdlab.callbacks.averaging import AveragedWeights
from birdlab.errors import BirdlabError
from birdlab.tasks.base import Task

STUDIES = config.CONF / "experiment"


class Toy(Task):
    """One weight, of which each step of SGD takes 1."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(1, 1, bias=False), nn.Identity(), lambda weights: torch.optim.SGD(weights, lr=1.0)
        )
        nn.init.zeros_(self.net.weight)  # type: ignore[arg-type]
        self.register_buffer("threshold", torch.tensor(0.5))
        self.seen: list[float] = []

    def inputs(self, batch):  # type: ignore[no-untyped-def]
        return batch

    def training_step(self, batch, batch_idx):  # type: ignore[no-untyped-def]
        loss = -self.net.weight.sum()  # type: ignore[operator,union-attr]
        self.train_loss.update(loss.detach())
        return loss

    def validation_step(self, batch, batch_idx):  # type: ignore[no-untyped-def]
        self.seen.append(float(self.net.weight))  # type: ignore[arg-type]

    def on_validation_epoch_end(self) -> None:
        self.threshold.fill_(0.7)  # type: ignore[operator]


def by_hand(steps: int, decay: float) -> float:
    average = 1.0  # the first step's weights are taken over
    for number in range(1, steps):
        keep = min(decay, (1 + number) / (10 + number))
        average = keep * average + (1 - keep) * (number + 1)
    return average


def trained(task: Toy, folder: Path, batches: int, epochs: int, *callbacks: Callback, sanity: int) -> Trainer:
    trainer = Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=sanity,
        callbacks=list(callbacks),
    )
    trainer.fit(task, DataLoader(torch.zeros(batches, 1)), DataLoader(torch.zeros(1, 1)))
    return trainer


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.995])
def test_the_average_is_validated_and_kept(tmp_path: Path, decay: float) -> None:
    task = Toy()
    trainer = trained(task, tmp_path, 3, 2, AveragedWeights(decay), sanity=0)
    assert task.seen == pytest.approx([by_hand(3, decay), by_hand(6, decay)])
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    assert float(task.net.weight) == pytest.approx(by_hand(6, decay))  # type: ignore[arg-type]


def test_the_threshold_in_a_checkpoint_is_the_one_chosen_last(tmp_path: Path) -> None:
    keep = ModelCheckpoint(dirpath=tmp_path, filename="best", enable_version_counter=False)
    trained(Toy(), tmp_path, 4, 1, AveragedWeights(0.5), keep, sanity=2)
    state = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    assert float(state["threshold"]) == pytest.approx(0.7)
    assert float(state["net.weight"]) == pytest.approx(by_hand(4, 0.5))


def test_checkpoints_that_would_not_hold_the_average_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    keep = ModelCheckpoint(dirpath=tmp_path, save_weights_only=True)
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, callbacks=[AveragedWeights(0.5), keep])
    with pytest.raises(BirdlabError, match=r"callbacks\.best\.save_weights_only=false"):
        trainer.fit(Toy(), DataLoader(torch.zeros(4, 1)))


def test_shipped_configs_keep_the_average() -> None:
    words = {study.stem: [f"+experiment={study.stem}"] for study in STUDIES.glob("[!_]*.yaml")}
    words["species"] = ["+experiment=mobilenet_optimizers", "callbacks=species_averaged"]
    composed = {name: config.compose(given).callbacks for name, given in words.items()}
    averaged = {name: callbacks for name, callbacks in composed.items() if "average" in callbacks}
    assert averaged.keys() >= {"frontier", "frontier_adapted", "multitask", "species"}
    assert not any(callbacks.best.save_weights_only for callbacks in averaged.values())


def test_a_decay_that_cannot_be() -> None:
    with pytest.raises(BirdlabError, match=r"callbacks\.average\.decay=1\.0"):
        AveragedWeights(1.0)
