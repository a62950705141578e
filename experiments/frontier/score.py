"""How well runs mark birds in recordings with boxes that they haven't seen, and in the official example.

    python experiments/frontier/score.py RUN... --boxes DIR [--official DIR] [--output FILE]
    python experiments/frontier/score.py energy --boxes DIR

A run is scored on the recordings of its test split (``splits.json``), one that has none of them on all:
the runs of a cross-validation together score each recording once a seed. ``mask`` is what exceeds the run's
own threshold, which validation masks chose; ``boxes`` is what `birdlab.predict --boxes` makes of it. On the
cells of the official spectrogram (2 ms, 31 Hz) of whole recordings,

- ``iou``: against the boxes' area, the mean over recordings;
- ``precision``, ``recall``: cells in boxes, all recordings together;
- ``hit``: the share of boxes with anything marked in at least a tenth of their time;
- ``time_iou``: columns with anything marked against columns with any box, all recordings together.

``precise`` in the column of thresholds is the lowest at which `PRECISION` of what is marked in *all other*
folds' recordings lies in boxes: how somebody would set it who says how much may be wrong, and has recordings
of his own to see. Nothing is printed of it where there are no other folds, or it is not reached.

``energy`` in place of runs is 6 dB above the usual level of a row and a moment (`birdlab.baselines`).

DIR of --official is BirdSoundsDenoising's example (Images, Masks, Raw_audios): ``official`` is the foreground
IoU of the marks that a run makes in its recording.
"""

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import birdlab
from birdlab.audio import io
from birdlab.audio.spectrogram import Spectrogram
from birdlab.baselines import EnergyThreshold
from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.data.boxes import Box, read_boxes
from birdlab.data.folders import ImageFolders
from birdlab.data.source import recording_of
from birdlab.files import write_csv
from birdlab.prediction.events import Components, Event, boxes, paint
from birdlab.prediction.library import Prediction, Predictor

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
OFFICIAL, OFFICIAL_HZ = "official", 48_000
PRECISION = 0.8
_HEARD = 0.1
Cells = NDArray[np.bool_]


@dataclass(frozen=True)
class Energy:
    """The energy threshold in the place of a network."""

    grid: Spectrogram = field(default_factory=lambda: Spectrogram(sides="one"))
    window_columns: int = 1499
    classes: Mapping[int, str] = field(default_factory=lambda: {0: "background", 255: "bird"})
    threshold: float = 6 / 16  # of the 16 dB that are a probability of 0 to 1
    validation_precision: Mapping[float, float] = field(default_factory=dict)
    name: str = "energy threshold"

    def probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        images = self.grid.image(torch.from_numpy(windows)) / 255
        found: NDArray[np.float32] = EnergyThreshold()(images[:, None])[:, 0].sigmoid().numpy()
        return found

    def image_probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise NotImplementedError


def outputs(prediction: Prediction, predictor: Predictor, threshold: float) -> Iterator[tuple[str, Cells]]:
    """The mask, and the boxes made of it, as cells."""
    mask = prediction.probabilities > threshold
    yield "mask", mask
    components = Components(predictor.network.grid, threshold)
    events = components.see(prediction.probabilities) + components.finish()
    yield "boxes", paint(boxes(events), predictor.network.grid, 0, mask.shape[1])


def scored(found: Cells, truth: Cells, each: list[Cells]) -> dict[str, float]:
    """Counts and IoU of one recording; ``each`` box alone."""
    both, either = np.count_nonzero(found & truth), np.count_nonzero(found | truth)
    hit = 0
    for box in each:
        columns = box.any(axis=0)
        heard = (found & box).any(axis=0)
        hit += np.count_nonzero(heard) >= _HEARD * np.count_nonzero(columns) and bool(heard.any())
    in_time, true_time = found.any(axis=0), truth.any(axis=0)
    return {
        "iou": both / either if either else 1.0,
        "marked_in_boxes": both,
        "marked": np.count_nonzero(found),
        "in_boxes": np.count_nonzero(truth),
        "boxes": len(each),
        "hit_boxes": hit,
        "time_both": np.count_nonzero(in_time & true_time),
        "time_either": np.count_nonzero(in_time | true_time),
    }


def painted(labels: list[Box], predictor: Predictor, columns: int) -> tuple[Cells, list[Cells]]:
    """All boxes, and each of them that has a cell, as cells."""
    grid = predictor.network.grid
    each = [
        paint([Event(box.begin_s, box.end_s, box.low_hz, box.high_hz, 1.0)], grid, 0, columns)
        for box in labels
    ]
    together = np.zeros((grid.one_sided().rows, columns), np.bool_)
    for box in each:
        together |= box
    return together, [box for box in each if box.any()]


def tested(run: Path, source: AnnotatedAudio) -> list[str]:
    """Names of the recordings that a run has not seen."""
    splits = json.loads((run / "splits.json").read_text())
    names = {recording_of(sample.id) for sample in source.splits()["test"]}
    of = {split: {recording_of(id) for id in ids} & names for split, ids in splits.items()}
    return sorted(of["test"] if any(of.values()) else names)


