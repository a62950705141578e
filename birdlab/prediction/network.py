"""What prediction needs of a network, wherever it runs."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from birdlab.audio.grid import Grid
from birdlab.errors import BirdlabError
from birdlab.thresholds import lowest_reaching


class Network(Protocol):
    """A trained segmentation network with its front end."""

    @property
    def name(self) -> str:
        """Tells one set of weights from another, the same wherever its files lie."""

    @property
    def grid(self) -> Grid:
        """The spectrogram it was trained on; two-sided where its pictures are."""

    @property
    def window_columns(self) -> int:
        """Columns of one window, as in training."""

    @property
    def classes(self) -> Mapping[int, str]:
        """What the pixel values of a mask picture mean; the first is background."""

    @property
    def threshold(self) -> float:
        """The probability that foreground exceeds, as validation data chose it."""

    @property
    def box_threshold(self) -> float:
        """The same for boxes as people draw them (`Finder`); ``threshold`` where no boxes could choose."""

    @property
    def validation_recall(self) -> Mapping[float, float]:
        """Pooled pixel recall on validation data at each threshold; empty where it isn't known."""

    @property
    def validation_precision(self) -> Mapping[float, float]:
        """Pooled pixel precision on validation data at each threshold; empty where it isn't known."""

    def probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of foreground [B, F, T] in audio [B, n], n = ``grid.samples(window_columns)``.

        F are the one-sided rows of the grid, whatever the network sees; T = ``window_columns``.
        """

    def image_probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same of windows of a spectrogram picture [B, ``grid.rows``, T], the lowest frequency first.

        Raises:
            BirdlabError: if this network takes nothing but audio.
        """


def foreground(network: Network) -> str:
    """What the network's foreground is called: the label of its events."""
    return next(iter([*network.classes.values()][1:]), "bird")


def threshold_for(network: Network, precision: float) -> float:
    """The lowest threshold that reaches a wanted precision on the network's validation data.

    The lowest such, since each higher one finds less.

    Raises:
        BirdlabError: if the precision isn't known, or none of the thresholds reaches it.
    """
    known = network.validation_precision
    if not known:
        raise BirdlabError(
            f"--precision {precision:g}: this run doesn't know its precision on validation data (it was "
            "trained by an older birdlab). Give --threshold, or train again."
        )
    chosen = lowest_reaching(precision, known)
    if chosen is None:
        best = max(known, key=lambda threshold: known[threshold])
        raise BirdlabError(
            f"--precision {precision:g}: on validation data this run reaches {known[best]:.3f} at most, "
            f"at --threshold {best:.4g}."
        )
    return chosen
