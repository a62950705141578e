"""What every score stands beside: how far one gets without learning, and what the truth itself scores."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from birdlab.audio.levels import from_unit
from birdlab.data.resizing import resize_mask
from birdlab.data.source import Picture
from birdlab.tasks.segmentation import to_native

_FLOOR = 4 / 255
_SCALE_DB = 16.0
_CERTAIN = 1e-3

# In rows of 31 Hz and columns of 2 ms.
_GAP = (19, 51)
_MARGIN = (5, 11)


class EnergyThreshold(nn.Module):
    """Bird is what is louder than is usual at its frequency and at its moment.

    A pixel's energy in dB, minus the median of its row (the steady noise of that frequency), minus what the
    median of its column then still is above 0 (gusts, drops and clicks are broad, most calls narrow). A floor
    of 4 grey steps is added to every pixel first, since the dB of darker ones tell about rounding.

    A picture of levels is in dB as it is.

    It takes the place of a network: what 0 to 16 dB become is a probability of 0 to 1, whose threshold is
    chosen on validation data like any network's. Of the variants tried on mixtures of real calls and noise
    (plain intensity, row medians only, other quantiles and floors, smoothing) this one had the best IoU.

    Args:
        picture: what an image's 0 to 1 stand for; see `birdlab.data.source.SegmentationSource`.
    """

    def __init__(self, picture: Picture = "magnitude") -> None:
        super().__init__()
        self.picture = picture

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, 1, F, T] of images [B, C, F, T] in [0, 1]; all channels are taken to be the same."""
        one = image[:, :1].float()
        energy_db = from_unit(one) if self.picture == "level" else 20 * (one + _FLOOR).log10()
        above_row = energy_db - energy_db.median(dim=-1, keepdim=True).values
        above_both = above_row - above_row.median(dim=-2, keepdim=True).values.clamp(min=0)
        return (above_both / _SCALE_DB).logit(eps=_CERTAIN)


def through_network_size(mask: Tensor, image_size: Sequence[int]) -> Tensor:
    """What a perfect network would score: the truth as it is trained on, brought back like its prediction.

    Args:
        mask: uint8 [F, T] at native size.
        image_size: rows and columns that the network sees.

    Returns:
        uint8 [F, T], 0 or 1.
    """
    rows, columns = image_size
    resized = torch.from_numpy(resize_mask(mask.numpy(), (rows, columns)))
    # A network that is certain: logits of equal size on both sides.
    logits = (resized != 0).float() - 0.5
    (native,) = to_native(logits[None], [mask])
    return (native > 0).to(torch.uint8)


def hand_coarsened(mask: Tensor) -> Tensor:
    """What a hand might draw for an exact mask, which is never as fine: the score of a coarse truth.

    Gaps up to 100 ms or 560 Hz close, as between syllables of a trill or neighbouring harmonics; then every
    shape grows by 10 ms and 60 Hz on all sides.

    Args:
        mask: uint8 [F, T] of the official spectrogram (rows of 31 Hz, columns of 2 ms).

    Returns:
        uint8 [F, T], 0 or 1.
    """
    exact = (mask != 0).numpy().astype(np.uint8)
    closed = cv2.morphologyEx(exact, cv2.MORPH_CLOSE, np.ones(_GAP, np.uint8))
    return torch.from_numpy(cv2.dilate(closed, np.ones(_MARGIN, np.uint8)))
