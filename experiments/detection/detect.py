"""How well events match boxes that people drew on real recordings, and how many there are without birds.

    python experiments/detection/detect.py RUN... --boxes DIR [--noise DIR]

DIR of --boxes has audio/ and labels/ as data=annotated_audio takes it. Events become boxes as people draw
them (``--boxes``), by every method in the same way, but that scikit-maad's have no cells, of which those that
stick out could be left out. An event and a box match if the intersection of their times is at least
``OVERLAPS`` of the union and their bands overlap; each counts once, pairs of the largest overlap first.
"time_frame_iou" compares the frames of 2 ms in which there is any event with those in any box, over all
recordings together. No threshold is tuned on these recordings: ``*`` marks a network's own, of its validation
data, and the others show what lies around it. A run is tested on what it was neither trained nor validated
on, of --boxes and of --noise; runs of one name are one method, of which the first that hasn't heard a
recording is asked: give the folds of a cross-validation, of one seed. Where none has heard it, as without
birds, that is the first fold.
"""

import argparse
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from maad import rois, sound

from birdlab.audio import io
from birdlab.audio.grid import Grid
from birdlab.audio.spectrogram import Spectrogram
from birdlab.baselines import EnergyThreshold
from birdlab.bird_free import unheard
from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.data.boxes import Box, read_boxes
from birdlab.files import write_csv
from birdlab.prediction.alarms import recordings_in
from birdlab.prediction.events import Event, boxes
from birdlab.prediction.finding import Finder
from birdlab.prediction.inputs import Input
from birdlab.prediction.network import Network
from birdlab.prediction.opening import open_network
from birdlab.prediction.stream import joined, stitched
from birdlab.run import Run

HERE = Path(__file__).parent
OVERLAPS = (0.1, 0.3, 0.5)
FRAME_S = 0.002
THRESHOLDS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
ENERGY_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PIECE_S = 60.0
"""Energy and scikit-maad look at so much at once: they keep whole spectrograms."""

Cells = Callable[[np.ndarray], np.ndarray]
"""Audio [n] to probabilities [F, T]."""


def energy_in(grid: Grid) -> Cells:
    """The energy threshold, at the resolution of the spectrogram."""
    energy, spectrogram = EnergyThreshold(), Spectrogram(sample_rate=grid.sample_rate, sides="one")

    def cells(audio: np.ndarray) -> np.ndarray:
        parts = []
        hops = round(PIECE_S * grid.sample_rate / grid.hop)
        for first in range(0, grid.covering_columns(len(audio)), hops):
            columns = min(hops, grid.covering_columns(len(audio)) - first)
            piece = audio[first * grid.hop :][: grid.samples(columns)]
            padded = np.pad(piece, (0, grid.samples(columns) - len(piece)))
            image = spectrogram.image(torch.from_numpy(padded)) / 255
            parts.append(energy(image[None, None])[0, 0].sigmoid().numpy())
        return np.concatenate(parts, axis=1)

    return cells


def events_of(grid: Grid, probabilities: np.ndarray, threshold: float) -> list[Event]:
    finder = Finder(grid, threshold, boxes=True)
    finder.see(probabilities.astype(np.float32))
    return finder.finish(math.inf)


def by_maad(audio: np.ndarray, rate: int) -> list[Event]:
    """scikit-maad's regions of interest, by its documented recipe."""
    events = []
    piece = round(PIECE_S * rate)
    for first in range(0, len(audio), piece):
        part = audio[first : first + piece]
        if len(part) < 4096 or not part.any():
            continue
        power, times, frequencies, _ = sound.spectrogram(part, rate, nperseg=512, noverlap=256)
        decibels = 10 * np.log10(np.maximum(sound.median_equalizer(power), 1e-12))
        binary = rois.create_mask(decibels, mode_bin="relative", bin_std=6, bin_per=0.5)
        if not binary.any():
            continue
        _, found = rois.select_rois(binary, min_roi=25)
        for row in found.itertuples():
            begin, end = times[int(row.min_x)], times[min(int(row.max_x), len(times) - 1)]
            low, high = frequencies[int(row.min_y)], frequencies[min(int(row.max_y), len(frequencies) - 1)]
            if begin < end and low < high:
                begin_s, end_s = (float(each) + first / rate for each in (begin, end))
                events.append(Event(begin_s, end_s, float(low), float(high), 1.0))
    return boxes(events)


def matches(found: Sequence[Event], truth: Sequence[Box], overlap: float) -> int:
    """How many events and boxes can be paired."""
    pairs = []
    for i, event in enumerate(found):
        for j, box in enumerate(truth):
            shared = min(event.end_s, box.end_s) - max(event.begin_s, box.begin_s)
            union = max(event.end_s, box.end_s) - min(event.begin_s, box.begin_s)
            same_band = event.low_hz < box.high_hz and box.low_hz < event.high_hz
            if same_band and shared / union >= overlap:
                pairs.append((shared / union, i, j))
    taken: tuple[set[int], set[int]] = set(), set()
    for _, i, j in sorted(pairs, reverse=True):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
    return len(taken[0])


