"""One training in several processes, a rank for each device.

Whoever runs the command composes the config, prepares the data and writes ``config.yaml``; every rank then
reads that file and nothing else: none composes, numbers directories or looks at the clock. There are two ways
to have several processes:

- `launch`: the command starts the ranks of each run itself and outlives them. So a sweep has them too, and a
  rank that dies ends its run and not the sweep.
- ``srun`` or ``torchrun`` start the command several times, on one machine or more. The first process (`lead`)
  does what the command does; the others (`follow`) wait until it tells them the run directory.

Lightning would relaunch ``sys.argv`` from within training, sweep and all, and end the command with its ranks.
"""

import json
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from birdlab.config import quoted
from birdlab.devices import Devices
from birdlab.errors import BirdlabError
from birdlab.parallel import follow_parent

Result = TypeVar("Result")
Ranked = Callable[[Path, ClusterEnvironment], Result]
"""What each rank does with a run directory; the environment says which rank it is."""

GRACE_S = 30.0
"""For ranks to end in order, W&B's upload included, before they are killed."""

LAST_WORDS_S = 3.0
"""For the other ranks to say what went wrong, once one has failed."""

PREPARATION = timedelta(days=1)
"""How long ranks wait for the first one, which may have data to decode; if it dies they know at once."""


def outside() -> ClusterEnvironment | None:
    """Who has started several processes of this command: ``torchrun``, ``srun``, or nobody.

    Raises:
        BirdlabError: if Slurm's settings don't say how many processes a machine has.
    """
    environment: ClusterEnvironment
    if TorchElasticEnvironment.detect():
        environment = TorchElasticEnvironment()
    # A batch script has Slurm's variables as well; only what srun has started is a step of its job.
    elif (
        int(os.environ.get("SLURM_NTASKS", 1)) > 1
        and "SLURM_STEP_ID" in os.environ
        and SLURMEnvironment.detect()
    ):
        try:
            environment = SLURMEnvironment()
        except RuntimeError as error:
            raise BirdlabError(f"Slurm: {error}") from error
    else:
        return None
    return environment if environment.world_size() > 1 else None


def check(devices: Devices) -> None:
    """As many processes have been started as the config says.

    Raises:
        BirdlabError: if not.
    """
    environment = outside()
    asked = f"trainer.devices={len(devices.indices)} x trainer.num_nodes={devices.nodes}"
    if environment is not None and environment.world_size() != devices.processes:
        raise BirdlabError(
            f"srun or torchrun has started {environment.world_size()} processes, but {asked} are "
            f"{devices.processes}: devices is how many each machine has, num_nodes how many machines."
        )
    if environment is None and devices.nodes > 1:
        raise BirdlabError(
            f"{asked}, but the command runs on this machine only. Start it on all of them: srun python -m "
            "birdlab.train ..., or on each torchrun --nnodes=... --nproc-per-node=... -m birdlab.train ..."
        )


def launch(function: Ranked[Result], directory: Path, devices: Devices) -> Result:
    """``function`` in a new process for each device of this machine, and what it returns in the first one.

    Args:
        function: importable by name.
        directory: of the run.
        devices: how many, and how they exchange.

    Raises:
        BirdlabError: if a process dies, or raises it.
        OSError: if a process raises one.
        RuntimeError: with the traceback of any other exception.
    """
    world = len(devices.indices)
    # The system chooses the port, so that runs which start at once don't meet.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("spawn")
    processes, waiting = [], dict[Connection, int]()
    results, errors = dict[int, Result](), list[Exception]()
    try:
        for rank in range(world):
            receiver, sender = context.Pipe(duplex=False)
            arguments = (function, directory, devices, rank, store.port, sender)
            process = context.Process(target=_rank, args=arguments, name=f"rank {rank}")
            process.start()
            sender.close()  # so that the only end left closes with the process
            processes.append(process)
            waiting[receiver] = rank
        # After an error the others have a moment to say theirs, which may be the cause of it.
        while waiting and (said := wait(list(waiting), timeout=LAST_WORDS_S if errors else None)):
            for ready in said:
                assert isinstance(ready, Connection)
                rank = waiting.pop(ready)
                try:
                    outcome = ready.recv()
                except EOFError:
                    processes[rank].join()
                    outcome = _died(rank, world, processes[rank].exitcode, directory)
                if isinstance(outcome, Exception):
                    errors.append(outcome)
                else:
                    results[rank] = outcome
    except BaseException:
        _end(processes, interrupt=True)
        raise
    _end(processes, interrupt=bool(errors))
    if errors:
        # One rank's mistake ends the connections of the others, and theirs may be heard of first.
        raise next((error for error in errors if isinstance(error, BirdlabError)), errors[0])
    return results[0]


