"""Files of weights that somebody else made: nothing in them is run."""

from pathlib import Path
from typing import Any

import torch

from birdlab.errors import BirdlabError, first_line


def load_plain(path: Path) -> Any:
    """What a file of torch holds, on the CPU; never unpickled.

    Raises:
        BirdlabError: if it is damaged, or holds more than tensors and plain values.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BirdlabError(
            f"{path} can't be loaded as plain weights: it is damaged, or made to run a program when loaded "
            f"({first_line(error)})"
        ) from error
