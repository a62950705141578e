"""Where a known call is the sound that is heard: exact masks from a clean track and its background."""

import math
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from birdlab.audio.levels import FAINTEST
from birdlab.errors import BirdlabError

Truth = Literal["sound", "boxes"]
"""What is called bird: the sound itself, or boxes around it, pauses included."""

# In the official image rows are 31 Hz and columns 2 ms apart; a tone is some 500 Hz thick, a click 4 ms long.
_LEVEL_ROWS, _LEVEL_COLUMNS = 15, 151
_CLOSING = (9, 7)
_OPENING = (5, 3)
_PAUSE_COLUMNS = 50
_SOUND_BLUR = (7, 15)  # columns, rows
_SOUND_DB = 8.0


def background_level(background: Tensor) -> Tensor:
    """The level of a background, from one draw of it: root mean square over about 470 Hz and 0.3 s.

    Short enough to follow gusts and engines, long enough that the holes and peaks of a noise do not become
    holes and peaks of the mask.

    Args:
        background: magnitudes [F, T] of the official spectrogram, one- or two-sided.

    Returns:
        magnitudes [F, T].
    """
    power = cv2.boxFilter(
        background.square().numpy(),
        cv2.CV_32F,
        (_LEVEL_COLUMNS, _LEVEL_ROWS),
        borderType=cv2.BORDER_REFLECT,
    )
    # A running sum may end a hair below zero after something loud.
    return torch.from_numpy(power.astype(np.float32, copy=False)).clamp_(min=0).sqrt_()


def bird_mask(
    clean: Tensor, background: Tensor, *, peak_range_db: float = 30.0, snr_db: float = 0.0
) -> Tensor:
    """True where the isolated call stands above the background and near enough to its own peak.

    A cell is bird if |clean| exceeds the background level by ``snr_db`` and lies within ``peak_range_db`` of
    the loudest cell of the call. The mask is then closed (gaps up to 9 rows or 7 columns: 280 Hz, 14 ms, less
    than the spectrogram resolves between two tones) and opened (specks under 5 rows or 3 columns vanish,
    which is less than the window's own blur), as a careful hand draws: no speckle in a noisy call or in its
    reverberation, and the pauses between syllables stay.

    Args:
        clean: magnitudes [F, T] of the call alone, as it is in the mixture; the official spectrogram, one- or
            two-sided.
        background: magnitudes [F, T] (or [F, 1]) of the background's level, smooth enough to be a level
            and not a draw of the noise; see ``background_level``.
        peak_range_db: a call's reverberation and side lobes lie further below its peak than this.
        snr_db: how far above the background a cell must be.

    Returns:
        bool [F, T].
    """
    above_background = clean > background * 10 ** (snr_db / 20)
    near_peak = clean > clean.max() * 10 ** (-peak_range_db / 20)
    return torch.from_numpy(_tidied((above_background & near_peak).numpy().view(np.uint8)).view(np.bool_))


def check_truth(truth: str) -> None:
    """Refuse what is no `Truth`."""
    if truth not in get_args(Truth):
        raise BirdlabError(f"data.truth={truth}: give {' or '.join(get_args(Truth))}.")


def boxed(mask: Tensor) -> Tensor:
    """The smallest rectangle that holds all of a mask, bool [F, T]."""
    box = torch.zeros_like(mask)
    if mask.any():
        rows, columns = (mask.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def sound_in(boxes: NDArray[np.uint8], magnitude: Tensor) -> NDArray[np.uint8]:
    """What of hand-drawn boxes is sound and no pause: cells well above the background of their frequency.

    That background is the level that a quarter of the row's cells outside of all boxes don't exceed; of all
    its cells, a tenth, where boxes leave less than a quarter of the row. Digital silence, such as what fills
    up a short recording, is no background. Levels are smoothed as far as the spectrogram resolves, and the
    mask is tidied as in `bird_mask`.

    Args:
        boxes: class indices [F, T].
        magnitude: of the official spectrogram [F, T].

    Returns:
        [F, T], the class index where there is sound, elsewhere 0. A box in which nothing stands out stays as
        it was drawn: who drew it heard something.
    """
    power = cv2.blur(magnitude.square().numpy(), _SOUND_BLUR, borderType=cv2.BORDER_REFLECT)
    heard = magnitude.square().numpy() > FAINTEST
    outside = heard & (boxes == 0)
    enough = 4 * np.count_nonzero(outside, axis=1) >= np.count_nonzero(heard, axis=1)
    background = np.full(len(power), FAINTEST)
    # Where all that isn't silent is in boxes, as a noise gate leaves it, all of that stands out.
    for row in np.flatnonzero(outside.any(axis=1) | (boxes != 0).all(axis=1) & heard.any(axis=1)):
        cells, share = (outside[row], 0.25) if enough[row] else (heard[row], 0.1)
        background[row] = np.quantile(power[row, cells], share)
    stands_out = power > background[:, None] * 10 ** (_SOUND_DB / 10)
    sound = boxes * _tidied((stands_out & (boxes != 0)).astype(np.uint8))
    count, label = cv2.connectedComponents((boxes != 0).astype(np.uint8))
    filled = np.bincount(label[sound != 0], minlength=count)
    silent = np.flatnonzero(filled == 0)
    return np.where(np.isin(label, silent[silent > 0]), boxes, sound).astype(np.uint8, copy=False)


def call_columns(mask: Tensor) -> float:
    """How long the calls of a mask are, on average: stretches of time in which there is foreground.

    Pauses of up to 50 columns (100 ms) don't end a call, and calls that overlap in time are one.

    Args:
        mask: [F, T]; what isn't 0 is foreground.

    Returns:
        Columns; NaN without foreground.
    """
    columns = mask.any(dim=0).nonzero().flatten().cpu().numpy()
    if not len(columns):
        return math.nan
    ends = np.flatnonzero(np.diff(columns) > _PAUSE_COLUMNS + 1)
    lengths = columns[[*ends, -1]] - columns[[0, *(ends + 1)]] + 1
    return float(lengths.mean())


def _tidied(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones(_CLOSING, np.uint8))
    return cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones(_OPENING, np.uint8)).astype(np.uint8, copy=False)
