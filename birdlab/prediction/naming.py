"""What sings: where a network that names species meets recordings, and the events of one that finds birds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from birdlab.errors import BirdlabError
from birdlab.prediction.events import Event
from birdlab.thresholds import lowest_reaching

LIKELY = 0.5
"""More likely than not. Of a network that knows one species at a time, one at most is."""

Reader = Callable[[float, float], NDArray[np.float32]]
"""Audio [n] at the namer's sample rate of a recording: from so many seconds on, so many seconds at most."""


@runtime_checkable
class Namer(Protocol):
    """A trained classification network with its front end."""

    @property
    def name(self) -> str:
        """Tells one set of weights from another, the same wherever its files lie."""

    @property
    def sample_rate(self) -> int:
        """Hz of the audio that it takes."""

    @property
    def seconds(self) -> float:
        """Of audio that it sees at once."""

    @property
    def species(self) -> Sequence[str]:
        """The K species that it knows."""

    @property
    def multilabel(self) -> bool:
        """Whether several species may be heard at once, or none of them."""

    @property
    def validation_accuracy(self) -> Mapping[float, float]:
        """The share of right names on validation data among those that are at least so likely, by that
        confidence; empty where it isn't known."""

    def scores(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities [K] of audio [n]: of the middle of longer audio; shorter audio is filled up as in
        training."""


def middle(audio: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """The middle ``length`` samples of longer audio; shorter audio as it is."""
    start = max(0, len(audio) - length) // 2
    return audio[start : start + length]


def least_confidence(namer: Namer) -> float:
    """How sure the name of an event must be where nobody says: one of the species it is, unless there may be
    none."""
    return LIKELY if namer.multilabel else 0.0


def confidence_for(namer: Namer, accuracy: float, least: float = 0.0) -> float:
    """The lowest confidence from which on a wanted share of names is right on the namer's validation data.

    The lowest such, since each higher one names less.

    Args:
        namer: names species.
        accuracy: that share.
        least: no confidence below this is chosen.

    Raises:
        BirdlabError: if the accuracy isn't known, or no confidence reaches it.
    """
    known = namer.validation_accuracy
    if not known:
        raise BirdlabError(
            f"--accuracy {accuracy:g}: what names doesn't know its accuracy on validation data (a head on "
            "embeddings, a run of an older birdlab, or one that names several species at once). Give "
            "--min-confidence."
        )
    chosen = lowest_reaching(accuracy, {each: known[each] for each in known if each >= least})
    if chosen is None:
        best = max(known, key=lambda confidence: known[confidence])
        raise BirdlabError(
            f"--accuracy {accuracy:g}: on validation data the run that names reaches {known[best]:.3f} at "
            f"most, at --min-confidence {best:.4g}."
        )
    return chosen


def stretches(
    blocks: Iterable[NDArray[np.float32]], namer: Namer
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """A recording as the network sees it: stretches that follow one another, the last one ends with it.

    Args:
        blocks: of the recording, [n] at ``namer.sample_rate``.
        namer: names species.

    Yields:
        The second at which a stretch begins, and its audio; of less than ``namer.seconds`` if all of it is.
    """
    length = round(namer.seconds * namer.sample_rate)
    before = waiting = np.zeros(0, np.float32)
    start = 0
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        while len(waiting) >= length:
            before, waiting = waiting[:length], waiting[length:]
            yield start / namer.sample_rate, before
            start += length
    if len(waiting):
        last = np.concatenate([before, waiting])[-length:]
        yield (start + len(waiting) - len(last)) / namer.sample_rate, last


def named(
    events: Sequence[Event], duration_s: float, namer: Namer, read: Reader, min_confidence: float = 0.0
) -> list[Event]:
    """The events of a recording, each with the likeliest species around it and that species' probability.

    The network was trained on stretches of ``namer.seconds``, most of them longer than any event. So the
    recording is looked at in such stretches, half a stretch apart, and an event gets the name of the one
    whose middle is nearest to its own: events close together share a name, and a network that sees one
    species at a time names the dominant one.

    Args:
        events: of the recording.
        duration_s: of the recording.
        namer: names species.
        read: the recording's audio.
        min_confidence: an event whose likeliest species is less likely than this stays as it is.
    """
    step_s, latest_s = namer.seconds / 2, max(0.0, duration_s - namer.seconds)
    known: dict[int, tuple[str, float]] = {}
    found = []
    for event in events:
        middle_s = (event.begin_s + event.end_s) / 2
        wanted_s = max(0.0, min(middle_s - step_s, latest_s))
        # The last stretch begins later than a whole number of steps allows.
        before = int(wanted_s / step_s)
        stretch = min((before, before + 1), key=lambda number: abs(min(number * step_s, latest_s) - wanted_s))
        if stretch not in known:
            scores = namer.scores(read(min(stretch * step_s, latest_s), namer.seconds))
            best = int(scores.argmax())
            known[stretch] = (namer.species[best], float(scores[best]))
        label, score = known[stretch]
        sure = score >= min_confidence
        found.append(replace(event, label=label, label_score=score) if sure else event)
    return found
