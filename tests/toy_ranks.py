"""What ranks do in tests; a module of its own, so that new processes can import it."""

import os
import signal
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

from birdlab.errors import BirdlabError


class KeepWeights(Callback):
    """Each rank's weights after training, as ``rank-0.pt`` and so on in the run directory."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        file = Path(trainer.default_root_dir) / f"rank-{trainer.global_rank}.pt"
        torch.save(pl_module.state_dict(), file)


def add_up(directory: Path, environment: ClusterEnvironment) -> list[int]:
    """The ranks' numbers, exchanged."""
    ranks = [torch.zeros(1, dtype=torch.int64) for _ in range(2)]
    torch.distributed.all_gather(ranks, torch.tensor([environment.local_rank()]))
    (directory / f"rank-{environment.local_rank()}").touch()
    return [int(rank) for rank in ranks]


def one_is_killed(directory: Path, environment: ClusterEnvironment) -> None:
    """The second rank is killed, and the first one waits for it."""
    if environment.local_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.barrier()


def one_is_mistaken(directory: Path, environment: ClusterEnvironment) -> None:
    """The second rank finds a mistake, and the first one waits for it."""
    if environment.local_rank() == 1:
        raise BirdlabError("XC1.png is no picture.")
    torch.distributed.barrier()
