"""Weights to start from: files, other runs, ImageNet, and a first convolution for other channels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from birdlab.errors import BirdlabError
from birdlab.run import Run

FirstConv = Literal["mean", "mean_scaled", "copy"]
"""How the filters of a first convolution are taken over for another number of channels."""


def adapt_first_conv(weight: Tensor, channels: int, how: FirstConv) -> Tensor:
    """Filters [O, C, k, k] of a first convolution for images of another number of channels.

    Args:
        weight: as trained, C = 3 for ImageNet.
        channels: of the images to come; C of them leaves the filters as they are.
        how: ``mean``, the filters averaged over their channels and repeated; ``mean_scaled``, that times
            C / channels, so that a grey image repeated over the channels gets the response that it got before;
            ``copy``, the first C as they are and random ones for the rest (fewer channels: the first ones).

    Returns:
        Filters [O, channels, k, k].

    Raises:
        ValueError: for another ``how``.
    """
    outputs, trained, *kernel = weight.shape
    if channels == trained:
        return weight
    match how:
        case "mean":
            return weight.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1)
        case "mean_scaled":
            return weight.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1) * (trained / channels)
        case "copy":
            adapted = weight.new_empty(outputs, channels, *kernel)
            nn.init.kaiming_normal_(adapted, mode="fan_out", nonlinearity="relu")  # as torchvision's ResNets
            kept = min(trained, channels)
            adapted[:, :kept] = weight[:, :kept]
            return adapted
    raise ValueError(f"first_conv={how}, but it must be one of mean, mean_scaled, copy; set model.first_conv")


def load_state(source: Path) -> dict[str, Tensor]:
    """The weights of a network by name.

    Args:
        source: a ``.safetensors`` file, a file that `torch.save` wrote (``.pth``, ``.ckpt``; never unpickled), or
            a run directory, whose best epoch counts.

    Raises:
        BirdlabError: if it is absent, damaged, or holds anything but tensors.
    """
    if source.is_dir():
        run = Run.open(source)
        of_task = run.checkpoint(run.best)["state_dict"]
        return {key.removeprefix("net."): value for key, value in of_task.items() if key.startswith("net.")}
    if not source.is_file():
        raise BirdlabError(f"{source}: there is no such file of weights, nor a run directory; set model.weights.")
    try:
        content: Any = _safetensors(source) if source.suffix == ".safetensors" else _torch_file(source)
    except Exception as error:
        raise BirdlabError(
            f"{source} can't be loaded as plain weights: it is damaged, or made to run a program when loaded "
            f"({str(error).splitlines()[0]})"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise BirdlabError(f"{source} holds {type(content).__name__}, not the weights of a network by name.")
    return content


def imagenet_state(weights: WeightsEnum) -> dict[str, Tensor]:
    """torchvision's weights by name, from its cache or the network.

    Raises:
        BirdlabError: if they are in neither; says which file to put where.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        state: dict[str, Tensor] = weights.get_state_dict(check_hash=True, weights_only=True)
    except Exception as error:
        if file.is_file():
            raise BirdlabError(f"{file} is damaged ({str(error).splitlines()[0]}). Delete it.") from error
        raise BirdlabError(
            f"The ImageNet weights can't be downloaded ({error}). Put the file {weights.url} at {file}, or start "
            "from random weights with model.weights=null."
        ) from error
    return state


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Take over all weights of a module of the same architecture.

    Args:
        module: is changed only if everything fits.
        state: weights by name.
        origin: of the weights, for the message.

    Raises:
        BirdlabError: lists what is missing, what is too much and what has another shape.
    """
    own = module.state_dict()
    # A counter that files from before PyTorch 0.4.1 lack, and that batch norm with a momentum never reads.
    missing = sorted(key for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked"))
    unexpected = sorted(state.keys() - own.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in sorted(own.keys() & state.keys())
        if own[key].shape != state[key].shape
    ]
    if missing or unexpected or shapes:
        raise BirdlabError(
            f"{origin} holds the weights of another network. Missing: {_few(missing)}; "
            f"unexpected: {_few(unexpected)}; of other shape: {_few(shapes)}."
        )
    module.load_state_dict(state, strict=False)


def _torch_file(file: Path) -> Any:
    content = torch.load(file, map_location="cpu", weights_only=True)
    # Training programs, Lightning among them, keep the weights beside the optimizer's state.
    return content.get("state_dict", content) if isinstance(content, dict) else content


def _safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file  # comes with segmentation_models_pytorch, which is optional

    return load_file(file)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more or "none"
