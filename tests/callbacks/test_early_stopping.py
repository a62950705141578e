"""Early stopping, resumed."""

import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from birdlab.callbacks.early_stopping import EarlyStopping


class GetsNoBetter(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", 1.0)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_run_that_has_stopped_trains_no_further_epoch(tmp_path):
    def trainer() -> Trainer:
        stop = EarlyStopping("val/loss", patience=2)
        return Trainer(
            accelerator="cpu",
            callbacks=[stop],
            max_epochs=20,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=tmp_path,
        )

    data = DataLoader(TensorDataset(torch.zeros(2, 1)))
    first = trainer()
    first.fit(GetsNoBetter(), data, data)
    assert first.current_epoch == 3
    first.save_checkpoint(tmp_path / "last.ckpt")
    again = trainer()
    again.fit(GetsNoBetter(), data, data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert again.global_step == first.global_step
