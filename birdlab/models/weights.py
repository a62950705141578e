"""Weights to start from: files, other runs, ImageNet, and a first convolution for other channels."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_weight

from birdlab.errors import BirdlabError, first_line
from birdlab.run import Run
from birdlab.untrusted import load_plain

FirstConv = Literal["mean", "mean_scaled", "copy"]
"""How the filters of a first convolution are taken over for another number of channels."""


def adapt_first_conv(weight: Tensor, channels: int, how: FirstConv) -> Tensor:
    """Filters [O, C, k, k] of a first convolution for images of another number of channels.

    Args:
        weight: as trained, C = 3 for ImageNet.
        channels: of the images to come; C of them leaves the filters as they are.
        how: ``mean``, the filters averaged over their channels and repeated; ``mean_scaled``, that times
            C / channels, so that a grey image repeated over the channels gets the response it got before;
            ``copy``, the first C as they are and random ones for the rest (fewer channels: the first ones).

    Returns:
        Filters [O, channels, k, k].
    """
    # What are no filters at all is left to `load_strictly`, which says so.
    if weight.ndim != 4 or not weight.is_floating_point() or weight.shape[1] == channels:
        return weight
    outputs, trained, *kernel = weight.shape
    if how == "copy":
        adapted = weight.new_empty(outputs, channels, *kernel)
        nn.init.kaiming_normal_(adapted, mode="fan_out", nonlinearity="relu")  # as torchvision's ResNets
        kept = min(trained, channels)
        adapted[:, :kept] = weight[:, :kept]
        return adapted
    mean = weight.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1)
    return mean * (trained / channels) if how == "mean_scaled" else mean


def with_first_conv(
    state: Mapping[str, Tensor], key: str, channels: int, how: FirstConv
) -> dict[str, Tensor]:
    """Weights by name, of which those of the first convolution, if they are there, take so many channels."""
    adapted = {key: adapt_first_conv(state[key], channels, how)} if key in state else {}
    return {**state, **adapted}


def replace_first_conv(net: nn.Module, in_channels: int) -> None:
    """Let the first convolution take images of so many channels; its filters start from random ones."""
    name, conv = first_conv_of(net)
    if conv.in_channels == in_channels:
        return
    made = type(conv)(
        in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's networks
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, made)


def first_conv_of(net: nn.Module) -> tuple[str, nn.Conv2d]:
    """The first convolution and its name.

    Raises:
        ValueError: if there is none.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module
    raise ValueError(f"{type(net).__name__} has no convolution that takes an image; set model.build")


def check_first_conv(key: str, how: str) -> None:
    """Refuse a way of adapting that there isn't, also where there is nothing to adapt.

    Raises:
        BirdlabError: names the key that says so.
    """
    if how not in get_args(FirstConv):
        raise BirdlabError(f"{key}={how}: give one of {', '.join(get_args(FirstConv))}.")


def check_builds_only(key: str, build: Callable[..., Any]) -> None:
    """Refuse settings of torchvision's and timm's functions by which they load weights.

    Args:
        key: of the config, where ``build`` is.
        build: makes a network.

    Raises:
        BirdlabError: names the setting.
    """
    for name in ("pretrained", "weights"):
        if given := getattr(build, "keywords", {}).get(name):
            raise BirdlabError(
                f"{key}.{name}={given}: a run must be readable where these can't be had. Save them, "
                "and set model.weights=FILE."
            )


def below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights whose names begin with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def load_state(source: Path) -> dict[str, Tensor]:
    """The weights of a network by name.

    Args:
        source: a ``.safetensors`` file, one of `torch.save` (``.pth``, ``.ckpt``; never unpickled), or a run
            directory, whose best epoch counts. Of a task's checkpoint the network's weights are taken.

    Raises:
        BirdlabError: if it is absent, damaged, or holds anything but tensors.
    """
    content: Any
    source = source.expanduser()
    if source.is_dir():
        run = Run.open(source)
        content = run.checkpoint(run.best)["state_dict"]
    elif source.is_file():
        content = _safetensors(source) if source.suffix == ".safetensors" else _torch_file(source)
    else:
        raise BirdlabError(
            f"{source}: there is no such file, nor a run directory. Check whichever names it: model.weights, "
            "start_from or backbone.weights."
        )
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise BirdlabError(f"{source} does not hold the weights of a network by name, or more than them.")
    if content and all(key.startswith("module.") for key in content):  # from torch's DataParallel
        content = {key.removeprefix("module."): value for key, value in content.items()}
    of_network = {key.removeprefix("net."): value for key, value in content.items() if key.startswith("net.")}
    return of_network or content


