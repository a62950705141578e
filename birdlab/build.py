"""From a config to the objects it describes: the same for training, evaluation and prediction."""

from typing import Any

import torch
from hydra.utils import instantiate
from lightning import Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from birdlab.callbacks.finite import FiniteLoss
from birdlab.checkpoint_io import CheckpointFiles
from birdlab.data.segmentation import SegmentationData
from birdlab.errors import BirdlabError
from birdlab.run import Run
from birdlab.tasks import SegmentationTask


def build_data(cfg: DictConfig) -> SegmentationData:
    """The DataModule of the config's task over the config's data set."""
    source, augment = _instantiate(cfg.data), _instantiate(cfg.augment)
    data: SegmentationData = _instantiate(cfg.task.datamodule, source=source, augment=augment)
    return data


def build_task(cfg: DictConfig) -> SegmentationTask:
    """The network with its loss and optimizer, at its initial weights: a function of ``cfg.seed``.

    Raises:
        BirdlabError: if a setting is out of range, or the image size does not fit the network.
    """
    torch.manual_seed(cfg.seed)
    net = _instantiate(cfg.model)
    _check_size(cfg, net)
    task: SegmentationTask = _instantiate(
        cfg.task.module,
        net=net,
        loss=_instantiate(cfg.loss),
        optimizer=_instantiate(cfg.optimizer),
        scheduler=_instantiate(cfg.scheduler),
        settings=OmegaConf.to_container(cfg, resolve=True),
        channels=cfg.data.channels,
        memory_format="contiguous" if cfg.memory_format == "auto" else cfg.memory_format,
        seed=cfg.seed,
    )
    return task


def build_trainer(cfg: DictConfig, run: Run, **overrides: Any) -> Trainer:
    """Lightning's Trainer with the config's callbacks and loggers, writing below the run directory."""
    callbacks = [FiniteLoss()]
    for callback in cfg.callbacks.values():
        # Configs don't say where the run directory is, so that it can be moved.
        below = {"dirpath": str(run.checkpoints)} if "dirpath" in callback else {}
        callbacks.append(_instantiate(callback, **below))
    settings = {
        "default_root_dir": str(run.directory),
        "callbacks": callbacks,
        "logger": [_instantiate(logger, directory=run.directory) for logger in cfg.logger.values()],
        "plugins": [CheckpointFiles()],
    }
    trainer: Trainer = _instantiate(cfg.trainer, **(settings | overrides))
    return trainer


def _instantiate(node: DictConfig | None, **built: Any) -> Any:
    """Hydra's instantiate, handing over plain containers, and mistakes without Hydra's wrapping."""
    if node is None:
        return None
    try:
        if not built:
            return instantiate(node, _convert_="all")
        # Given to Hydra, built objects would be searched for more to build.
        return instantiate(node, _convert_="all", _partial_=True)(**built)
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, BirdlabError):
            raise cause from None
        if isinstance(cause, ValueError | TypeError):
            raise BirdlabError(f"{node.get('_target_')}: {cause}") from error
        raise


def _check_size(cfg: DictConfig, net: Any) -> None:
    stride = getattr(net, "stride", 1)
    size = cfg.data.get("image_size")
    if size and any(side % stride for side in size):
        fitting = [max(stride, round(side / stride) * stride) for side in size]
        raise BirdlabError(
            f"data.image_size={list(size)}, but {type(net).__name__} needs sides that divide by {stride}: "
            f"for instance data.image_size={fitting}."
        )


def close_loggers(loggers: list[Logger], status: str) -> None:
    """Finish every logger, whatever happened; a second W&B run in one process would continue an open one."""
    for logger in loggers:
        logger.finalize(status)
        finish = getattr(logger, "finish", None)
        if finish is not None:
            finish()
