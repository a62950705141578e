"""The sweeper: plan, check every job, run what is pending, and say what did not finish."""

import logging
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins import basic_launcher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from birdlab import config as configs
from birdlab.errors import BirdlabError, command
from birdlab.process import release_memory
from birdlab.sweep import Job, Sweep, plan


class GridSweeper(BasicSweeper):
    """Every combination of the values given, or what is missing of an earlier sweep (``sweep.resume=DIR``).

    Args:
        params: values by key, as on the command line, which replaces them.
        together: what the jobs that have a certain word are given, too; see `birdlab.sweep.plan`.
    """

    def __init__(self, params: Mapping[str, Any], together: Mapping[str, Sequence[str]]) -> None:
        super().__init__(max_batch_size=None, params=dict(params))
        self.together = together

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        # It would repeat the words of every job; `isolated` tells their names.
        logging.getLogger(basic_launcher.__name__).setLevel(logging.WARNING)
        with command():
            super().setup(hydra_context=hydra_context, task_function=isolated(task_function), config=config)

    def sweep(self, arguments: list[str]) -> list[dict[str, Any]]:
        """Run the sweep.

        Args:
            arguments: words of the command line, without those for Hydra.

        Returns:
            The test scores of each job, in order.
        """
        with command():
            return self._sweep(arguments)

    def _sweep(self, arguments: list[str]) -> list[dict[str, Any]]:
        assert self.config is not None
        assert self.hydra_context is not None
        resumed = self.config.sweep.resume
        if resumed is None:
            folders = [source.path for source in self._sources("command-line")]
            words = [f"{key}={value}" for key, value in self.params.items()]
            configs.check_overrides(words, Path(folders[0]) if folders else None)
            directory, loader = Path(self.config.hydra.sweep.dir), self.hydra_context.config_loader
            planned = plan(directory, self.params, self.together, arguments, loader)
        else:
            for word in arguments:
                if not word.startswith(("sweep.resume=", "trust=")):
                    raise BirdlabError(
                        f"{word} can't stand beside sweep.resume={resumed}: its runs go on as they were "
                        "begun. Only hydra/launcher and its settings may change."
                    )
            planned = Sweep.open(Path(resumed))
        pending = planned.pending()
        for job in pending:
            self._check(job, trusted=resumed is None or self.config.trust)
        self._settle(planned.directory)
        with planned.held() if resumed is not None else planned.begun():
            print(f"{len(pending)} of {len(planned.jobs)} runs to do in {planned.directory}")
            self._launch(planned, pending)
        planned.check_finished()
        return [planned.run(job).read_json("metrics.json").get("test", {}) for job in planned.jobs]

    def _launch(self, planned: Sweep, pending: Sequence[Job]) -> None:
        assert self.launcher is not None
        assert self.config is not None
        jobs = [
            [*planned.words(job, trust=self.config.trust), f"hydra.sweep.subdir={job.name}"]
            for job in pending
        ]
        try:
            if jobs:
                self.launcher.launch(jobs, initial_job_idx=0)
        except (KeyboardInterrupt, SystemExit):
            there = configs.quoted(str(planned.directory))
            print(f"\nThe sweep was interrupted. Go on with: sweep.resume={there}", file=sys.stderr)
            sys.exit(130)

    def _check(self, job: Job, *, trusted: bool) -> None:
        """Compose a job and look for mistakes, before any job runs."""
        assert self.hydra_context is not None
        assert self.config is not None
        if not trusted and any("${" in word for word in job.overrides):
            raise BirdlabError(
                f"{job.name}: it looks something up on your machine; add trust=true if you trust it."
            )
        try:
            cfg = self.hydra_context.config_loader.load_sweep_config(self.config, list(job.overrides))
        except HydraException as error:
            raise BirdlabError(f"{job.name}: {error}") from error
        with read_write(cfg), open_dict(cfg):
            del cfg["hydra"]
        try:
            if not trusted:  # before anything that it names is imported
                configs.check_trusted(DictConfig(OmegaConf.to_container(cfg, resolve=True)))
            configs.check(cfg)
        except (BirdlabError, OmegaConfBaseException) as error:
            raise BirdlabError(f"{job.name}: {error}") from error

    def _settle(self, directory: Path) -> None:
        """Let all jobs, which compose their configs anew, have the one directory."""
        assert self.config is not None
        with read_write(self.config), open_dict(self.config):
            self.config.hydra.sweep.dir = str(directory)
            self.config.hydra.overrides.hydra.append(f"hydra.sweep.dir={configs.quoted(str(directory))}")

    def _sources(self, provider: str) -> list[Any]:
        assert self.config is not None
        return [s for s in self.config.hydra.runtime.config_sources if s.provider == provider]


def isolated(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """A job in this process that tells of its failure at once, and leaves no memory taken to the next one.

    A traceback keeps the frames it went through, and with them network and batches: after one job out of
    memory every other would be, too.
    """

    def job(cfg: DictConfig) -> Any:
        print(f"\n{_name()}", flush=True)
        try:
            return task(cfg)
        except CompactHydraException as error:
            said = str(error)
        except Exception:
            said = traceback.format_exc()
        finally:
            release_memory()
        print(said, file=sys.stderr, flush=True)
        # Outside of the handlers, or it would hold on to what it replaces.
        raise CompactHydraException(said.strip().splitlines()[-1])

    return job


def _name() -> str:
    return Path(HydraConfig.get().runtime.output_dir).name
