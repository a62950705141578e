"""Images and masks at the size that the network sees."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize bilinearly with antialiasing, as Pillow (and so torchvision on its images) does.

    Every input pixel has its weight in the result. Interpolation between the two nearest pixels alone, as in
    OpenCV's ``INTER_LINEAR``, would skip three of four rows when 1024 shrink to 128.
    """
    resized = F.interpolate(
        torch.from_numpy(np.ascontiguousarray(image))[None, None], size=size, mode="bilinear", antialias=True
    )
    return resized[0, 0].numpy()


def resize_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize to the nearest pixel, so that class indices stay class indices.

    Output pixel i takes the input pixel under its centre, floor((i + 0.5) * input / output), as Pillow does
    (``nearest-exact`` in torch; its ``nearest`` takes the corner and so shifts the mask by half a pixel).
    """
    rows, columns = (
        (2 * np.arange(out) + 1) * n // (2 * out) for n, out in zip(mask.shape, size, strict=True)
    )
    return mask[np.ix_(rows, columns)]