def initial_state(weights: str, imagenet: Callable[[], Mapping[str, Tensor]] | None) -> Mapping[str, Tensor]:
    """The weights that ``model.weights`` names: ImageNet's, or those of a file or run directory.

    Args:
        weights: ``imagenet``, or a path: see `load_state`.
        imagenet: where ImageNet's come from; None where there are none.

    Raises:
        BirdlabError: if there are none, or as `load_state`.
    """
    if weights != "imagenet":
        return load_state(Path(weights))
    if imagenet is None:
        raise BirdlabError("model.weights=imagenet: there are none for this network; set model.weights=null.")
    return imagenet()


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
            raise BirdlabError(f"{file} is damaged ({first_line(error)}). Delete it.") from error
        raise BirdlabError(
            f"The ImageNet weights can't be downloaded ({error}). Put {weights.url} at {file}, or start from "
            "random weights with model.weights=null."
        ) from error
    return state


def torchvision_state(name: str) -> dict[str, Tensor]:
    """torchvision's weights of a name such as ``ResNet18_Weights.IMAGENET1K_V1``: see `imagenet_state`."""
    return imagenet_state(get_weight(name))


def missing_encoder(name: str, weights: str) -> str:
    """Which files segmentation_models_pytorch could not download for an encoder, and where to put them."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name
    from segmentation_models_pytorch.encoders import encoders  # optional
    from timm.models import get_pretrained_cfg  # comes with it

    wanted = encoders.get(name, {}).get("pretrained_settings", {}).get(weights)
    if wanted is None:  # an encoder of timm, which downloads by its own rules
        known = get_pretrained_cfg(name.removeprefix("tu-"), allow_unregistered=True)
        copied = ""
        if known and known.hf_hub_id:
            folder = repo_folder_name(repo_id=known.hf_hub_id, repo_type="model")
            copied = (
                f" Where there is one, 'hf download {known.hf_hub_id}' fills a folder {folder}: copy it "
                f"into {HF_HUB_CACHE}."
            )
        return (
            f"The {weights} weights of {name} can't be downloaded.{copied} "
            "model.encoder_weights=null starts from random ones."
        )
    repository, revision = wanted["repo_id"], wanted["revision"]
    cached = repo_folder_name(repo_id=repository, repo_type="model")
    folder = Path(HF_HUB_CACHE) / cached / "snapshots" / revision
    return (
        f"The {weights} weights of {name} can't be downloaded. Put config.json and model.safetensors of "
        f"https://huggingface.co/{repository}/tree/{revision} into {folder}, or start from random weights "
        "with model.encoder_weights=null."
    )


def fingerprint(module: nn.Module) -> str:
    """Tells one set of weights from another."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Take over all weights of a module of the same architecture.

    Args:
        module: is changed only if everything fits.
        state: weights by name.
        origin: of the weights, for the message.

    Raises:
        BirdlabError: lists what is missing, what is too much and what has another shape.
    """
    misfit = _misfit(module, state)
    if misfit:
        raise BirdlabError(f"{origin} holds the weights of another network. {misfit}")
    # Its own way of loading may drop a classifier's last layer, which has been done, and know no `strict`.
    nn.Module.load_state_dict(module, state, strict=False)


def start_with_encoder(
    net: nn.Module, state: Mapping[str, Tensor], first: str, how: FirstConv, origin: str
) -> None:
    """Take over the weights of a whole network, or of a classifier for its ``encoder``.

    Args:
        net: has an ``encoder``, which is a classifier without its last layers.
        state: weights by name.
        first: the encoder's first convolution, see `adapt_first_conv` for ``how`` it fits other channels.
        origin: of the weights, for the message.

    Raises:
        BirdlabError: lists what is missing, what is too much and what has another shape.
    """
    encoder = net.get_submodule("encoder")
    whole = any(key.startswith("encoder.") for key in state)
    module, key = (net, f"encoder.{first}.weight") if whole else (encoder, f"{first}.weight")
    given = with_first_conv(state, key, module.state_dict()[key].shape[1], how)
    own = {name for name, _ in module.named_children()}
    within = {name: value for name, value in given.items() if name.partition(".")[0] in own}
    # A classifier's last layers are left out; of what is none, all that it holds is said.
    left_out = not whole and not _misfit(module, within)
    load_strictly(module, within if left_out else given, origin)


def _misfit(module: nn.Module, state: Mapping[str, Tensor]) -> str:
    """What of a state is missing, too much or of another shape; empty if a module can take it over."""
    own = module.state_dict()
    # A counter that files from before PyTorch 0.4.1 lack, and that batch norm with a momentum never reads.
    missing = sorted(key for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked"))
    unexpected = sorted(state.keys() - own.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in sorted(own.keys() & state.keys())
        if own[key].shape != state[key].shape
    ]
    if not (missing or unexpected or shapes):
        return ""
    return f"Missing: {_few(missing)}; unexpected: {_few(unexpected)}; of other shape: {_few(shapes)}."


def _torch_file(file: Path) -> Any:
    content = load_plain(file)
    # Training programs, Lightning among them, keep the weights beside the optimizer's state.
    return content.get("state_dict", content) if isinstance(content, dict) else content


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise BirdlabError(f"{file}: reading it needs `pip install safetensors`.") from error
    try:
        return load_file(file)
    except SafetensorError as error:
        raise BirdlabError(f"{file} is no safetensors file, or damaged ({error}).") from error


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more or "none"
