"""From a config to the objects it describes: the same for training, evaluation and prediction."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn

from birdlab.audio.spectrogram import Spectrogram
from birdlab.callbacks.finite import FiniteLoss
from birdlab.callbacks.throughput import Throughput
from birdlab.checkpoint_io import CheckpointFiles
from birdlab.config import parameters, targets
from birdlab.data.module import SourceData
from birdlab.data.source import Source
from birdlab.errors import BirdlabError
from birdlab.models.weights import (
    check_first_conv,
    first_conv_of,
    load_state,
    load_strictly,
    missing_encoder,
    start_with_encoder,
)
from birdlab.probing.backbone import Backbone
from birdlab.run import Run
from birdlab.tasks import Task


def build_data(cfg: DictConfig) -> SourceData:
    """The DataModule of the config's task over the config's data set."""
    augment = _instantiate(cfg.augment)
    data: SourceData = _instantiate(cfg.task.datamodule, source=build_source(cfg), augment=augment)
    return data


def build_source(cfg: DictConfig) -> Source:
    """The config's data set."""
    source: Source = _instantiate(cfg.data)
    return source


def build_backbone(cfg: DictConfig) -> Backbone:
    """What embeds recordings; needs no run."""
    backbone: Backbone = _instantiate(cfg.backbone)
    return backbone


def build_task(cfg: DictConfig, *, pretrained: bool = True) -> Task:
    """The network with its loss and optimizer, at its initial weights: a function of ``cfg.seed``.

    Args:
        cfg: the composed config.
        pretrained: False leaves out the weights that training started from, for a network that gets a
            checkpoint's: a run must be readable where those are not at hand.

    Raises:
        BirdlabError: if a setting is out of range, the image size does not fit the network, or the weights to
            start from are not to be had.
    """
    torch.manual_seed(cfg.seed)
    start = cfg.get("start_from") if pretrained else None
    net = _build_net(_untrained(cfg.model) if start or not pretrained else cfg.model)
    if start:
        source = Path(start).expanduser()
        load_strictly(net, load_state(source), str(source))
    if "channels" in cfg.data:
        _check_channels(cfg)
    _check_size(cfg, net)
    _check_window(cfg)
    task: Task = _instantiate(
        cfg.task.module,
        net=net,
        loss=_instantiate(cfg.loss),
        optimizer=_instantiate(cfg.optimizer),
        scheduler=_instantiate(cfg.scheduler),
        settings=OmegaConf.to_container(cfg, resolve=True),
        memory_format="contiguous" if cfg.memory_format == "auto" else cfg.memory_format,
        seed=cfg.seed,
    )
    return task


def build_trainer(
    cfg: DictConfig, run: Run, more_callbacks: Sequence[Callback] = (), **overrides: Any
) -> Trainer:
    """Lightning's Trainer with the config's callbacks and loggers, writing below the run directory."""
    callbacks = [FiniteLoss(), Throughput(), *more_callbacks]
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
        if isinstance(cause, ValueError | TypeError | MisconfigurationException):
            raise BirdlabError(f"{node.get('_target_')}: {cause}") from error
        for target in targets(node):
            parameters(target)  # says of one that can't be imported what to install
        raise


def _build_net(model: DictConfig) -> nn.Module:
    """The network; ``weights`` and ``first_conv`` are seen to here where it doesn't know of them itself."""
    settings: Any = OmegaConf.to_container(model, resolve=True)
    weights = None if "weights" in parameters(model._target_) else settings.pop("weights", None)
    state = None if weights is None else load_state(Path(weights))
    if "encoder_name" not in settings:
        net = _made(settings)
        if state is not None:
            load_strictly(net, state, str(weights))
        return net
    first_conv = settings.pop("first_conv", "mean_scaled")
    check_first_conv("model.first_conv", first_conv)
    origin = weights or settings.get("encoder_weights")
    if origin and state is None:
        # As they were trained: for other channels segmentation_models_pytorch has a rule of its own.
        state = _made(settings | {"in_channels": 3}).get_submodule("encoder").state_dict()
    if origin and "encoder_weights" in settings:
        settings["encoder_weights"] = None
    net = _made(settings)
    if state is not None:
        first, _ = first_conv_of(net.get_submodule("encoder"))
        start_with_encoder(net, state, first, first_conv, str(origin))
    return net


