"""``python -m birdlab.train +experiment=focal_tversky``: compose, check, build, fit, test, write."""

import logging
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from lightning.fabric import Fabric
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from birdlab import config, precision
from birdlab.allocator import keep_freed_memory
from birdlab.build import build_data, build_task, build_trainer, close_loggers
from birdlab.data.segmentation import SegmentationData
from birdlab.errors import BirdlabError, command
from birdlab.evaluate import Evaluation, evaluate
from birdlab.run import Run
from birdlab.tasks import Task

RESUMABLE = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.limit_")
"""What may stand beside ``resume=DIR``; everything else comes from that run's config."""


def train(cfg: DictConfig, run: Run) -> Evaluation:
    """Train the composed config in its run directory, going on from the last checkpoint if there is one.

    Returns:
        The test scores, as in ``metrics.json``.

    Raises:
        BirdlabError: for the user's mistakes, before training where they can be known.
    """
    with run.recorded(seed=cfg.seed, scale=OmegaConf.to_container(cfg.scale, resolve=True)):
        resumed = str(run.last) if run.last.is_file() else None
        data, task = build_data(cfg), build_task(cfg, pretrained=not resumed)
        config.check_monitor(cfg, task.logged)
        data.prepare_data()
        data.setup("fit")
        settle_speed(cfg, task, data)
        run.write_config(cfg)
        run.write_json("splits.json", data.split_ids())
        task, trainer = build_task(cfg, pretrained=not resumed), build_trainer(cfg, run)
        run.note(
            data_hash=data.manifest_hash(),
            precision=cfg.trainer.precision,
            memory_format=cfg.memory_format,
            parameters=sum(weight.numel() for weight in task.net.parameters()),
        )
        for logger in trainer.loggers:
            logger.log_hyperparams(task.settings)
        status = "failed"
        try:
            trainer.fit(task, datamodule=data, ckpt_path=resumed, weights_only=True)
            best = run.checkpoint(run.best)
            task.load_weights(best["state_dict"], str(run.best))
            scores = evaluate(task, data, trainer)
            validated = best["birdlab"]["validation"]
            run.write_metrics(best_epoch=int(best["epoch"]), validation=validated, **scores.as_dict())
            status = "success"
        finally:
            close_loggers(trainer.loggers, status)
    return scores


def settle_speed(cfg: DictConfig, task: Task, data: SegmentationData) -> None:
    """Replace ``precision=auto`` and ``memory_format=auto`` by what a short probe finds fastest."""
    if "auto" not in (cfg.trainer.precision, cfg.memory_format):
        return
    device = Fabric(accelerator=cfg.trainer.accelerator, devices=1).device
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
    if getattr(rank_zero_only, "rank", 0) == 0:
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
    # Lightning's remarks on devices and tips; its warnings stay.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    config.register_resolvers()
    keep_freed_memory()
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
