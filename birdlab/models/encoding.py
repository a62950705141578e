"""How a stack of S segments [B, S, M, T] is shown to an image classifier: five ways, for one network."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from birdlab.errors import BirdlabError

Encoding = Literal["stacked", "shuffled", "voting", "overlapping", "long"]
"""Segments as channels, in order or shuffled; one by one; in pairs of neighbours; or one after the other."""

_SPREAD = 1e3


class Shuffled(nn.Module):
    """Segments as channels, in an order that says nothing of time.

    Each recording has an order of its own, made from its levels: the digits of its segments' means behind the
    third place. So it is the same whenever the recording is seen as it is.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, stack: Tensor) -> Tensor:
        """Logits [B, K] of stacks [B, S, M, T]."""
        key = (stack.float().mean(dim=(2, 3)) * _SPREAD).frac().abs()
        order = key.argsort(dim=1, stable=True)
        shuffled = torch.take_along_dim(stack, order[:, :, None, None], dim=1)
        logits: Tensor = self.net(shuffled.contiguous(memory_format=_format(stack)))
        return logits


class SegmentVoting(nn.Module):
    """Segments one by one, as images of one channel; the mean of their logits is the recording's.

    Args:
        net: the image classifier.
        drawn: in training so many windows of each recording count, others in each step; None for all.
    """

    def __init__(self, net: nn.Module, drawn: int | None = None) -> None:
        super().__init__()
        self.net = net
        self.drawn = drawn

    def windows(self, stack: Tensor) -> Tensor:
        """What votes: windows [B, W, M, U] of stacks [B, S, M, T]."""
        return stack

    def forward(self, stack: Tensor) -> Tensor:
        """Logits [B, K] of stacks [B, S, M, T]."""
        windows = self.windows(stack)
        if self.training and self.drawn is not None:
            order = torch.rand(windows.shape[:2], device=stack.device).argsort(dim=1)[:, : self.drawn]
            windows = torch.take_along_dim(windows, order[:, :, None, None], dim=1)
        images = windows.flatten(0, 1).unsqueeze(1).contiguous(memory_format=_format(stack))
        logits: Tensor = self.net(images)
        return logits.reshape(*windows.shape[:2], -1).mean(dim=1)


class OverlappingVoting(SegmentVoting):
    """Each segment with its next one, as windows that overlap by half; the mean of their logits counts."""

    def windows(self, stack: Tensor) -> Tensor:
        """Windows [B, S - 1, M, 2 T] of stacks [B, S, M, T], S > 1."""
        return torch.cat([stack[:, :-1], stack[:, 1:]], dim=-1)


class OneLong(nn.Module):
    """All segments one after the other, as one spectrogram [B, 1, M, S T]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, stack: Tensor) -> Tensor:
        """Logits [B, K] of stacks [B, S, M, T]."""
        whole = stack.transpose(1, 2).flatten(2).unsqueeze(1)
        logits: Tensor = self.net(whole.contiguous(memory_format=_format(stack)))
        return logits


def channels(encoding: Encoding, segments: int) -> int:
    """Channels of the image that the network gets.

    Raises:
        BirdlabError: for another encoding.
    """
    if encoding not in get_args(Encoding):
        raise BirdlabError(f"model.encoding={encoding}: give one of {', '.join(get_args(Encoding))}.")
    if encoding == "overlapping" and segments < 2:
        raise BirdlabError("model.encoding=overlapping needs two segments at least: set data.segments.")
    return segments if encoding in ("stacked", "shuffled") else 1


def encoded(net: nn.Module, encoding: Encoding, training_windows: int | None = None) -> nn.Module:
    """The network behind an encoding; ``stacked`` is the network itself.

    Args:
        net: the image classifier.
        encoding: see `Encoding`.
        training_windows: of the encodings that vote, see `SegmentVoting`.

    Raises:
        BirdlabError: for a number of windows below 1, or one where nothing votes.
    """
    voting: dict[Encoding, type[SegmentVoting]] = {"voting": SegmentVoting, "overlapping": OverlappingVoting}
    if training_windows is not None and (training_windows < 1 or encoding not in voting):
        raise BirdlabError(
            f"model.training_windows={training_windows}: give at least 1, with model.encoding=voting or "
            "overlapping; or null."
        )
    if encoding in voting:
        return voting[encoding](net, training_windows)
    wrappers: dict[Encoding, type[nn.Module]] = {"shuffled": Shuffled, "long": OneLong}
    return wrappers[encoding](net) if encoding in wrappers else net


def _format(stack: Tensor) -> torch.memory_format:
    # Decided by strides, which say nothing where there is one channel: both formats are the same then.
    last = stack.is_contiguous(memory_format=torch.channels_last) and not stack.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
