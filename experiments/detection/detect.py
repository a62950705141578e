"""How well events match boxes that people drew on real recordings, and how many there are without birds.

    python experiments/detection/detect.py RUN BOXES [--noise FOLDER]

BOXES is a folder with audio/ and labels/ as data=annotated_audio takes it. Events become boxes as people draw
them (``--boxes``). An event and a box match if the intersection of their times is at least ``OVERLAP`` of the
union and their bands overlap; each counts once, pairs of the largest overlap first. "time-frame IoU" compares
the frames of 2 ms in which there is any event with those in any box, over all recordings together.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from birdlab.audio import io
from birdlab.baselines import EnergyThreshold
from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.data.boxes import Box, read_boxes
from birdlab.files import replacing
from birdlab.prediction.events import Components, Event, boxes
from birdlab.prediction.run_network import RunNetwork
from birdlab.prediction.stream import joined, stitched
from birdlab.run import Run

HERE = Path(__file__).parent
OVERLAPS = (0.1, 0.3, 0.5)
FRAME_S = 0.002
THRESHOLDS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
Finder = Callable[[np.ndarray], list[Event]]
"""Audio [n] at the network's rate to boxes."""


def by_network(network: RunNetwork, threshold: float) -> Finder:
    def find(audio: np.ndarray) -> list[Event]:
        return boxes(_components(network, joined(list(stitched(network, [audio]))), threshold))

    return find


def by_energy(network: RunNetwork, threshold: float) -> Finder:
    energy = EnergyThreshold()

    def find(audio: np.ndarray) -> list[Event]:
        columns = network.grid.covering_columns(len(audio))
        padded = np.pad(audio, (0, network.grid.samples(columns) - len(audio)))
        image = network.grid.one_sided().image(torch.from_numpy(padded)).float() / 255
        return boxes(_components(network, energy(image[None, None])[0, 0].sigmoid().numpy(), threshold))

    return find


def by_maad(network: RunNetwork) -> Finder | None:
    """scikit-maad's regions of interest, by its documented recipe."""
    try:
        from maad import rois, sound
    except ImportError:
        print("scikit-maad isn't installed (pip install scikit-maad): left out")
        return None
    rate = network.grid.sample_rate

    def find(audio: np.ndarray) -> list[Event]:
        power, times, frequencies, _ = sound.spectrogram(audio, rate, nperseg=512, noverlap=256)
        decibels = 10 * np.log10(np.maximum(sound.median_equalizer(power), 1e-12))
        binary = rois.create_mask(decibels, mode_bin="relative", bin_std=6, bin_per=0.5)
        _, found = rois.select_rois(binary, min_roi=25)
        events = []
        for row in found.itertuples():
            begin, end = times[int(row.min_x)], times[min(int(row.max_x), len(times) - 1)]
            low, high = frequencies[int(row.min_y)], frequencies[min(int(row.max_y), len(frequencies) - 1)]
            if begin < end and low < high:
                events.append(Event(float(begin), float(end), float(low), float(high), 1.0))
        return boxes(events)

    return find


def _components(network: RunNetwork, probabilities: np.ndarray, threshold: float) -> list[Event]:
    components = Components(network.grid, threshold)
    return components.see(probabilities.astype(np.float32)) + components.finish()


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


def scores(find: Finder, recordings: Sequence[tuple[np.ndarray, list[Box]]], rate: int) -> dict[str, float]:
    """Of all recordings together."""
    counts = dict.fromkeys(OVERLAPS, 0)
    events = truths = both = either = 0
    for audio, truth in recordings:
        found = find(audio)
        events, truths = events + len(found), truths + len(truth)
        for overlap in OVERLAPS:
            counts[overlap] += matches(found, truth, overlap)
        mine, theirs = (frames(each, len(audio) / rate) for each in (found, truth))
        both, either = both + int((mine & theirs).sum()), either + int((mine | theirs).sum())
    row: dict[str, float] = {"events": events, "boxes": truths, "time_frame_iou": both / max(1, either)}
    for overlap, matched in counts.items():
        row[f"recall_{overlap}"] = matched / max(1, truths)
        row[f"precision_{overlap}"] = matched / max(1, events)
        row[f"f1_{overlap}"] = 2 * matched / max(1, events + truths)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("boxes", type=Path)
    parser.add_argument("--noise", type=Path, help="recordings without birds")
    parser.add_argument("--energy-threshold", type=float, default=0.5, help="as `evaluate` chose it")
    given = parser.parse_args()
    Run.open(given.run)
    network = RunNetwork.open(given.run)
    rate = network.grid.sample_rate
    source = AnnotatedAudio(root=given.boxes, window_s=None)
    recordings = [
        (io.read(sample.files[0], rate), read_boxes(sample.files[1])) for sample in source.splits()["test"]
    ]
    finders: dict[str, Finder | None] = {
        f"network at {threshold:g}": by_network(network, threshold)
        for threshold in sorted({network.threshold, *THRESHOLDS})
    }
    finders["energy threshold"] = by_energy(network, given.energy_threshold)
    finders["scikit-maad"] = by_maad(network)
    quiet = [io.read(path, rate) for path in sorted(given.noise.iterdir())] if given.noise else []
    hours = sum(map(len, quiet)) / rate / 3600
    rows = []
    for name, find in finders.items():
        if find is None:
            continue
        row: dict[str, object] = {"method": name}
        row |= {key: round(value, 3) for key, value in scores(find, recordings, rate).items()}
        if quiet:
            row["false_events_per_hour"] = round(sum(len(find(audio)) for audio in quiet) / hours, 1)
        rows.append(row)
        print(row, flush=True)
    with replacing(HERE / "results.csv") as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
