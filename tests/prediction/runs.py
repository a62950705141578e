"""Run directories with untrained weights: what they say is arbitrary, but the same each time."""

from pathlib import Path

import torch
from omegaconf import DictConfig

from birdlab import config
from birdlab.build import build_task
from birdlab.run import Run


def mask_run(folder: Path, *settings: str, temperature: float = 1.0, **kept: object) -> Run:
    """A small run that marks birds at a threshold of .4; ``kept`` replaces parts of its checkpoint."""
    small = [] if any(each.startswith("model=") for each in settings) else ["model.widths=[4,8]"]
    words = ["+experiment=focal_tversky", "data.image_size=[32,32]", *small, *settings]
    validation = {"precision": [k / 200 for k in range(99)], "recall": [1 - k / 100 for k in range(99)]}
    return _written(
        folder, config.compose(words), {"birdlab": {"validation": validation}} | kept, temperature
    )


def levels_run(folder: Path) -> Run:
    """A small run that marks birds in levels of recordings, with all channels there are."""
    words = [
        "+experiment=frontier",
        "model=resunet",
        "data.image_size=[32,96]",
        "model.widths=[4,8]",
        "data.channels=4",
    ]
    channels = "task.module.front_end.channels=[level,excess,pcen,frequency]"
    return _written(folder, config.compose([*words, channels]), {"birdlab": {}}, 1.0)


def callers_run(folder: Path, *settings: str) -> Run:
    """A small run that marks birds and says which of two is heard."""
    words = ["+experiment=multitask", "data.image_size=[32,96]", "model.widths=[4,8]", *settings]
    cfg = config.compose(words)
    config.fill(cfg, {"task.names": ["owl", "wren"], "task.classes": 2})
    return _written(folder, cfg, {"birdlab": {}}, 1.0)


def species_run(folder: Path, *settings: str, temperature: float = 1.0, **kept: object) -> Run:
    """A small run that tells three species in stacks of 4 segments of .25 s at 16 kHz; ``kept`` as above."""
    small = ("sample_rate=16000", "n_fft=512", "hop=250", "n_mels=32", "fmax=7000")
    stack = ("segments=4", "segment_s=0.25", "species=3", "root=absent")
    words = ["+experiment=mobilenet_optimizers", "data=birdclef"]
    cfg = config.compose([*words, *(f"data.{each}" for each in (*small, *stack)), *settings])
    config.fill(cfg, {"task.names": ["dipper", "owl", "wren"], "task.classes": 3, "task.counts": [4, 4, 4]})
    validation = {
        "confidence": [0.95, 0.8, 0.6, 0.4],
        "coverage": [0.2, 0.4, 0.8, 1.0],
        "accuracy": [1.0, 0.9, 0.95, 0.7],
    }
    return _written(folder, cfg, {"birdlab": {"validation": validation}} | kept, temperature)


def _written(folder: Path, cfg: DictConfig, kept: dict[str, object], temperature: float) -> Run:
    run = Run.new(folder)
    run.write_config(cfg)
    task = build_task(cfg)
    # As if it had been trained: else some networks say the same of everything.
    draw = torch.Generator().manual_seed(1)
    for name, value in task.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.3, generator=draw)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2, generator=draw)
    task.temperature.fill_(temperature)
    if hasattr(task, "threshold"):
        task.threshold.fill_(0.4)  # type: ignore[operator]
    run.checkpoints.mkdir()
    torch.save({"epoch": 3, "state_dict": task.state_dict()} | kept, run.best)
    return run