def meet(environment: ClusterEnvironment) -> bool:
    """Let processes that were started from outside find each other; whether this is not the first one."""
    _meeting()
    return environment.global_rank() > 0


def lead(function: Ranked[Result], directory: Path, devices: Devices) -> Result:
    """In the first of the processes that were started from outside: ``function`` with all of them."""
    environment = outside()
    assert environment is not None
    _meeting().set("run", json.dumps({"directory": str(directory), "backend": devices.backend}))
    with _group(_meeting(), environment.global_rank(), environment.world_size(), devices.backend):
        return function(directory, environment)


def follow(function: Ranked[Any]) -> None:
    """In the others: wait for the run directory, and do ``function`` with it.

    Raises:
        BirdlabError: if the first process ends before it has one.
    """
    environment = outside()
    assert environment is not None
    try:
        told = json.loads(_meeting().get("run"))
    except RuntimeError as error:
        raise BirdlabError(
            f"process {environment.global_rank()}: the first process ended before training; see what it said."
        ) from error
    with _group(_meeting(), environment.global_rank(), environment.world_size(), told["backend"]):
        function(Path(told["directory"]), environment)


@cache
def _meeting() -> Store:
    environment = outside()
    assert environment is not None
    # torchrun keeps a store at this port already.
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = TCPStore(
        environment.main_address,
        environment.main_port,
        is_master=environment.global_rank() == 0 and not hosted,
        wait_for_workers=False,
        timeout=PREPARATION,
    )
    return PrefixStore("birdlab", store)


@contextmanager
def _group(store: Store, rank: int, world: int, backend: str) -> Iterator[None]:
    """Lightning takes the process group that it finds."""
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=world)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _rank(
    function: Ranked[Any], directory: Path, devices: Devices, rank: int, port: int, sender: Connection
) -> None:
    """The life of a process that `launch` starts."""
    follow_parent()
    signal.signal(signal.SIGINT, _interrupt_once)
    world = len(devices.indices)
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(world)}
    try:
        with _group(TCPStore("127.0.0.1", port), rank, world, devices.backend):
            outcome = function(directory, LightningEnvironment())
    except (BirdlabError, OSError) as error:
        outcome = error if isinstance(error, BirdlabError) else OSError(*error.args)
    except Exception as error:
        outcome = RuntimeError(f"on rank {rank} of {world}:\n{''.join(traceback.format_exception(error))}")
    sender.send(outcome if rank == 0 or isinstance(outcome, Exception) else None)


def _interrupt_once(*_: object) -> None:
    """Ctrl-C reaches all processes of a terminal, and `launch` passes it on: the second is one too many."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end(processes: list[Any], *, interrupt: bool) -> None:
    """Wait for processes, in vain for those that hang in an exchange with a dead one."""
    if interrupt:
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGINT)
    deadline = time.monotonic() + GRACE_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _died(rank: int, world: int, status: int | None, directory: Path) -> BirdlabError:
    how = signal.Signals(-status).name if status and status < 0 else f"status {status}"
    return BirdlabError(
        f"Process {rank} of {world} died ({how}), perhaps for want of memory. The last finished epoch is "
        f"kept: go on with resume={quoted(str(directory))}."
    )