def frames(events: Sequence[Event | Box], duration_s: float) -> np.ndarray:
    """Whether there is any, each 2 ms."""
    centres = np.arange(FRAME_S / 2, duration_s, FRAME_S)
    active = np.zeros(len(centres), np.bool_)
    for event in events:
        active[slice(*np.searchsorted(centres, [event.begin_s, event.end_s]))] = True
    return active


@dataclass(frozen=True)
class Tested:
    """A run, with the recordings that it was neither trained nor validated on."""

    name: str
    network: Network
    unheard: frozenset[Input]

    @classmethod
    def open(cls, directory: Path, recordings: Sequence[Input]) -> Self:
        run = Run.open(directory)
        return cls(str(run.config()["name"]), open_network(directory), frozenset(unheard(run, recordings)))


class Tally:
    """What one method found, over all recordings together."""

    def __init__(self) -> None:
        self.matched = dict.fromkeys(OVERLAPS, 0)
        self.events = self.boxes = self.both = self.either = self.false = 0
        self.quiet_s = 0.0

    def add(self, found: Sequence[Event], truth: Sequence[Box], duration_s: float) -> None:
        """One recording with boxes."""
        self.events, self.boxes = self.events + len(found), self.boxes + len(truth)
        for overlap in OVERLAPS:
            self.matched[overlap] += matches(found, truth, overlap)
        mine, theirs = (frames(each, duration_s) for each in (found, truth))
        self.both, self.either = (
            self.both + int((mine & theirs).sum()),
            self.either + int((mine | theirs).sum()),
        )

    def add_quiet(self, found: Sequence[Event], duration_s: float) -> None:
        """One recording without birds."""
        self.false, self.quiet_s = self.false + len(found), self.quiet_s + duration_s

    def row(self, method: str) -> dict[str, object]:
        """Of the table."""
        row: dict[str, object] = {"method": method, "events": self.events, "boxes": self.boxes}
        row["time_frame_iou"] = round(self.both / max(1, self.either), 3)
        for overlap, matched in self.matched.items():
            row[f"recall_{overlap}"] = round(matched / max(1, self.boxes), 3)
            row[f"precision_{overlap}"] = round(matched / max(1, self.events), 3)
            row[f"f1_{overlap}"] = round(2 * matched / max(1, self.events + self.boxes), 3)
        row["quiet_minutes"] = round(self.quiet_s / 60, 1)
        row["false_events_per_hour"] = round(3600 * self.false / self.quiet_s, 1) if self.quiet_s else ""
        return row


def main() -> None:
    warnings.simplefilter("ignore", FutureWarning)  # scikit-maad's, once a region
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="of one sample rate")
    parser.add_argument("--boxes", metavar="DIR", type=Path, required=True)
    parser.add_argument("--noise", metavar="DIR", type=Path, help="recordings without birds")
    parser.add_argument("--limit", type=int, help="of recordings of each kind, to try it out")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of results.csv")
    given = parser.parse_args()
    # What a network needs of a sample doesn't matter here: whole recordings are read.
    samples = AnnotatedAudio(root=given.boxes, window_s=None).splits()["test"][: given.limit]
    boxed = [Input(sample.files[0].absolute(), Path(), sample.id) for sample in samples]
    quiet = recordings_in(given.noise)[: given.limit] if given.noise else []
    each_run = [Tested.open(run, [*boxed, *quiet]) for run in given.runs]
    (rate,) = {tested.network.grid.sample_rate for tested in each_run}
    grid = each_run[0].network.grid
    energy = energy_in(grid)

    def all_methods(audio: np.ndarray, recording: Input) -> Mapping[str, list[Event]]:
        found = {}
        for name in dict.fromkeys(tested.name for tested in each_run):
            runs = [tested for tested in each_run if tested.name == name]
            new_to = next((tested for tested in runs if recording in tested.unheard), None)
            if new_to is not None:
                network = new_to.network
                probabilities = joined(list(stitched(network, [audio])))
                own = f"{network.box_threshold:.2g}" if len(runs) == 1 else "each fold's own"
                thresholds = {f"{own} *": network.box_threshold} | {f"{each:g}": each for each in THRESHOLDS}
                for called, threshold in thresholds.items():
                    found[f"{name} at {called}"] = events_of(network.grid, probabilities, threshold)
        levels = energy(audio)
        for threshold in ENERGY_THRESHOLDS:
            found[f"energy threshold at {threshold:g}"] = events_of(grid, levels, threshold)
        return found | {"scikit-maad, regions of interest": by_maad(audio, rate)}

    tallies: dict[str, Tally] = {}
    for number, (sample, recording) in enumerate(zip(samples, boxed, strict=True), start=1):
        audio = io.read(recording.path, rate)
        for method, found in all_methods(audio, recording).items():
            tallies.setdefault(method, Tally()).add(found, read_boxes(sample.files[1]), len(audio) / rate)
        print(f"{number} of {len(samples)} recordings", end="\r", flush=True)
    for recording in quiet:
        audio = io.read(recording.path, rate)
        for method, found in all_methods(audio, recording).items():
            tallies.setdefault(method, Tally()).add_quiet(found, len(audio) / rate)
    rows = [tally.row(method) for method, tally in tallies.items()]
    for row in rows:
        print(row)
    write_csv(given.output / "results.csv", rows)


if __name__ == "__main__":
    main()
