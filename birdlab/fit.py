"""Fit and test one run in this process: all of a training, or one rank of it."""

import logging
import resource
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy
from omegaconf import DictConfig

from birdlab.allocator import keep_freed_memory
from birdlab.build import build_data, build_task, build_trainer, close_loggers
from birdlab.data.segmentation import SegmentationData
from birdlab.evaluate import Scores, score
from birdlab.run import Run


@dataclass(frozen=True)
class Fitted:
    """What a training came to.

    Attributes:
        best_epoch: whose weights were tested.
        network: test scores at a threshold of .5.
        network_tuned: those at ``threshold``.
        threshold: that validation data chose.
    """

    best_epoch: int
    network: Scores
    network_tuned: Scores
    threshold: float


def fit(cfg: DictConfig, run: Run, data: SegmentationData, strategy: Strategy | str = "auto") -> Fitted:
    """Train, going on from the last checkpoint if there is one, and test the best epoch.

    Args:
        cfg: settled, as in the run's ``config.yaml``.
        run: where it writes.
        data: the data set.
        strategy: Lightning's, for ranks.
    """
    resumed = str(run.last) if run.last.is_file() else None
    task, trainer = build_task(cfg, pretrained=not resumed), build_trainer(cfg, run, strategy=strategy)
    if cfg.compile:
        task.net.compile()  # in place: its weights keep their names
    for logger in trainer.loggers:
        logger.log_hyperparams(task.settings)
    status = "failed"
    try:
        trainer.fit(task, datamodule=data, ckpt_path=resumed, weights_only=True)
        best = run.checkpoint(run.best)
        task.load_weights(best["state_dict"], str(run.best))
        network, network_tuned = score(task, data, trainer)
        status = "success"
    finally:
        close_loggers(trainer.loggers, status)
        if trainer.is_global_zero:
            run.note(peak_memory_gb=round(_peak_memory_gb(), 3))
    return Fitted(int(best["epoch"]), network, network_tuned, float(task.threshold))


def fit_rank(directory: Path, environment: ClusterEnvironment) -> Fitted:
    """`fit` from a run directory alone, as one of several ranks."""
    quieten()
    keep_freed_memory()
    run = Run.open(directory)
    cfg = run.config(trust=True)  # written by the process that has started this one
    return fit(cfg, run, build_data(cfg), DDPStrategy(cluster_environment=environment))


def quieten() -> None:
    """Leave out Lightning's tips and remarks on devices; its warnings stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # What is logged is of all ranks already.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")


def _peak_memory_gb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
