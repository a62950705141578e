"""Launchers: every job is the command of a single run, in a process of its own, wherever that is started.

A job that is killed therefore takes no other with it. What a run prints stands in ``<sweep>/<run>.log``.
"""

import importlib.util
import os
import queue
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from rich.console import Console

from birdlab.config import quoted
from birdlab.cores import cpu_count, usable_cores
from birdlab.errors import BirdlabError
from birdlab.process import ATTACHED
from birdlab.run import Run
from birdlab.sweep import going_on

_OF_THE_SWEEP = (
    "hydra/launcher",
    "hydra.launcher",
    "hydra/sweeper",
    "hydra.sweep",
    "hydra.mode",
    "hydra.run",
)
"""Settings of Hydra's that are not handed on to the single runs."""


@dataclass(frozen=True)
class Command:
    """The command of a single run, as a function that any process may call.

    Attributes:
        directory: of the run.
        options: of the command, such as ``--config-dir``.
        words: what the run is begun with.
        hydra: words for Hydra.
    """

    directory: Path
    options: tuple[str, ...]
    words: tuple[str, ...]
    hydra: tuple[str, ...]
    cwd: Path = field(default_factory=Path.cwd)

    def __call__(self, **environment: str) -> int:
        """Run to the end; begun before, the run goes on.

        Returns:
            The exit code; negative for the signal that ended it.
        """
        # What this very command began, and a cluster cut short, is its own: no config from elsewhere.
        ours = not any(word.startswith("resume=") for word in self.words)
        words = going_on(Run(self.directory), trust=ours or "trust=true" in self.words) or self.words
        where = ("hydra.mode=RUN", f"hydra.run.dir={quoted(str(self.directory))}")
        command = [sys.executable, "-m", "birdlab.train", *self.options, *words, *self.hydra, *where]
        with (
            self.directory.with_name(f"{self.directory.name}.log").open("ab") as log,
            subprocess.Popen(
                command,
                cwd=self.cwd,
                env=os.environ | environment | {ATTACHED: "1"},
                stdin=subprocess.PIPE,  # its end is what tells the run of ours
                stdout=log,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            return process.wait()

    def checkpoint(self) -> Any:
        """For submitit: queue it again, to go on, when the cluster takes the machine back or time is up."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class ProcessLauncher(Launcher):
    """What all launchers have in common: commands in, a line for each that ends, a result for Hydra."""

    package: ClassVar[str]
    """Which the launcher is built on."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Hydra's Launcher.

        Raises:
            BirdlabError: if the launcher can't be used as it is set.
        """
        if importlib.util.find_spec(self.package) is None:
            raise BirdlabError(f"hydra/launcher needs {self.package}: pip install 'birdlab[sweeps]'")
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs; none that fails or is killed stops the others."""
        commands = [self._command(words) for words in job_overrides]
        codes: dict[int, int] = {}
        console = Console(highlight=False, soft_wrap=True)
        console.print("What they print stands beside them in *.log.")
        for number, code in self.run(commands):
            codes[number] = code
            said = {0: "finished"}.get(code, f"failed ({code})" if code > 0 else f"killed by signal {-code}")
            console.print(f"{len(codes)}/{len(commands)} {commands[number].directory.name}: {said}")
        return [
            JobReturn(
                overrides=words,
                status=JobStatus.FAILED if codes.get(number) else JobStatus.COMPLETED,
                _return_value=codes.get(number),
            )
            for number, words in enumerate(job_overrides)
        ]

    @abstractmethod
    def run(self, commands: Sequence[Command]) -> Iterator[tuple[int, int]]:
        """Run the commands; the position and the exit code of each as it ends."""

    def _command(self, words: Sequence[str]) -> Command:
        hydra = self.config.hydra
        (name,) = (word.partition("=")[2] for word in words if word.startswith("hydra.sweep.subdir="))
        own = [s.path for s in hydra.runtime.config_sources if s.provider == "command-line"]
        return Command(
            directory=Path(hydra.sweep.dir) / name,
            options=tuple(option for folder in own for option in ("--config-dir", folder)),
            words=tuple(word for word in words if not word.startswith("hydra.sweep.")),
            hydra=tuple(
                word for word in hydra.overrides.hydra if not word.lstrip("+~").startswith(_OF_THE_SWEEP)
            ),
        )


class JoblibLauncher(ProcessLauncher):
    """Several runs at once on this machine.

    Each takes one of ``n_jobs`` places; the places share the GPUs one after the other, and the processor's
    cores evenly.

    Args:
        n_jobs: runs at once; None is one a GPU, without any one for every two cores.
    """

    package = "joblib"

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if self.n_jobs is not None and (not isinstance(self.n_jobs, int) or self.n_jobs < 1):
            raise BirdlabError(f"hydra.launcher.n_jobs={self.n_jobs}: give a whole number, at least 1.")

    def run(self, commands: Sequence[Command]) -> Iterator[tuple[int, int]]:
        from joblib import Parallel, delayed

        gpus = visible_gpus()
        n_jobs = min(self.n_jobs or len(gpus) or max(1, cpu_count() // 2), len(commands))
        places: queue.SimpleQueue[int] = queue.SimpleQueue()
        for place in range(n_jobs):
            places.put(place)

        cores = usable_cores()
        # Shared out now: a thread that is pinned sees no more than its own cores.
        shares = [share(place, n_jobs, gpus) for place in range(n_jobs)]

        def job(number: int, command: Command) -> tuple[int, int]:
            place = places.get()
            try:
                if cores:
                    # Of this thread only, and of what it starts.
                    os.sched_setaffinity(0, cores_of(place, n_jobs, cores))
                return number, command(**shares[place])
            finally:
                places.put(place)

        # Threads, which only wait: each job has a process of its own.
        pool = Parallel(n_jobs, backend="threading", return_as="generator_unordered")
        yield from pool(delayed(job)(number, command) for number, command in enumerate(commands))


class SubmititLauncher(ProcessLauncher):
    """Each run a job of Slurm's, or of submitit's stand-in for it on this machine.

    Args:
        cluster: ``slurm`` or ``local``.
        parameters: submitit's, such as ``timeout_min``, ``mem_gb``, ``slurm_partition``; None leaves one out.
    """

    package = "submitit"

    def __init__(self, cluster: str, **parameters: Any) -> None:
        self.cluster = cluster
        self.parameters = {key: value for key, value in parameters.items() if value is not None}

    def run(self, commands: Sequence[Command]) -> Iterator[tuple[int, int]]:
        import submitit

        folder = commands[0].directory.parent / ".submitit" / "%j"
        try:
            executor = submitit.AutoExecutor(folder, cluster=self.cluster)
            executor.update_parameters(name="birdlab", **self.parameters)
        except (RuntimeError, ValueError, NameError, AssertionError) as error:
            raise BirdlabError(f"hydra/launcher=submitit_{self.cluster}: {error}") from error
        with executor.batch():
            jobs = [executor.submit(command) for command in commands]
        numbers = {job.job_id: number for number, job in enumerate(jobs)}
        for job in submitit.helpers.as_completed(jobs, poll_frequency=1 if self.cluster == "local" else 10):
            try:
                code = int(job.result())
            except Exception:  # the job's own process was killed, so it left no result
                code = -9
            yield numbers[job.job_id], code


class RayLauncher(ProcessLauncher):
    """Runs as tasks of Ray's, which places them by what they need.

    Args:
        num_cpus: of one run.
        num_gpus: of one run; a fraction shares a GPU. None is one, where there is any.
        init: of ``ray.init``.
    """

    package = "ray"

    def __init__(self, num_cpus: float, num_gpus: float | None, init: Mapping[str, Any]) -> None:
        self.num_cpus, self.init = num_cpus, init
        self.num_gpus = min(1, torch.cuda.device_count()) if num_gpus is None else num_gpus

    def run(self, commands: Sequence[Command]) -> Iterator[tuple[int, int]]:
        import ray

        ray.init(
            **{"log_to_driver": False, "include_dashboard": False, "configure_logging": False}
            | dict(self.init)
        )
        try:
            # A run that was killed is not begun again behind one's back: sweep.resume goes on with it.
            task = ray.remote(Command.__call__).options(
                num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=0
            )
            numbers = {task.remote(command): number for number, command in enumerate(commands)}
            waiting = list(numbers)
            while waiting:
                (done, *_), waiting = ray.wait(waiting, num_returns=1)
                try:
                    code = int(ray.get(done))
                except ray.exceptions.RayError:
                    code = -9
                yield numbers[done], code
        finally:
            ray.shutdown()


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES would hold to choose each of the GPUs at hand."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    count = torch.cuda.device_count()
    return visible.split(",")[:count] if visible else [str(number) for number in range(count)]


def cores_of(place: int, places: int, cores: Sequence[int]) -> list[int]:
    """An even share of the cores; one each, some of them twice, where there are fewer than places."""
    each = max(1, len(cores) // places)
    return [cores[(place * each + number) % len(cores)] for number in range(each)]


def share(place: int, places: int, gpus: Sequence[str]) -> dict[str, str]:
    """The environment of a run in one of several places: its GPU and its number of threads."""
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cpu_count() // places)))}
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
    return environment