def _made(settings: dict[str, Any]) -> nn.Module:
    """What a config's ``model`` builds, with birdlab's messages."""
    try:
        net: nn.Module = _instantiate(DictConfig(settings))
    except InstantiationException as error:
        if isinstance(error.__cause__, KeyError):
            raise BirdlabError(f"{settings['_target_']}: {error.__cause__.args[0]}") from error
        if isinstance(error.__cause__, OSError) and "encoder_name" in settings:
            raise BirdlabError(
                missing_encoder(settings["encoder_name"], settings["encoder_weights"])
            ) from error
        raise
    return net


def _untrained(model: DictConfig) -> DictConfig:
    names = ("weights", "encoder_weights")  # birdlab's networks' and segmentation_models_pytorch's
    return OmegaConf.merge(model, {name: None for name in names if name in model})  # type: ignore[return-value]


def _check_channels(cfg: DictConfig) -> None:
    channels, logits = cfg.model.get("in_channels"), cfg.model.get("out_channels", cfg.model.get("classes"))
    if channels not in (None, cfg.data.channels):
        raise BirdlabError(
            f"model.in_channels={channels}, but images have data.channels={cfg.data.channels}: "
            "set data.channels, which networks follow."
        )
    given = OmegaConf.select(cfg, "task.module.front_end.channels")
    if given is not None and len(given) != cfg.data.channels:
        raise BirdlabError(
            f"task.module.front_end.channels={list(given)}, but data.channels={cfg.data.channels}: "
            f"set data.channels={len(given)}."
        )
    if logits not in (None, 1, 2):
        key = "classes" if "classes" in cfg.model else "out_channels"
        raise BirdlabError(
            f"model.{key}={logits}: give 1 (bird) or 2 (background and bird); whatever is not background in "
            "a mask counts as bird."
        )


def _check_size(cfg: DictConfig, net: nn.Module) -> None:
    # birdlab's networks say it themselves; those of segmentation_models_pytorch leave it to their encoder.
    encoder_stride = getattr(getattr(net, "encoder", None), "output_stride", 1)
    stride: int = getattr(net, "stride", encoder_stride)
    size = cfg.data.get("image_size")
    if size and any(side < stride or side % stride for side in size):
        fitting = [max(stride, round(side / stride) * stride) for side in size]
        raise BirdlabError(
            f"data.image_size={list(size)}, but {type(net).__name__} needs sides that divide by {stride}: "
            f"for instance data.image_size={fitting}."
        )


def _check_window(cfg: DictConfig) -> None:
    """Levels are computed in whole steps, in training as in prediction, whose grid has steps of its own."""
    data = cfg.data
    if data.get("picture") != "level" or not data.get("window_s") or not data.get("image_size"):
        return
    columns, samples = data.image_size[1], round(data.window_s * data.sample_rate)
    unit = math.lcm(columns, Spectrogram().hop)
    if samples % unit:
        fitting = max(1, round(samples / unit)) * unit / data.sample_rate
        raise BirdlabError(
            f"data.window_s={data.window_s}: {samples} samples (at {data.sample_rate} Hz) can't be divided "
            f"into {columns} columns (data.image_size): set data.window_s={fitting}."
        )


def close_loggers(loggers: list[Logger], status: str) -> None:
    """Finish every logger, whatever happened; a second W&B run in one process would continue an open one."""
    for logger in loggers:
        logger.finalize(status)
        finish = getattr(logger, "finish", None)
        if finish is not None:
            finish()
