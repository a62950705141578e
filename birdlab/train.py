"""``python -m birdlab.train +experiment=focal_tversky``: compose, check, build, fit, test, write."""

import sys
from itertools import pairwise
from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from birdlab import config, precision, ranks
from birdlab.allocator import keep_freed_memory
from birdlab.build import build_data, build_task
from birdlab.data.segmentation import SegmentationData
from birdlab.devices import Devices, settle
from birdlab.errors import BirdlabError, command
from birdlab.evaluate import Evaluation, reference_scores
from birdlab.fit import fit, fit_rank, quieten
from birdlab.run import Run
from birdlab.tasks import SegmentationTask

RESUMABLE = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.limit_")
"""What may stand beside ``resume=DIR``; everything else comes from that run's config."""


def train(cfg: DictConfig, run: Run) -> Evaluation:
    """Train the composed config in its run directory, going on from the last checkpoint if there is one.

    Returns:
        The test scores, as in ``metrics.json``.

    Raises:
        BirdlabError: for the user's mistakes, before training where they can be known.
    """
    devices = settle(cfg)
    ranks.check(devices)
    with run.recorded(seed=cfg.seed, scale=OmegaConf.to_container(cfg.scale, resolve=True)):
        data = prepare(cfg, run, devices)
        if ranks.outside():
            fitted = ranks.lead(fit_rank, run.directory, devices)
        elif devices.processes > 1:
            fitted = ranks.launch(fit_rank, run.directory, devices)
        else:
            fitted = fit(cfg, run, data)
        scores = Evaluation(
            split="test",
            network=fitted.network,
            network_tuned=fitted.network_tuned,
            references=reference_scores(data, "test", data),
            threshold=fitted.threshold,
        )
        run.write_metrics(best_epoch=fitted.best_epoch, **scores.as_dict())
    return scores


def prepare(cfg: DictConfig, run: Run, devices: Devices) -> SegmentationData:
    """Find the mistakes that can be known, decode the data, settle what is ``auto``; write it all down."""
    data, task = build_data(cfg), build_task(cfg, pretrained=not run.last.is_file())
    config.check_monitor(cfg, task.logged)
    data.prepare_data()
    data.setup("fit")
    settle_speed(cfg, task, data, devices.first)
    run.write_config(cfg)
    run.write_json("splits.json", data.split_ids())
    run.note(
        data_hash=data.manifest_hash(),
        devices=f"{devices.processes} x {devices.kind}",
        precision=cfg.trainer.precision,
        memory_format=cfg.memory_format,
        compile=cfg.compile,
        parameters=sum(weight.numel() for weight in task.net.parameters()),
    )
    return data


def settle_speed(
    cfg: DictConfig, task: SegmentationTask, data: SegmentationData, device: torch.device
) -> None:
    """Replace ``precision=auto`` and ``memory_format=auto`` by what a short probe finds fastest."""
    if "auto" not in (cfg.trainer.precision, cfg.memory_format):
        return
    image = task.as_input(next(iter(data.train_dataloader()))["image"].to(device))
    pinned = {"precision": cfg.trainer.precision, "memory_format": cfg.memory_format}
    choice = precision.choose(task.net.to(device), image, **pinned)
    Console().print(str(choice), highlight=False)
    cfg.trainer.precision, cfg.memory_format = choice.precision, choice.memory_format


@hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="train")
def _job(cfg: DictConfig) -> float:
    """One job of Hydra's: a single run, or one of a sweep."""
    directory = Path(HydraConfig.get().runtime.output_dir)
    try:
        if ranks.outside() and HydraConfig.get().mode == RunMode.MULTIRUN:
            raise BirdlabError(
                "srun or torchrun has started several processes, but a sweep is to be started once: it "
                "starts the processes of each of its runs itself (trainer=ddp)."
            )
        if cfg.resume is None:
            config.check(cfg)
            run = Run.new(directory)
        else:
            run = Run.open(directory)
            cfg = resumed_config(run, HydraConfig.get().overrides.task, trust=cfg.trust)
        scores = train(cfg, run)
    except BirdlabError as error:
        # Hydra prints this kind without a traceback, and goes on with the other jobs of a sweep.
        raise CompactHydraException(f"birdlab: {error}") from error
    console = Console()
    console.print(scores.table())
    console.print(f"Run directory: {run.directory}\nFigures: {run.figures}")
    return scores.network["iou"]


def resumed_config(run: Run, overrides: list[str], *, trust: bool) -> DictConfig:
    """The config of a run that goes on, with the trainer's limits as said now.

    Raises:
        BirdlabError: if anything else is to be changed: the run would not be what its config says.
    """
    cfg = run.config(trust=trust)
    for override in overrides:
        key, _, value = override.partition("=")
        if key in {"resume", "trust"}:
            continue
        if not key.startswith(RESUMABLE):
            raise BirdlabError(
                f"{override} can't stand beside resume={run.directory}: a run goes on with its own config. "
                "Only trainer.max_epochs, max_steps, max_time and limit_* may change."
            )
        OmegaConf.update(cfg, key, OmegaConf.from_dotlist([f"value={value}"]).value)
    return cfg


def main() -> None:
    """Run Hydra on the command line, once the mistakes it would only half explain are ruled out."""
    quieten()
    config.register_resolvers()
    keep_freed_memory()
    with command():
        if (environment := ranks.outside()) and ranks.meet(environment):
            ranks.follow(fit_rank)
            return
    words = sys.argv[1:]
    options = dict(pairwise(words))
    own = options.get("--config-dir", options.get("-cd"))
    with command():
        config.check_overrides(words, Path(own) if own else None)
        for word in words:
            if word.startswith("resume="):
                Run.open(Path(word.removeprefix("resume=")))
    _job()


if __name__ == "__main__":
    main()
