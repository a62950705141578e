"""``python -m birdlab.train +experiment=focal_tversky``: compose, check, build, fit, test, write."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from lightning import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from birdlab import config, ranks
from birdlab.box_threshold import box_threshold
from birdlab.data.segmentation import SegmentationData
from birdlab.devices import settle
from birdlab.errors import BirdlabError, command
from birdlab.evaluation import Evaluation, compared
from birdlab.files import write_csv
from birdlab.fit import fit, fit_rank
from birdlab.prepare import prepare, resumed_config
from birdlab.process import set_up_process
from birdlab.run import Run, gone_if_refused


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
    with run.recorded(seed=cfg.seed, scale=OmegaConf.to_container(cfg.scale, resolve=True)):
        devices = settle(cfg)
        ranks.check(devices)
        data = prepare(cfg, run, devices)
        if ranks.outside():
            fitted = ranks.lead(fit_rank, run.directory, devices)
        elif devices.processes > 1:
            fitted = ranks.launch(fit_rank, run.directory, devices)
        else:
            fitted = fit(cfg, run, data, callbacks=callbacks)
        scores = compared(data, fitted.tested, "test", data)
        run.forget("bird_free")  # of the weights that a run which goes on had before
        chosen = box_threshold(run, data) if isinstance(data, SegmentationData) else None
        for_boxes = {} if chosen is None else {"box_threshold": chosen}
        run.write_metrics(best_epoch=fitted.best_epoch, **scores.as_dict(), **for_boxes)
        write_csv(run.scores, scores.samples)
        if scores.reference_samples:
            write_csv(run.references, scores.reference_samples)
    return scores


@hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="train")
def _job(cfg: DictConfig) -> float:
    """One job of Hydra's: a single run, or one of a sweep."""
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        with command():
            return _run(cfg)
    try:
        return _run(cfg)
    except BirdlabError as error:
        # Hydra prints this kind without a traceback, and goes on with the other jobs.
        raise CompactHydraException(f"birdlab: {error}") from error


def _run(cfg: DictConfig) -> float:
    """Train in the directory that Hydra was given, or go on with the one to resume."""
    given = HydraConfig.get()
    if ranks.outside() and given.mode == RunMode.MULTIRUN:
        raise BirdlabError(
            "srun or torchrun has started several processes, but a sweep is to be started once: it "
            "starts the processes of each of its runs itself (trainer=ddp)."
        )
    directory = Path(given.runtime.output_dir)
    if cfg.resume is None:
        with gone_if_refused(directory) if _numbered(given) else nullcontext():
            config.check(cfg)
            run = Run.new(directory)
            with run.held():
                run.note(command=["birdlab.train", *_config_dir(given), *given.overrides.task])
                scores = train(cfg, run)
    else:
        run = Run.open(directory)
        words = given.overrides.task
        cfg = resumed_config(run, words, trust=cfg.trust)
        with run.held():
            run.note_command([word for word in words if not word.startswith(("resume=", "trust="))])
            scores = train(cfg, run)
    console = Console()
    console.print(scores.table())
    # Paths are there to be copied: not broken over lines.
    console.print(f"Run directory: {run.directory}\nFigures: {run.figures}", soft_wrap=True)
    return scores.network[scores.main]


def _config_dir(given: HydraConf) -> list[str]:
    """The option that adds the user's own configs, where it was given."""
    return [
        f"--config-dir={each.path}"
        for each in given.runtime.config_sources
        if each.provider == "command-line"
    ]


def _numbered(given: HydraConf) -> bool:
    """Whether the directory was made for this run, and not named by anybody."""
    words = given.overrides.hydra
    return given.mode == RunMode.RUN and not any(word.startswith("hydra.run.dir=") for word in words)


def main() -> None:
    """Run Hydra on the command line, once the mistakes it would only half explain are ruled out."""
    set_up_process()
    config.register_resolvers()
    with command():
        if (environment := ranks.outside()) and ranks.meet(environment):
            ranks.follow(fit_rank)
            return
    # Hydra takes all settings in one piece: -m may stand before or after them, not between.
    words = sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
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
