"""Prediction from Python: ``birdlab.load(run).predict(audio, sample_rate)``.

``birdlab.load([run, run, run])`` averages several networks. ``birdlab.load_species`` does the same as
``birdlab.load`` with a run that names species.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from birdlab.audio.grid import Grid
from birdlab.errors import BirdlabError
from birdlab.prediction.denoise import FLOOR_DB, Denoiser
from birdlab.prediction.events import Event
from birdlab.prediction.finding import Finder
from birdlab.prediction.listening import there
from birdlab.prediction.naming import LIKELY, Namer, least_confidence, named, stretches
from birdlab.prediction.network import Network, foreground
from birdlab.prediction.opening import open_namer, open_together, own_namer
from birdlab.prediction.stream import Audio, joined, mono_at, stitched


@dataclass(frozen=True)
class Prediction:
    """What a network says of some audio.

    Attributes:
        probabilities: of bird, float32 [F, T] in 0..1, row 0 at 0 Hz.
        frequencies: Hz of each row, float64 [F].
        times: seconds at the centre of each column, float64 [T].
        threshold: a cell is bird if its probability exceeds it.
        events: by begin; see `Event`.
    """

    probabilities: NDArray[np.float32]
    frequencies: NDArray[np.float64]
    times: NDArray[np.float64]
    threshold: float
    events: tuple[Event, ...]
    _audio: Audio = field(repr=False)
    _sample_rate: int = field(repr=False)
    _grid: Grid = field(repr=False)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where it is bird: bool [F, T]."""
        return self.probabilities > self.threshold

    def denoised(self, floor_db: float = FLOOR_DB) -> NDArray[np.float32]:
        """The audio with everything else turned down by ``floor_db``: float32, of the shape it came in."""
        channels = self._audio.reshape(len(self._audio), -1)
        denoiser = Denoiser(self._grid, self._sample_rate, channels.shape[1], self.threshold, floor_db)
        denoiser.hear(channels)
        clean = np.concatenate([denoiser.see(self.probabilities), denoiser.finish()])
        return clean.reshape(self._audio.shape)


@dataclass(frozen=True)
class Predictor:
    """A network that is ready to predict.

    Attributes:
        network: marks birds.
        namer: names the species of each event; None leaves them "bird".
    """

    network: Network
    namer: Namer | None = None

    def predict(
        self,
        audio: ArrayLike,
        sample_rate: int,
        threshold: float | None = None,
        *,
        boxes: bool = False,
        min_confidence: float | None = None,
    ) -> Prediction:
        """Predict audio of any length that fits into memory several times.

        Args:
            audio: float [n] or [n, channels], full scale is 1; the network hears the mean of the channels.
            sample_rate: Hz.
            threshold: in 0..1; None is the one that validation data chose, for boxes if these are asked for.
            boxes: events are boxes as people draw them, with pauses and harmonics, and not single sounds; the
                mask is the same.
            min_confidence: events whose likeliest species is less likely than this stay "bird". None names
                every event by a network that knows one species at a time, and by others what is more likely
                than not.

        Raises:
            BirdlabError: for integers, audio of another shape, without samples, or with samples that aren't
                finite.
        """
        samples = _checked(np.asarray(audio), sample_rate)
        grid = self.network.grid
        own = self.network.box_threshold if boxes else self.network.threshold
        chosen = own if threshold is None else threshold
        mono = _mono(samples, sample_rate, grid.sample_rate)
        probabilities = joined(list(stitched(self.network, mono)))
        finder = Finder(grid, chosen, boxes=boxes)
        finder.see(probabilities)
        events = finder.finish(
            len(samples) / sample_rate, foreground(self.network), highest_hz=sample_rate / 2
        )
        if self.namer is not None:
            events = self._named(events, samples, sample_rate, min_confidence)
        return Prediction(
            probabilities=probabilities,
            frequencies=grid.one_sided().frequencies(),
            times=grid.times(probabilities.shape[1]),
            threshold=chosen,
            events=tuple(events),
            _audio=samples,
            _sample_rate=sample_rate,
            _grid=grid,
        )

    def _named(
        self, events: list[Event], samples: Audio, sample_rate: int, min_confidence: float | None
    ) -> list[Event]:
        assert self.namer is not None
        least = least_confidence(self.namer) if min_confidence is None else min_confidence
        rate = self.namer.sample_rate
        audio = np.concatenate(list(_mono(samples, sample_rate, rate)))

        def read(start_s: float, seconds: float) -> Audio:
            return audio[round(start_s * rate) : round((start_s + seconds) * rate)]

        return named(events, len(samples) / sample_rate, self.namer, read, least)


