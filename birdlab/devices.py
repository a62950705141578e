"""On what a run computes and in which precision: checked against this machine before time is spent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from omegaconf import DictConfig, ListConfig

from birdlab.cores import cpu_count
from birdlab.errors import BirdlabError, first_line

Kind = Literal["cpu", "cuda", "mps"]

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("auto", "32-true", "16-mixed", "bf16-mixed")
ALIASES = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""Lightning's short names. Its others hold weights in half or double precision: no network here does."""


@dataclass(frozen=True)
class Devices:
    """What one run computes on.

    Attributes:
        kind: of the devices.
        indices: of this machine's devices, one for each process; on a CPU they only count the processes.
        nodes: machines.
    """

    kind: Kind
    indices: tuple[int, ...]
    nodes: int = 1

    @property
    def first(self) -> torch.device:
        """Of the first process."""
        return torch.device(self.kind, self.indices[0]) if self.kind == "cuda" else torch.device(self.kind)

    @property
    def processes(self) -> int:
        """On all machines."""
        return len(self.indices) * self.nodes

    @property
    def backend(self) -> str:
        """By which processes exchange what they found."""
        return "nccl" if self.kind == "cuda" else "gloo"


def settle(cfg: DictConfig) -> Devices:
    """Check ``cfg.trainer`` against this machine; ``devices=auto`` and aliases of precisions are replaced.

    Raises:
        BirdlabError: if there are fewer devices than asked for, or of another kind, or they can't compute in
            the precision; if ``compile=true`` and nothing can be compiled.
    """
    kind = _kind(cfg.trainer.accelerator)
    indices = _indices(cfg.trainer.devices, kind)
    nodes = cfg.trainer.num_nodes
    if not isinstance(nodes, int) or nodes < 1:
        raise BirdlabError(f"trainer.num_nodes={nodes}, but it must be a whole number, at least 1.")
    cfg.trainer.precision = _precision(cfg.trainer.precision, kind)
    if not isinstance(cfg.trainer.devices, ListConfig):
        cfg.trainer.devices = len(indices)
    devices = Devices(kind, indices, nodes)
    if not isinstance(cfg.compile, bool):
        raise BirdlabError(f"compile={cfg.compile}, but it must be true or false.")
    if cfg.compile:
        _try_compiler(devices.first)
    return devices


def use_one(cfg: DictConfig) -> None:
    """Let a config compute on one device of this machine, wherever its run was trained."""
    cfg.trainer.devices, cfg.trainer.num_nodes = 1, 1
    try:
        kind = _kind(cfg.trainer.accelerator)
    except BirdlabError:
        cfg.trainer.accelerator, kind = "auto", _kind("auto")
    if kind == "cpu" and cfg.trainer.precision == "16-mixed":
        cfg.trainer.precision = "32-true"


def _kind(accelerator: str) -> Kind:
    if accelerator not in ACCELERATORS:
        raise BirdlabError(
            f"trainer.accelerator={accelerator}, but it must be one of {_listed(ACCELERATORS)}."
        )
    there: dict[Kind, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": accelerator != "gpu",
    }
    for kind, present in there.items():
        if present and accelerator in ("auto", "gpu", kind):
            return kind
    built = "for CUDA" if torch.version.cuda else "without CUDA"
    what = "Apple GPU" if accelerator == "mps" else "GPU"
    raise BirdlabError(
        f"trainer.accelerator={accelerator}, but PyTorch {torch.__version__} ({built}) finds no {what} "
        "here. Set trainer=auto or trainer=cpu; for a GPU that is there, see its driver (nvidia-smi) and "
        "install PyTorch for it."
    )


def _indices(devices: object, kind: Kind) -> tuple[int, ...]:
    """The devices of this machine that are asked for: a number, a list of indices, or all."""
    # One process on a CPU uses all its cores; two can be tried out on a machine of one core.
    most = {"cuda": torch.cuda.device_count(), "mps": 1, "cpu": max(2, cpu_count())}[kind]
    if devices in ("auto", -1):
        return (0,) if kind == "cpu" else tuple(range(most))
    if isinstance(devices, int) and not isinstance(devices, bool) and devices >= 1:
        indices: Sequence[int] = range(devices)
    elif isinstance(devices, ListConfig) and devices and all(isinstance(index, int) for index in devices):
        indices = list(devices)
    else:
        raise BirdlabError(
            f"trainer.devices={devices}: give a number from 1, auto, or indices such as [0,2]."
        )
    if len(set(indices)) < len(indices) or not all(0 <= index < most for index in indices):
        there = {"cuda": f"{most} GPU(s)", "mps": "one GPU", "cpu": f"room for {most} processes"}
        raise BirdlabError(
            f"trainer.devices={devices}, but this machine has {there[kind]}: set trainer.devices={most} or "
            "less" + (", and see $CUDA_VISIBLE_DEVICES." if kind == "cuda" else ".")
        )
    return tuple(indices)


def _precision(precision: object, kind: Kind) -> str:
    name = ALIASES.get(str(precision), str(precision))
    if name not in PRECISIONS:
        raise BirdlabError(f"trainer.precision={precision}, but it must be one of {_listed(PRECISIONS)}.")
    if name == "16-mixed" and kind == "cpu":
        raise BirdlabError(
            f"trainer.precision={precision} needs a GPU, and this run is on the CPU: set "
            "trainer.precision=auto, bf16-mixed or 32-true."
        )
    return name


def _try_compiler(device: torch.device) -> None:
    try:
        torch.compile(lambda x: 2 * x + 1)(torch.zeros(8, device=device))
    except Exception as error:
        needed = "Triton" if device.type == "cuda" else "a C++ compiler"
        raise BirdlabError(
            f"compile=true, but torch.compile doesn't work here ({first_line(error)}). Install "
            f"{needed}, or set compile=false."
        ) from error


def _listed(choices: Sequence[str]) -> str:
    return ", ".join(choices)
