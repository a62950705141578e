"""What sings: the seam where a network that names species meets the events of one that finds birds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from birdlab.audio import io
from birdlab.prediction.events import Event


class Namer(Protocol):
    """A trained classification network with its front end."""

    @property
    def name(self) -> str:
        """Tells one set of weights from another."""

    @property
    def sample_rate(self) -> int:
        """Hz of the audio that it takes."""

    def names(self, audio: NDArray[np.float32]) -> Mapping[str, float]:
        """Scores in 0..1 by species of a segment [n] of any length."""


def named(events: Sequence[Event], path: Path, namer: Namer) -> list[Event]:
    """The events of a recording, each with the likeliest species in its time and that species' score."""
    found = []
    for event in events:
        length_s = event.end_s - event.begin_s
        audio = io.read(path, namer.sample_rate, start_s=event.begin_s, duration_s=length_s)
        label, score = max(namer.names(audio).items(), key=lambda item: item[1])
        found.append(replace(event, label=label, label_score=score))
    return found
