"""Several networks as one, such as those of several seeds: the mean of what they say."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from birdlab.audio.grid import Grid
from birdlab.errors import BirdlabError
from birdlab.prediction.network import Network


@dataclass(frozen=True)
class Ensemble:
    """See `Network`. Its probabilities are the mean of its networks', its thresholds the means of theirs.

    What a mean finds in validation data isn't known from what each network finds in them: its tables of
    precision and recall are empty.

    Attributes:
        networks: by what messages call them, such as their paths; all of one grid, window and classes.

    Raises:
        BirdlabError: if there are none, or two of them don't fit together.
    """

    networks: Mapping[str, Network]

    def __post_init__(self) -> None:
        if not self.networks:
            raise BirdlabError("no networks to average: give at least one.")
        (first, one), *others = self.networks.items()
        for title, other in others:
            for what, value in _facts(one).items():
                if value != (another := _facts(other)[what]):
                    raise BirdlabError(
                        f"{first} and {title} can't be averaged, their {what} differ: {value} and {another}. "
                        "Give networks that were trained on windows of the same spectrogram."
                    )

    @property
    def name(self) -> str:
        """See `Network`."""
        return "+".join(network.name for network in self.networks.values())

    @property
    def grid(self) -> Grid:
        """See `Network`."""
        return self._first.grid

    @property
    def window_columns(self) -> int:
        """See `Network`."""
        return self._first.window_columns

    @property
    def classes(self) -> Mapping[int, str]:
        """See `Network`."""
        return self._first.classes

    @property
    def threshold(self) -> float:
        """See `Network`."""
        return statistics.fmean(network.threshold for network in self.networks.values())

    @property
    def box_threshold(self) -> float:
        """See `Network`."""
        return statistics.fmean(network.box_threshold for network in self.networks.values())

    @property
    def validation_recall(self) -> Mapping[float, float]:
        """See `Network`."""
        return {}

    @property
    def validation_precision(self) -> Mapping[float, float]:
        """See `Network`."""
        return {}

    def probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Network`."""
        return _mean(network.probabilities(windows) for network in self.networks.values())

    def image_probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Network`."""
        return _mean(network.image_probabilities(images) for network in self.networks.values())

    @property
    def _first(self) -> Network:
        return next(iter(self.networks.values()))


def _facts(network: Network) -> dict[str, object]:
    """What averaged networks have in common, as messages call it."""
    # A run's grid is of another class than that of an exported file.
    return {
        "spectrograms": asdict(network.grid),
        "windows' columns": network.window_columns,
        "classes": dict(network.classes),
    }


def _mean(each: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = np.mean(list(each), axis=0)
    return mean
