"""In which precision and memory format a network is computed: what trains fastest is tried out, not assumed.

bf16 doubles the speed of wide convolutions on one processor and halves that of a MobileNet on the next;
whether channels-last helps depends on network, precision and device alike. A few training steps in each
setting tell.
"""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
MemoryFormat = Literal["contiguous", "channels_last"]

ROUNDS = 5
BUDGET_S = 5.0
TOLERANCE = 0.05

AUTOCAST: Mapping[Precision, torch.dtype] = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
MEMORY_FORMATS: Mapping[MemoryFormat, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


class Setting(NamedTuple):
    """How a network is computed: Lightning's name of the precision, and the order of a tensor's elements."""

    precision: Precision
    memory_format: MemoryFormat

    def __str__(self) -> str:
        return f"{self.precision} {self.memory_format}"


@dataclass(frozen=True)
class Choice:
    """The setting to train in, and the seconds that one step took in each setting tried."""

    precision: Precision
    memory_format: MemoryFormat
    seconds: Mapping[Setting, float]

    def __str__(self) -> str:
        """One line for the user."""
        line = f"trainer.precision={self.precision} memory_format={self.memory_format}"
        if not self.seconds:
            return line
        tried = ", ".join(f"{setting} {1000 * seconds:.0f}" for setting, seconds in self.seconds.items())
        return f"{line} (ms per step: {tried})"


def choose(
    net: nn.Module,
    image: Tensor,
    *,
    precision: Precision | Literal["auto"] = "auto",
    memory_format: MemoryFormat | Literal["auto"] = "auto",
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """Settle what is ``auto`` by timing training steps; what is pinned stays.

    The settings take turns, so that a disturbance hits all of them, and the fastest step of each counts: the
    first, which pays for warming up, drops out by itself. The network, its batch-norm statistics and the
    random number generators are left as they were.

    Args:
        net: the network to be trained, on the device to train on.
        image: a batch [B, C, F, T] of the training's size, on the same device.
        precision: ``auto`` or a pinned precision.
        memory_format: ``auto`` or a pinned memory format.
        clock: seconds.

    Returns:
        The simplest setting that is at most 5 % slower than the fastest.
    """
    precisions = available(image.device) if precision == "auto" else (precision,)
    formats = tuple(MEMORY_FORMATS) if memory_format == "auto" else (memory_format,)
    settings = [Setting(p, f) for p in precisions for f in formats]
    seconds = _timed(net, image, settings, clock) if len(settings) > 1 else {}
    return Choice(*(simplest_of_the_fast(seconds) if seconds else settings[0]), seconds)


def available(device: torch.device) -> tuple[Precision, ...]:
    """Precisions worth trying on a device, the most exact first."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "32-true", "bf16-mixed" if native else "16-mixed"
    # Without vector instructions for it, bf16 falls back to loops that are slower by orders of magnitude.
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return ("32-true", "bf16-mixed") if torch.ops.mkldnn._is_mkldnn_bf16_supported() else ("32-true",)
    return ("32-true",)


def simplest_of_the_fast(seconds: Mapping[Setting, float]) -> Setting:
    """The first setting, simplest first, that takes at most 5 % longer than the fastest."""
    limit = min(seconds.values()) * (1 + TOLERANCE)
    return next(setting for setting, taken in seconds.items() if taken <= limit)


def keep_depthwise_exact(net: nn.Module) -> None:
    """Let depthwise convolutions compute in float32 where a CPU computes the others in bf16.

    On a CPU their gradient takes up to ten times as long in bf16, most of a MobileNet's or EfficientNet's
    training. What follows a depthwise convolution sees float32. Nothing changes without autocast or on a GPU.

    Args:
        net: changed in place; its weights and their names stay.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            # Not a closure: copied and pickled with the network, it is of the copy's convolution.
            module.forward = partial(_in_float32_on_cpu, module)  # type: ignore[method-assign]


def _in_float32_on_cpu(convolution: nn.Conv2d, image: Tensor) -> Tensor:
    """``convolution.forward``, out of a CPU's autocast."""
    forward = type(convolution).forward
    if image.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return forward(convolution, image)
    with torch.autocast("cpu", enabled=False):
        return forward(convolution, image.float())


def _timed(
    net: nn.Module, image: Tensor, settings: list[Setting], clock: Callable[[], float]
) -> dict[Setting, float]:
    """The fastest of up to five steps of each setting; fewer if they take long, at least one."""
    seconds = dict.fromkeys(settings, float("inf"))
    nets = {
        memory_format: copy.deepcopy(net).train().to(memory_format=MEMORY_FORMATS[memory_format])
        for memory_format in {setting.memory_format for setting in settings}
    }
    started = clock()
    with torch.random.fork_rng(devices=[image.device] if image.device.type == "cuda" else []):
        for round_number in range(ROUNDS):
            if round_number and clock() - started > BUDGET_S:
                break
            for setting in settings:
                before = clock()
                _step(nets[setting.memory_format], image, setting)
                seconds[setting] = min(seconds[setting], clock() - before)
    return seconds


def _step(net: nn.Module, image: Tensor, setting: Setting) -> None:
    """Forward and backward, with the device waited for. Loss and optimizer cost the same in every setting."""
    dtype = AUTOCAST.get(setting.precision)
    image = image.contiguous(memory_format=MEMORY_FORMATS[setting.memory_format])
    with torch.autocast(image.device.type, dtype=dtype, enabled=dtype is not None):
        logits = net(image)
    logits.float().square().mean().backward()
    net.zero_grad(set_to_none=True)
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
