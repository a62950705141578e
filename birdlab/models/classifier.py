"""Image classifiers of torchvision, timm or birdlab for stacks of segments, and weights to start from."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from birdlab.errors import BirdlabError
from birdlab.models.encoding import Encoding, channels, encoded
from birdlab.models.frequency_rows import RowFeatures
from birdlab.models.weights import (
    FirstConv,
    below,
    check_builds_only,
    check_first_conv,
    first_conv_of,
    initial_state,
    load_strictly,
    replace_first_conv,
    with_first_conv,
)

State = Mapping[str, Tensor]


def classifier(
    build: Callable[..., nn.Module],
    segments: int,
    classes: int | None,
    encoding: Encoding = "stacked",
    weights: str | None = None,
    stem: FirstConv = "mean_scaled",
    imagenet: Callable[[], State] | None = None,
    training_windows: int | None = None,
) -> nn.Module:
    """A network from stacks [B, S, M, T] to logits [B, K].

    Args:
        build: called with ``num_classes=K``; makes a network whose first convolution takes the image and
            whose last linear layer returns the logits, as most of torchvision's and timm's. It starts from
            random weights: what it loaded by itself could not be told from them.
        segments: S.
        classes: K.
        encoding: how segments become an image, see `birdlab.models.encoding`.
        weights: to start from: None for random ones; ``imagenet``; or a file or run directory (see
            `load_state`) with the weights of this network, or of one that has it, or its first layers, as its
            ``encoder``. The last layer always starts from random ones: it named other species.
        stem: how the filters of the first convolution become ones for the image's channels, see
            `adapt_first_conv`.
        imagenet: where ImageNet's weights come from.
        training_windows: where windows vote, how many of a recording each training step draws; None for all.

    Raises:
        BirdlabError: if the weights are absent, damaged or those of another network, for another ``stem``, or
            if ``build`` is told to load weights.
        ValueError: if K is not known, or the network has no convolution or no linear layer.
    """
    if classes is None:
        raise ValueError("classes=None: it comes from the data set; set task=classification")
    check_first_conv("model.stem", stem)
    check_builds_only("model.build", build)
    net = build(num_classes=classes)
    state = None if weights is None else initial_state(weights, imagenet)
    replace_first_conv(net, channels(encoding, segments))
    if state is not None:
        start_from(net, state, stem, str(weights))
    net = encoded(net, encoding, training_windows)
    net.register_forward_pre_hook(partial(check_stack, segments))
    return net


def check_stack(segments: int, net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Refuse stacks that a network does not take, before its forward.

    Raises:
        BirdlabError: for another number of segments.
    """
    shape = tuple(inputs[0].shape)
    if len(shape) != 4 or shape[1] != segments:
        raise BirdlabError(
            f"the network takes stacks of {segments} segments [B, {segments}, M, T] and got {shape}; "
            "set data.segments"
        )


def head_of(net: nn.Module) -> nn.Linear:
    """The last linear layer, which returns the logits.

    Raises:
        ValueError: if there is none.
    """
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(net).__name__} has no linear layer that returns logits; set model.build")
    return linear[-1]


@contextmanager
def head_inputs(net: nn.Module) -> Iterator[list[Tensor]]:
    """What reaches the last layer in the forwards that are made meanwhile: a tensor [N, D] of each.

    N is the batch, times the windows of each recording where these vote.
    """
    seen: list[Tensor] = []
    handle = head_of(net).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    try:
        with torch.compiler.set_stance("force_eager"):  # a compiled network would keep the hook
            yield seen
    finally:
        handle.remove()


def start_from(net: nn.Module, state: State, stem: FirstConv, origin: str) -> None:
    """Take over all weights but those of the last layer; the first convolution's are adapted.

    Raises:
        BirdlabError: lists what is missing and what is too much; the network is then as it was.
    """
    for part in net.modules():
        if isinstance(part, RowFeatures):  # knows which stages it has left out
            part.start_from(state, stem, origin)
            return
    state = _of_encoder(state, net)
    first, conv = first_conv_of(net)
    kept = {f"{_name_of(net, head_of(net))}.{own}": value for own, value in head_of(net).state_dict().items()}
    taken = {key: value for key, value in state.items() if key not in kept}
    load_strictly(net, with_first_conv(taken, f"{first}.weight", conv.in_channels, stem) | kept, origin)


def _of_encoder(state: State, net: nn.Module) -> State:
    """The part of a larger network's weights that stands for a classifier of its own."""
    own = net.state_dict()
    for prefix in ("encoder.", "net."):
        inner = below(prefix, state)
        if inner and not any(key.startswith(prefix) for key in own):
            # An encoder of segmentation ends with its last features: layers behind them are new.
            there = {key.partition(".")[0] for key in inner}
            behind = {key: value for key, value in own.items() if key.partition(".")[0] not in there}
            return inner | (behind if prefix == "encoder." else {})
    return state


def _name_of(net: nn.Module, wanted: nn.Module) -> str:
    names: dict[nn.Module, str] = {module: name for name, module in net.named_modules()}
    return names[wanted]
