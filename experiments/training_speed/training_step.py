"""Steps per second of birdlab's training loop against a bare PyTorch loop.

Both loops train the same network from the same weights on the same batch, which is in memory already, in the
same precision and memory format, in turns. birdlab's loop is what ``birdlab.train`` runs: the task,
callbacks, logger and schedule of the focal_tversky study, on a few synthetic samples. Validation, checkpoints
and figures come after the last step that counts.

    python experiments/training_speed/training_step.py [trainer=gpu ...]
"""

import csv
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.optim import Optimizer

from birdlab.allocator import keep_freed_memory
from birdlab.build import build_data, build_task, build_trainer, close_loggers
from birdlab.config import compose
from birdlab.files import replacing
from birdlab.precision import AUTOCAST, MEMORY_FORMATS, Precision
from birdlab.run import Run, environment

RESULTS = Path(__file__).with_suffix(".csv")
PAIRS = 5
WARM_UP = 3

STUDY = ["+experiment=focal_tversky", "scale=smoke", "logger=csv"]
ONE_WEIGHT = {
    "_target_": "torch.nn.Sequential",
    "_args_": [{"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}],
}
"""A network with nothing to compute, which shows what the loop itself costs."""


class Batches:
    """The same batch again and again, noting when the first after warming up and the last are asked for.

    Either loop asks for a batch once the step before is done, so ``steps`` steps lie between the two.
    """

    def __init__(self, batch: dict[str, Any], steps: int) -> None:
        self.batch = batch
        self.steps = steps

    def __len__(self) -> int:
        return WARM_UP + self.steps + 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for step in range(len(self)):
            if step == WARM_UP:
                self.started = self._now()
            elif step == WARM_UP + self.steps:
                self.ended = self._now()
            yield self.batch

    @property
    def steps_per_second(self) -> float:
        return self.steps / (self.ended - self.started)

    def _now(self) -> float:
        if self.batch["image"].is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def bare_loop(
    net: nn.Module,
    loss: nn.Module,
    optimizer: Optimizer,
    batches: Iterable[dict[str, Tensor]],
    precision: Precision,
) -> None:
    """Nothing but what training takes."""
    dtype = AUTOCAST.get(precision)
    for batch in batches:
        autocast = torch.autocast(batch["image"].device.type, dtype=dtype) if dtype else nullcontext()
        optimizer.zero_grad()
        with autocast:
            value = loss(net(batch["image"])[:, 0], batch["mask"])
        value.backward()
        optimizer.step()


def bare_speed(cfg: DictConfig, batch: dict[str, Any], steps: int) -> float:
    """Steps per second of `bare_loop`."""
    task = build_task(cfg).to(batch["image"].device)
    ready = Batches(
        {
            "image": task.as_input(batch["image"]).contiguous(
                memory_format=MEMORY_FORMATS[cfg.memory_format]
            ),
            "mask": batch["mask"],
        },
        steps,
    )
    bare_loop(task.net, task.loss, task.optimizer(task.net.parameters()), ready, cfg.trainer.precision)
    return ready.steps_per_second


def birdlab_speed(cfg: DictConfig, batch: dict[str, Any], steps: int) -> float:
    """Steps per second of the loop that ``birdlab.train`` runs."""
    batches = Batches(batch, steps)
    data = build_data(cfg)
    data.train_dataloader = lambda: batches  # type: ignore
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(cfg, Run.new(Path(folder) / "run"), max_epochs=1)
        try:
            trainer.fit(build_task(cfg), datamodule=data)
        finally:
            close_loggers(trainer.loggers, "success")
    return batches.steps_per_second


def compare(cfg: DictConfig, steps: int) -> dict[str, Any]:
    """Both loops in turns; a drift of the machine leaves the median of the pairs' ratios alone."""
    data = build_data(cfg)
    data.prepare_data()
    data.setup("fit")
    batch = Fabric(accelerator=cfg.trainer.accelerator, devices=1).to_device(
        next(iter(data.train_dataloader()))
    )
    loops: tuple[Callable[[DictConfig, dict[str, Any], int], float], ...] = (bare_speed, birdlab_speed)
    pairs = []
    for number in range(PAIRS):
        order = loops if number % 2 == 0 else loops[::-1]
        speeds = {loop: loop(cfg, batch, steps) for loop in order}
        pairs.append((speeds[bare_speed], speeds[birdlab_speed]))
    ratios = sorted(birdlab / bare for bare, birdlab in pairs)
    return {
        "bare_steps_per_s": round(statistics.median(bare for bare, _ in pairs), 3),
        "birdlab_steps_per_s": round(statistics.median(birdlab for _, birdlab in pairs), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_min": round(ratios[0], 3),
        "ratio_max": round(ratios[-1], 3),
        "loop_us_per_step": round(1e6 * statistics.median(1 / birdlab - 1 / bare for bare, birdlab in pairs)),
    }


def main(overrides: list[str]) -> None:
    """Compare in both precisions, then with a network that computes nothing; print and write the table."""
    keep_freed_memory()
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    machine = environment()
    with tempfile.TemporaryDirectory() as folder:
        words = [*STUDY, f"data.root={folder}/data", f"loader.cache_dir={folder}/cache", *overrides]
        rows = [
            _row(machine, "resunet", compose([*words, *setting]), steps=12)
            for setting in (
                ["trainer.precision=32-true", "memory_format=contiguous"],
                ["trainer.precision=32-true", "memory_format=channels_last"],
                ["trainer.precision=bf16-mixed", "memory_format=channels_last"],
            )
        ]
        empty = compose([*words, "memory_format=contiguous", "data.image_size=[16,16]"])
        OmegaConf.update(empty, "model", ONE_WEIGHT, merge=False, force_add=True)
        rows.append(_row(machine, "one weight", empty, steps=500))
    with replacing(RESULTS) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=200).print(table)


def _row(machine: dict[str, Any], network: str, cfg: DictConfig, steps: int) -> dict[str, Any]:
    return {
        "device": machine["device"],
        "threads": machine["cpu_threads"],
        "torch": machine["versions"]["torch"],
        "network": network,
        "precision": cfg.trainer.precision,
        "memory_format": cfg.memory_format,
        "batch": "x".join(map(str, (cfg.loader.batch_size, *cfg.data.image_size))),
        **compare(cfg, steps),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