def of_run(run: Path, source: AnnotatedAudio, official: Path | None) -> list[dict[str, Any]]:
    """A row for each recording, output and threshold."""
    energy = str(run) == "energy"
    predictor = Predictor(Energy()) if energy else birdlab.load(run)
    own, title = predictor.network.threshold, "/".join(run.parts[-2:])
    rows: list[dict[str, Any]] = []
    files = {recording_of(sample.id): sample.files for sample in source.splits()["test"]}
    for name in sorted(files) if energy else tested(run, source):
        recording, labels = files[name]
        prediction = predictor.predict(io.read(recording), io.info(recording).sample_rate)
        truth, each = painted(list(read_boxes(labels)), predictor, prediction.probabilities.shape[1])
        for threshold in sorted({own, *THRESHOLDS}):
            for output, found in outputs(prediction, predictor, threshold):
                key = {"run": title, "recording": name, "output": output, "threshold": threshold}
                rows.append(key | {"own": threshold == own} | scored(found, truth, each))
    if official is not None:
        probabilities, truth = on_official(predictor, official)
        for threshold in sorted({own, *THRESHOLDS}):
            key = {"run": title, "recording": OFFICIAL, "output": "mask", "threshold": threshold}
            rows.append(key | {"own": threshold == own} | scored(probabilities > threshold, truth, []))
    return rows


def on_official(predictor: Predictor, folder: Path) -> tuple[NDArray[np.float32], Cells]:
    """What a network says in each cell of the official example's mask, and the mask: [F, T] both.

    Its recording has 48 kHz: each cell takes what the nearest one of the network says, and nothing is marked
    beyond the network's band. A decoder puts samples in front that the picture doesn't show.
    """
    folders = ImageFolders(root=folder, sample_rate=OFFICIAL_HZ)
    (sample,) = (sample for samples in folders.splits().values() for sample in samples)
    _, mask = folders.read(sample)
    grid = folders.spectrogram.one_sided()
    audio = folders.audio(sample)[-grid.samples(mask.shape[1]) :]
    prediction = predictor.predict(audio, OFFICIAL_HZ)
    frequencies, times = prediction.frequencies, prediction.times
    rows = np.abs(grid.frequencies()[:, None] - frequencies).argmin(axis=1)
    columns = np.searchsorted((times[1:] + times[:-1]) / 2, grid.times(mask.shape[1]))
    said = prediction.probabilities[np.ix_(rows, columns)]
    said[grid.frequencies() > frequencies[-1]] = 0
    return said, mask[-grid.rows :] != 0


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over recordings, by output and threshold; ``own`` is each run's, ``precise`` chosen on other folds."""
    made = []
    for output in ("mask", "boxes"):
        of_output = [row for row in rows if row["output"] == output]
        wanted = precise_on_others(of_output)
        chosen: dict[object, list[dict[str, Any]]] = {
            "own": [row for row in of_output if row["own"]],
            "precise": [row for row in of_output if row["threshold"] == wanted.get(row["run"])],
        }
        chosen |= {t: [row for row in of_output if row["threshold"] == t] for t in THRESHOLDS}
        for threshold, those in chosen.items():
            if those:
                made.append({"output": output, "threshold": threshold} | totals(those))
    return made


def precise_on_others(rows: list[dict[str, Any]]) -> dict[str, float]:
    """By run, the lowest threshold with `PRECISION` on the recordings that the run doesn't test."""
    chosen = {}
    for run in {row["run"] for row in rows}:
        own = {row["recording"] for row in rows if row["run"] == run}
        others = [row for row in rows if row["recording"] not in own and row["recording"] != OFFICIAL]
        for threshold in reversed(THRESHOLDS):
            there = [row for row in others if row["threshold"] == threshold]
            marked = sum(row["marked"] for row in there)
            if not marked or sum(row["marked_in_boxes"] for row in there) < PRECISION * marked:
                break
            chosen[run] = threshold
    return chosen


def totals(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Scores of recordings together; NaN for what there is none of."""
    official = [row["iou"] for row in rows if row["recording"] == OFFICIAL]
    boxed = [row for row in rows if row["recording"] != OFFICIAL]
    total = {key: sum(row[key] for row in boxed) for key in _COUNTED}
    return {
        "recordings": len(boxed),
        "iou": _ratio(total["iou"], len(boxed)),
        "precision": _ratio(total["marked_in_boxes"], total["marked"]),
        "recall": _ratio(total["marked_in_boxes"], total["in_boxes"]),
        "hit": _ratio(total["hit_boxes"], total["boxes"]),
        "time_iou": _ratio(total["time_both"], total["time_either"]),
        "official": _ratio(sum(official), len(official)),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


_COUNTED = (
    *("iou", "marked_in_boxes", "marked", "in_boxes"),
    *("boxes", "hit_boxes", "time_both", "time_either"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--boxes", type=Path, required=True)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--output", type=Path, help="CSV of all recordings; the summary goes beside it")
    given = parser.parse_args()
    source = AnnotatedAudio(root=given.boxes)
    rows = [row for run in given.runs for row in of_run(run, source, given.official)]
    summed = summary(rows)
    for row in summed:
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
    if given.output:
        write_csv(given.output, rows)
        write_csv(given.output.with_name(f"{given.output.stem}_summary.csv"), summed)


if __name__ == "__main__":
    main()
