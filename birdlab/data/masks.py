"""Where a known call is the sound that is heard: exact masks from a clean track and its background."""

from torch import Tensor


def bird_mask(clean: Tensor, background: Tensor, *, peak_range_db: float = 30.0, snr_db: float = 0.0) -> Tensor:
    """True where the isolated call stands above the background and near enough to its own peak.

    A cell is bird if |clean| exceeds the background level by ``snr_db`` and lies within ``peak_range_db`` of
    the loudest cell of the call.

    Args:
        clean: magnitudes [F, T] of the call alone, as it is in the mixture.
        background: magnitudes [F, T] (or [F, 1]) of the background's level, smooth enough to be a level
            and not a draw of the noise.
        peak_range_db: a call's reverberation and side lobes lie further below its peak than this.
        snr_db: how far above the background a cell must be.

    Returns:
        bool [F, T].
    """
    above_background = clean > background * 10 ** (snr_db / 20)
    near_peak = clean > clean.max() * 10 ** (-peak_range_db / 20)
    return above_background & near_peak
