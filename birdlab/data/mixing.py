"""How loud a call is in a background: the one definition of the signal-to-noise ratio."""

from torch import Tensor

_BOX_DB = 20.0


def loud_box(magnitude: Tensor) -> tuple[slice, slice]:
    """The smallest rectangle of a spectrogram [F, T] that holds all cells within 20 dB of the loudest."""
    loud = magnitude > magnitude.max() * 10 ** (-_BOX_DB / 20)
    rows, columns = (loud.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def gain_for(snr_db: float, call: Tensor, background: Tensor) -> float:
    """The factor that gives a call a signal-to-noise ratio.

    The ratio is the mean power of the call over the mean power of the background, both in the call's
    ``loud_box``.

    Args:
        snr_db: the ratio wanted.
        call: magnitudes [F, T], not all 0.
        background: magnitudes [F, T], not all 0 in the box.
    """
    box = loud_box(call)
    ratio = background[box].square().mean() / call[box].square().mean()
    return float(10 ** (snr_db / 20) * ratio.sqrt())