@dataclass(frozen=True)
class SpeciesPrediction:
    """Who is heard in stretches of some audio, which follow one another; the last one ends with it.

    Attributes:
        probabilities: of each species in each stretch, float32 [N, K] in 0..1.
        species: the K names.
        begin_s, end_s: seconds, float64 [N].
    """

    probabilities: NDArray[np.float32]
    species: tuple[str, ...]
    begin_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    _highest_hz: float = field(repr=False)

    def events(self, min_confidence: float = LIKELY) -> list[Event]:
        """Stretches once for each species that is at least so likely, as in tables."""
        stretches = zip(self.begin_s.tolist(), self.end_s.tolist(), self.probabilities, strict=True)
        return [
            event
            for begin_s, end_s, scores in stretches
            for event in there(
                Event(begin_s, end_s, 0.0, self._highest_hz, 0.0), self.species, scores, min_confidence
            )
        ]


@dataclass(frozen=True)
class SpeciesPredictor:
    """A network that names species, ready to predict.

    Attributes:
        namer: the network.
    """

    namer: Namer

    def predict(self, audio: ArrayLike, sample_rate: int) -> SpeciesPrediction:
        """Listen to audio of any length that fits into memory; see `Predictor.predict`."""
        samples, namer = _checked(np.asarray(audio), sample_rate), self.namer
        mono = _mono(samples, sample_rate, namer.sample_rate)
        heard = [(begin_s, namer.scores(part)) for begin_s, part in stretches(mono, namer)]
        begin_s = np.array([begin_s for begin_s, _ in heard])
        scores = np.array([scores for _, scores in heard], np.float32)
        return SpeciesPrediction(
            # Of a few samples resampling may leave none.
            probabilities=scores.reshape(-1, len(namer.species)),
            species=tuple(namer.species),
            begin_s=begin_s,
            end_s=np.minimum(begin_s + namer.seconds, len(samples) / sample_rate),
            _highest_hz=min(sample_rate, namer.sample_rate) / 2,
        )


def _mono(samples: Audio, sample_rate: int, wanted_rate: int) -> Iterator[Audio]:
    """See `mono_at`, of audio [n] or [n, channels]."""
    return mono_at([samples.reshape(len(samples), -1)], sample_rate, wanted_rate)


def _checked(audio: NDArray[Any], sample_rate: Any) -> Audio:
    if not (isinstance(sample_rate, int | float | np.number) and 1 <= sample_rate < math.inf):
        raise BirdlabError(f"sample_rate={sample_rate}: give that of the audio in Hz.")
    if audio.ndim not in {1, 2} or audio.size == 0:
        raise BirdlabError(
            f"audio of shape {list(audio.shape)} at {sample_rate} Hz: expected [n] or [n, channels] with "
            "samples."
        )
    if audio.ndim == 2 and audio.shape[1] > audio.shape[0]:
        raise BirdlabError(
            f"audio of shape {list(audio.shape)}: more channels than samples. Transpose it to [n, channels]."
        )
    if not np.issubdtype(audio.dtype, np.floating):
        raise BirdlabError(
            f"audio of {audio.dtype}: expected floats whose full scale is 1. Divide 16-bit integers by 32768."
        )
    if not np.isfinite(audio).all():
        raise BirdlabError("audio: some samples are NaN or infinite. Repair the recording.")
    return audio.astype(np.float32)


def load_species(run: Path | str, *, trust: bool = False) -> SpeciesPredictor:
    """A trained network that names species, or a head of ``birdlab.probe``, ready to predict; see `load`."""
    return SpeciesPredictor(open_namer(Path(run), trust=trust))


def load(
    run: Path | str | Sequence[Path | str], *, species: Path | str | None = None, trust: bool = False
) -> Predictor:
    """A trained network, ready to predict.

    Args:
        run: its run directory, or the file that ``birdlab.export`` made of it, which doesn't need torch.
            Of a list of them, such as the seeds of one study, the probabilities are averaged (`Ensemble`).
        species: a run or a file that names the species of each event. None: one run of task=multitask names
            them itself, any other network marks them only.
        trust: build what birdlab doesn't ship, too; only for runs whose author you trust.

    Raises:
        BirdlabError: if it is no run directory, has no checkpoint, or was trained for another task; if
            several of them weren't trained on windows of the same spectrogram.
    """
    runs = [Path(each) for each in ([run] if isinstance(run, Path | str) else run)]
    network = open_together(runs, trust=trust)
    if species is not None:
        return Predictor(network, open_namer(Path(species), trust=trust))
    return Predictor(network, own_namer(network))
