"""From one file to a table of species, by a network that names them and marks nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from birdlab.audio.grid import Grid
from birdlab.audio.streams import Recording
from birdlab.errors import BirdlabError
from birdlab.prediction.events import Event
from birdlab.prediction.inputs import Input
from birdlab.prediction.naming import LIKELY, Namer, stretches
from birdlab.prediction.records import Record
from birdlab.prediction.stream import Audio, mono_at
from birdlab.prediction.tables import FORMATS, Detections, write_tables


@dataclass(frozen=True)
class Listening:
    """See `birdlab.prediction.batch.Work`: a row for each species in each stretch of a recording.

    Stretches are as long as those that the network was trained on, and follow one another. A row's score is
    the species' probability; its band is all that the network hears.

    Attributes:
        namer: names species.
        tables: names of `tables.FORMATS`.
        min_confidence: a species that is less likely isn't there.
    """

    namer: Namer
    tables: tuple[str, ...] = ("raven",)
    min_confidence: float = LIKELY

    @property
    def grid(self) -> Grid:
        """See `Work`."""
        return Grid(self.namer.sample_rate, sides="one")

    @property
    def found(self) -> str:
        """See `Work`."""
        return f"times a species is at least {self.min_confidence:.3g} likely"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Work`."""
        return {"namer": self.namer.name, "tables": self.tables, "min_confidence": self.min_confidence}

    def planned(self, each: Input) -> dict[str, str]:
        """See `Work`."""
        if each.is_picture:
            raise BirdlabError(f"{each.path}: species are named by their sound. Give the recording.")
        Recording.open(each.path)
        return {table: f"{each.folder / each.name}{FORMATS[table].ending}" for table in self.tables}

    def predict(
        self, each: Input, record: Record, output: Path, threads: int, progress: Callable[[float], None]
    ) -> Record:
        """See `Work`."""
        recording, namer = Recording.open(each.path), self.namer
        record.write(output / each.record)
        highest_hz = min(recording.sample_rate, namer.sample_rate) / 2
        events: list[Event] = []
        for begin_s, audio in heard(recording, namer):
            end_s = min(begin_s + namer.seconds, recording.duration_s)
            stretch = Event(begin_s, end_s, 0.0, highest_hz, score=0.0)
            events += there(stretch, namer.species, namer.scores(audio), self.min_confidence)
            progress(min(1.0, end_s / recording.duration_s))
        write_tables(self.tables, record.paths(output), Detections(each.path, recording.duration_s, events))
        return record.finish(output / each.record, recording.duration_s, events)


def there(
    stretch: Event, species: Sequence[str], scores: NDArray[np.float32], min_confidence: float
) -> list[Event]:
    """A stretch once for each species that is likely enough in it, which is its label.

    Args:
        stretch: its extent.
        species: that a network knows.
        scores: probabilities [K] of these.
        min_confidence: see `Listening`.
    """
    pairs = zip(species, scores.tolist(), strict=True)
    return [
        replace(stretch, score=likely, label=label, label_score=likely)
        for label, likely in pairs
        if likely >= min_confidence
    ]


def heard(recording: Recording, namer: Namer) -> Iterator[tuple[float, Audio]]:
    """See `stretches`."""
    return stretches(mono_at(recording.blocks(), recording.sample_rate, namer.sample_rate), namer)
