"""False alarms: what a network finds, or names, in recordings without birds, by how sure it must be."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta, chi2

from birdlab.audio.streams import Recording
from birdlab.errors import BirdlabError
from birdlab.metrics import REPORTED_THRESHOLDS, CoverageCurve
from birdlab.prediction.components import Components
from birdlab.prediction.events import Event, settled
from birdlab.prediction.inputs import Input, collect
from birdlab.prediction.listening import heard
from birdlab.prediction.naming import Namer
from birdlab.prediction.network import Network, foreground
from birdlab.prediction.source import Source
from birdlab.search import RECORDS

RATES = (0.1, 1.0, 10.0, 100.0)
"""False events an hour that are asked for."""
SHARES = (0.2, 0.1, 0.05, 0.01)
"""Of stretches without birds that are given a name after all, as is asked for."""


@dataclass(frozen=True)
class FalseAlarms:
    """Events in recordings without birds.

    Attributes:
        hours: of them.
        recordings: how many.
        events: by threshold, ascending.
    """

    hours: float
    recordings: int
    events: Mapping[float, int]

    def an_hour(self, threshold: float) -> float:
        """Events an hour at one of the thresholds."""
        return self.events[threshold] / self.hours

    def at_most(self, threshold: float) -> float:
        """What the rate of events an hour lies below with 95 % confidence.

        Garwood, "Fiducial Limits for the Poisson Distribution", Biometrika 1936.
        """
        return float(chi2.ppf(0.95, 2 * self.events[threshold] + 2)) / 2 / self.hours

    def threshold_for(self, rate: float) -> float | None:
        """The lowest threshold from which on there are never more events an hour; None if there is none.

        From which on: a lower threshold may join events, and have fewer of them.
        """
        chosen = None
        for threshold in reversed(self.events):
            if self.an_hour(threshold) > rate:
                break
            chosen = threshold
        return chosen


def thresholds_of(network: Network) -> list[float]:
    """The thresholds to count false alarms at, ascending: of its validation data, and its own."""
    return sorted({*(network.validation_recall or REPORTED_THRESHOLDS), network.threshold})


def table(
    found: FalseAlarms, network: Network, rates: Sequence[float] = RATES
) -> list[dict[str, float | None]]:
    """A row for each rate of false events an hour: the threshold that keeps to it, and what is left at it.

    ``wanted_an_hour``; ``threshold``, None where none keeps to it; ``events`` and ``an_hour`` at it, and
    ``an_hour_at_most`` with 95 % confidence, which says what so many hours can tell; ``recall`` and
    ``precision`` of the pixels of the network's validation data, None where they aren't known.
    """
    rows = []
    for rate in rates:
        threshold = found.threshold_for(rate)
        row: dict[str, float | None] = {"wanted_an_hour": rate, "threshold": threshold}
        if threshold is not None:
            row |= {
                "events": found.events[threshold],
                "an_hour": found.an_hour(threshold),
                "an_hour_at_most": found.at_most(threshold),
                "recall": network.validation_recall.get(threshold),
                "precision": network.validation_precision.get(threshold),
            }
        rows.append(row)
    return rows


def false_alarms(
    network: Network,
    files: Sequence[Input],
    thresholds: Sequence[float],
    *,
    workers: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> FalseAlarms:
    """Count the events that `birdlab.predict` would find; each recording is predicted once.

    Args:
        network: marks birds.
        files: recordings without birds.
        thresholds: ascending.
        workers: files at once.
        progress: called after each file, from several threads.

    Raises:
        BirdlabError: if a file can't be read.
    """

    def one(each: Input) -> tuple[float, list[int]]:
        source = Source.open(each, network)
        every = [Components(network.grid, threshold) for threshold in thresholds]
        found: list[int] = [0] * len(every)
        for stretch in source.stretches(1, lambda block: None, lambda share: None):
            for number, components in enumerate(every):
                found[number] += _count(components.see(stretch.probabilities), source)
        for number, components in enumerate(every):
            found[number] += _count(components.finish(), source)
        progress()
        return source.duration_s, found

    with ThreadPoolExecutor(workers) as pool:
        durations, counts = zip(*pool.map(one, files), strict=True)
    totals = np.sum(counts, axis=0).tolist()
    return FalseAlarms(sum(durations) / 3600, len(files), dict(zip(thresholds, totals, strict=True)))


def confidences(
    namer: Namer,
    files: Sequence[Input],
    *,
    workers: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> list[float]:
    """How likely the likeliest species is in each stretch of recordings without birds.

    Args:
        namer: names species.
        files, workers, progress: see `false_alarms`.

    Raises:
        BirdlabError: if a file can't be read.
    """

    def one(each: Input) -> list[float]:
        recording = Recording.open(each.path)
        found = [float(namer.scores(audio).max()) for _, audio in heard(recording, namer)]
        progress()
        return found

    with ThreadPoolExecutor(workers) as pool:
        return [confidence for found in pool.map(one, files) for confidence in found]


def name_table(found: Sequence[float], birds: CoverageCurve | None) -> list[dict[str, Any]]:
    """A row for each of `SHARES`: the confidence that keeps to it, and what a network then names of birds.

    ``wanted`` and ``found``, shares of stretches without birds, and ``found_at_most``, what so many of them
    say of others with 95 % confidence; ``confidence``, from which on a name counts, in millionths, as it is
    typed, and None where even the surest would be too many; ``named``, the share of test recordings that
    still get one, and ``right``, how many of these are, None where nothing is known of test recordings, or
    none is named.

    Args:
        found: see `confidences`.
        birds: of the run's test recordings; None where nothing is known of them.
    """
    descending = sorted(found, reverse=True)
    rows = []
    for share in SHARES:
        confidence = (math.floor(1e6 * descending[int(share * len(descending))]) + 1) / 1e6
        if confidence >= 1:
            unknown = dict.fromkeys(("confidence", "found", "found_at_most", "named", "right"))
            rows.append(unknown | {"wanted": share})
            continue
        named, right = (None, None) if birds is None else birds.at(confidence)
        given = sum(each >= confidence for each in found)
        rows.append(
            {
                "wanted": share,
                "confidence": confidence,
                "found": given / len(found),
                "found_at_most": _share_at_most(given, len(found)),
                "named": named,
                "right": right if named else None,
            }
        )
    return rows


def _share_at_most(given: int, stretches: int) -> float:
    """What a share lies below with 95 % confidence, if each stretch stands for itself.

    Clopper & Pearson, "The Use of Confidence or Fiducial Limits", Biometrika 1934.
    """
    return 1.0 if given == stretches else float(beta.ppf(0.95, given + 1, stretches - given))


def recordings_in(folder: Path) -> list[Input]:
    """The recordings in a folder, at any depth.

    Raises:
        BirdlabError: if there is no such folder, or none in it.
    """
    if not folder.is_dir():
        raise BirdlabError(f"--bird-free {folder}: there is no such folder.")
    found = [each for each in collect([folder], folder / RECORDS) if not each.is_picture]
    if not found:
        raise BirdlabError(f"--bird-free {folder}: there are no recordings in it.")
    return found


def _count(events: Sequence[Event], source: Source) -> int:
    return len(settled(events, source.duration_s, foreground(source.network)))
