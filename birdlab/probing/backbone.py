"""The one interface of whatever turns sound into embeddings: BirdNET, networks for images, birdlab's runs."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
Embeddings = NDArray[np.float32]


class Backbone(Protocol):
    """From windows of sound to embeddings."""

    @property
    def name(self) -> str:
        """Tells it from everything that embeds otherwise, other weights of the same network among them."""

    @property
    def licence(self) -> str:
        """Of the weights, as it is printed on each use; empty where there is nothing to say."""

    @property
    def heard(self) -> frozenset[str]:
        """Recordings that the weights were trained on, as far as is known; see `Sample.recordings`."""

    @property
    def sample_rate(self) -> int:
        """Hz of the windows."""

    @property
    def seconds(self) -> float:
        """Of a window."""

    def embed(self, windows: Audio) -> Embeddings:
        """Embeddings [B, D] of windows [B, round(seconds * sample_rate)]."""
