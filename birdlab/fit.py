"""Fit and test one run in this process: all of a training, or one rank of it."""

import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import Callback
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy
from omegaconf import DictConfig

from birdlab.allocator import keep_freed_memory
from birdlab.build import build_data, build_task, build_trainer, close_loggers
from birdlab.data.module import SourceData
from birdlab.errors import BirdlabError
from birdlab.evaluation import score
from birdlab.process import quieten
from birdlab.run import Run
from birdlab.tasks.base import Tested


@dataclass(frozen=True)
class Fitted:
    """What a training came to.

    Attributes:
        best_epoch: whose weights were tested.
        tested: what the test found.
    """

    best_epoch: int
    tested: Tested


def fit(
    cfg: DictConfig,
    run: Run,
    data: SourceData,
    strategy: Strategy | str = "auto",
    callbacks: Sequence[Callback] = (),
) -> Fitted:
    """Train, going on from the last checkpoint if there is one, and test the best epoch.

    Args:
        cfg: settled, as in the run's ``config.yaml``.
        run: where it writes.
        data: the data set.
        strategy: Lightning's, for ranks.
        callbacks: beside the config's.

    Raises:
        BirdlabError: for batches of one that a network with batch norm can't be trained on.
    """
    _forget_peak_memory()
    resumed = str(run.last) if run.last.is_file() else None
    task = build_task(cfg, pretrained=not resumed)
    trainer = build_trainer(cfg, run, callbacks, strategy=strategy)
    if cfg.compile:
        task.net.compile()  # in place: its weights keep their names
    for logger in trainer.loggers:
        logger.log_hyperparams(task.settings)
    status = "failed"
    try:
        trainer.fit(task, datamodule=data, ckpt_path=resumed, weights_only=True)
        best = run.checkpoint(run.best)
        task.load_checkpoint(best, str(run.best))
        tested = score(task, data, trainer)
        status = "success"
    except ValueError as error:
        if "more than 1 value per channel" in str(error):
            raise BirdlabError(
                "Batch norm has no variance of one sample of one pixel: set loader.batch_size to 2 or more, "
                "and give as many samples."
            ) from error
        raise
    finally:
        close_loggers(trainer.loggers, status)
        if trainer.is_global_zero:
            run.note(peak_memory_gb=round(_peak_memory_gb(), 3))
    return Fitted(int(best["epoch"]), tested)


def fit_rank(directory: Path, environment: ClusterEnvironment) -> Fitted:
    """`fit` from a run directory alone, as one of several ranks."""
    quieten()
    keep_freed_memory()
    run = Run.open(directory)
    cfg = run.config(trust=True)  # written by the process that has started this one
    return fit(cfg, run, build_data(cfg), DDPStrategy(cluster_environment=environment))


def _forget_peak_memory() -> None:
    """Of what the process did before, another run of a sweep for instance."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform.startswith("linux"):
        with suppress(OSError):  # see proc(5); not every container allows it
            Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_gb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
