"""``python -m birdlab.train +experiment=focal_tversky``: compose, check, build, fit, test, write."""

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from lightning import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from birdlab import config, ranks
from birdlab.devices import settle
from birdlab.errors import BirdlabError, command
from birdlab.evaluation import Evaluation, compared
from birdlab.files import write_csv
from birdlab.fit import fit, fit_rank
from birdlab.prepare import prepare
from birdlab.process import set_up_process
from birdlab.run import Run

RESUMABLE = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.limit_")
"""What may stand beside ``resume=DIR``; everything else comes from that run's config."""


def train(cfg: DictConfig, run: Run, callbacks: Sequence[Callback] = ()) -> Evaluation:
    """Train the composed config in its run directory, going on from the last checkpoint if there is one.

    Args:
        cfg: the composed config.
        run: where everything is written.
        callbacks: beside the config's; on one device only.

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
            fitted = fit(cfg, run, data, callbacks=callbacks)
        scores = compared(data, fitted.tested, "test", data)
        run.write_metrics(best_epoch=fitted.best_epoch, **scores.as_dict())
        write_csv(run.scores, scores.samples)
    return scores


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
        with run.held():
            scores = train(cfg, run)
    except BirdlabError as error:
        # Hydra prints this kind without a traceback, and goes on with the other jobs of a sweep.
        raise CompactHydraException(f"birdlab: {error}") from error
    console = Console()
    console.print(scores.table())
    # Paths are there to be copied: not broken over lines.
    console.print(f"Run directory: {run.directory}\nFigures: {run.figures}", soft_wrap=True)
    return scores.network[scores.main]


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
    set_up_process()
    config.register_resolvers()
    with command():
        if (environment := ranks.outside()) and ranks.meet(environment):
            ranks.follow(fit_rank)
            return
    words = sys.argv[1:]
    if any(word.startswith("sweep.resume=") for word in words):
        sys.argv.append("--multirun")
    options = dict(pairwise(word for given in words for word in _option(given)))
    own = options.get("--config-dir", options.get("-cd"))
    with command():
        config.check_overrides(words, Path(own) if own else None)
        for word in words:
            if word.startswith("resume="):
                Run.open(Path(word.removeprefix("resume=").strip("\"'")))
    _job()


def _option(word: str) -> list[str]:
    """``--name=value`` as the two words it stands for."""
    return word.split("=", 1) if word.startswith("-") else [word]


if __name__ == "__main__":
    main()
