"""Cutting long recordings into samples of one length."""

from collections.abc import Sequence

from birdlab.errors import BirdlabError


def window_starts(total: int, window: int, hop: int) -> list[int]:
    """Where windows begin so that they cover everything.

    The last window is moved back to end at the end: it overlaps the one before rather than holding silence
    that nobody recorded. What is shorter than one window gets one window, to be padded at its end.

    Args:
        total: length of the recording, in samples or columns.
        window: length of a window in the same unit.
        hop: from one start to the next.

    Examples:
        >>> window_starts(total=10, window=4, hop=4)
        [0, 4, 6]
        >>> window_starts(total=3, window=4, hop=4)
        [0]
    """
    last = max(0, total - window)
    return [*range(0, last, hop), last]


def window_ids(stem: str, starts_s: Sequence[float]) -> list[str]:
    """Names of a recording's windows by when they begin: to the millisecond, or finer where two begin in one.

    Examples:
        >>> window_ids("dawn", [0, 3])
        ['dawn@0.000s', 'dawn@3.000s']
        >>> window_ids("dawn", [0, 0.0003])
        ['dawn@0.000000s', 'dawn@0.000300s']
    """
    ids = [f"{stem}@{start:.3f}s" for start in starts_s]
    return ids if len({*ids}) == len(ids) else [f"{stem}@{start:.6f}s" for start in starts_s]


def check_window(window_s: float | None, hop_s: float | None, shortest_s: float) -> None:
    """Refuse windows that can't be cut.

    Args:
        window_s: seconds of a window; None for whole recordings.
        hop_s: seconds between two starts; None for ``window_s``.
        shortest_s: seconds that one column of a spectrogram needs.

    Raises:
        BirdlabError: naming the key of the configuration.
    """
    if window_s is None:
        if hop_s is not None:
            raise BirdlabError(
                f"data.hop_s={hop_s:g} needs data.window_s, the length of a window in seconds."
            )
        return
    if window_s < shortest_s:
        raise BirdlabError(f"data.window_s={window_s:g}: give at least {shortest_s:g} s, or null for all.")
    if hop_s is not None and not shortest_s / 2 <= hop_s <= window_s:
        raise BirdlabError(
            f"data.hop_s={hop_s:g}: give at least {shortest_s / 2:g} and, to leave no gaps, "
            f"at most data.window_s={window_s:g}."
        )
