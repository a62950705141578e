"""How well runs mark birds in recordings with boxes that they haven't seen, and in the official example.

    python experiments/frontier/score.py RUN... --boxes DIR [--official DIR] [--output FILE]
    python experiments/frontier/score.py energy --boxes DIR

A run is scored on the recordings of its test split (``splits.json``), one that has none of them on all:
the runs of a cross-validation together score each recording once a seed. ``mask`` is what exceeds a
threshold; ``boxes`` is what `birdlab.predict --boxes` makes of it. On the cells of the official spectrogram
(2 ms, 31 Hz) of whole recordings,

- ``iou``: against the boxes' area, the mean over recordings;
- ``precision``, ``recall``: cells in boxes, all recordings together;
- ``hit``: the share of boxes with anything marked in at least a tenth of their time;
- ``time_iou``: columns with anything marked against columns with any box, all recordings together.

Means over seeds with their standard deviation, and 95 % intervals over recordings and seeds. Nothing here is
chosen on what it is tested on. In the column of thresholds

- ``own`` is the run's: exact masks of its validation data chose it;
- ``drawn`` was chosen on hand-coarsened copies of these masks, which is what people draw;
- ``precise`` is the lowest at which `PRECISION` of what is marked in all *other* folds' recordings lies in
  boxes: how somebody would set it who says how much may be wrong, and has recordings of his own to see;
- ``boxes`` has the best IoU with the boxes of the other folds' recordings: of output in boxes only.

``energy`` in place of runs is 6 dB above the usual level of a row and a moment (`birdlab.baselines`).

DIR of --official is BirdSoundsDenoising's example (Images, Masks, Raw_audios): ``official`` is the foreground
IoU of the marks that a run makes in its recording. What runs were validated on must be where it was.
"""

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import birdlab
from birdlab.audio import io
from birdlab.audio.spectrogram import Spectrogram
from birdlab.baselines import EnergyThreshold, hand_coarsened
from birdlab.build import build_data
from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.data.boxes import Box, read_boxes
from birdlab.data.folders import ImageFolders
from birdlab.data.segmentation import SegmentationData
from birdlab.data.source import recording_of
from birdlab.files import write_csv
from birdlab.metrics import SegmentationScores
from birdlab.prediction.events import Components, Event, boxes, paint
from birdlab.prediction.library import Prediction, Predictor
from birdlab.prediction.restoring import restored
from birdlab.run import Run
from birdlab.statistics import Statistic, estimate_statistic
from birdlab.tasks import SegmentationTask
from birdlab.tasks.segmentation import to_native

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
OFFICIAL, OFFICIAL_HZ = "official", 48_000
PRECISION = 0.8
_HEARD = 0.1
Cells = NDArray[np.bool_]
Row = dict[str, Any]
"""What one run marks in one recording, as one output at one threshold."""
SCORES = {
    "iou": ("iou", None),
    "precision": ("marked_in_boxes", "marked"),
    "recall": ("marked_in_boxes", "in_boxes"),
    "hit": ("hit_boxes", "boxes"),
    "time_iou": ("time_both", "time_either"),
}
"""Of all recordings: a sum, and what it is divided by; None for their number."""


@dataclass(frozen=True)
class Energy:
    """The energy threshold in the place of a network."""

    grid: Spectrogram = field(default_factory=lambda: Spectrogram(sides="one"))
    window_columns: int = 1499
    classes: Mapping[int, str] = field(default_factory=lambda: {0: "background", 255: "bird"})
    threshold: float = 6 / 16  # of the 16 dB that are a probability of 0 to 1
    validation_precision: Mapping[float, float] = field(default_factory=dict)
    validation_recall: Mapping[float, float] = field(default_factory=dict)
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


def scored(found: Cells, truth: Cells, each: Sequence[Cells]) -> dict[str, float]:
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


def of_run(run: Path, source: AnnotatedAudio, official: Path | None) -> list[Row]:
    """A row for each recording, output and threshold."""
    energy = str(run) == "energy"
    predictor = Predictor(Energy()) if energy else birdlab.load(run)
    own, title = predictor.network.threshold, titled(run)
    drawn = own if energy else drawn_threshold(run)
    seed = 0 if energy else int(Run.open(run).config().seed)
    files = {recording_of(sample.id): sample.files for sample in source.splits()["test"]}

    def rows(
        recording: str, threshold: float, output: str, found: Cells, truth: Cells, each: Sequence[Cells]
    ) -> Row:
        key = {
            "run": title,
            "seed": seed,
            "recording": recording,
            "output": output,
            "threshold": threshold,
        }
        return key | {"own": threshold == own, "drawn": threshold == drawn} | scored(found, truth, each)

    made = []
    thresholds = sorted({own, drawn, *THRESHOLDS})
    for name in sorted(files) if energy else tested(run, source):
        recording, labels = files[name]
        prediction = predictor.predict(io.read(recording), io.info(recording).sample_rate)
        truth, each = painted(list(read_boxes(labels)), predictor, prediction.probabilities.shape[1])
        for threshold in thresholds:
            for output, found in outputs(prediction, predictor, threshold):
                made.append(rows(name, threshold, output, found, truth, each))
    if official is not None:
        said, truth = on_official(predictor, official)
        made += [rows(OFFICIAL, threshold, "mask", said > threshold, truth, []) for threshold in thresholds]
    return made


def titled(run: Path) -> str:
    """What a run is called: its folder, and the one above."""
    return "/".join(run.parts[-2:])


def drawn_threshold(run: Path) -> float:
    """The threshold with the best IoU on hand-coarsened copies of a run's validation masks."""
    task, cfg, _ = restored(run, SegmentationTask)
    data = build_data(cfg)
    assert isinstance(data, SegmentationData)
    data.prepare_data()
    data.setup("fit")
    scores = SegmentationScores()
    with torch.inference_mode():
        for batch in data.native_dataloader("val"):
            masks = batch["native_mask"]
            logits = task.logits(batch["image"]).float() / task.temperature
            scores.update(to_native(logits, masks), [hand_coarsened(mask) for mask in masks])
    return scores.best_threshold()


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


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Over recordings and seeds, by output and threshold."""
    made = []
    for output in ("mask", "boxes"):
        of_output = [row for row in rows if row["output"] == output]
        chosen: dict[object, list[Row]] = {
            name: [row for row in of_output if row[name]]
            for name in (("own", "drawn") if output == "mask" else ("own",))
        }
        rules = {"precise": precise} | ({"boxes": best_iou} if output == "boxes" else {})
        for name, rule in rules.items():
            wanted = on_others(of_output, rule)
            chosen[name] = [row for row in of_output if row["threshold"] == wanted.get(row["run"])]
        chosen |= {t: [row for row in of_output if row["threshold"] == t] for t in THRESHOLDS}
        made += [
            {"output": output, "threshold": threshold} | scores(those)
            for threshold, those in chosen.items()
            if those
        ]
    return made


def on_others(
    rows: Sequence[Row], rule: Callable[[Mapping[float, list[Row]]], float | None]
) -> dict[str, float]:
    """By run, the threshold that a rule chooses on recordings which only other runs of its seed test."""
    chosen = {}
    for run, seed in {(row["run"], row["seed"]) for row in rows}:
        own = {row["recording"] for row in rows if row["run"] == run} | {OFFICIAL}
        there = defaultdict(list)
        for row in rows:
            if row["seed"] == seed and row["recording"] not in own and row["threshold"] in THRESHOLDS:
                there[row["threshold"]].append(row)
        if there and (threshold := rule(there)) is not None:
            chosen[run] = threshold
    return chosen


def precise(rows: Mapping[float, list[Row]]) -> float | None:
    """The lowest threshold from which on `PRECISION` is kept; None if there is none."""
    chosen = None
    for threshold in sorted(rows, reverse=True):
        marked = sum(row["marked"] for row in rows[threshold])
        if marked and sum(row["marked_in_boxes"] for row in rows[threshold]) < PRECISION * marked:
            break
        chosen = threshold
    return chosen


def best_iou(rows: Mapping[float, list[Row]]) -> float:
    """The threshold with the best IoU with boxes."""
    return max(rows, key=lambda threshold: sum(row["iou"] for row in rows[threshold]))


def scores(rows: Sequence[Row]) -> dict[str, float]:
    """`SCORES` and ``official``: means over seeds, ``_sd``, ``_low`` and ``_high``: the interval."""
    seeds: dict[int, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: str(row["recording"])):
        seeds[row["seed"]].append(row)
    boxed = [[row for row in each if row["recording"] != OFFICIAL] for each in seeds.values()]
    made: dict[str, float] = {"seeds": len(seeds), "recordings": len(boxed[0])}
    if made["recordings"]:
        names = [row["recording"] for row in boxed[0]]
        for score in SCORES:
            each = [statistic(score, those) for those in boxed]
            whole = [one(np.arange(len(names))) for one in each]
            found = estimate_statistic(each, names)
            made |= {score: found.mean, f"{score}_sd": _sd(whole)}
            made |= {f"{score}_low": found.low, f"{score}_high": found.high}
    official = [row["iou"] for row in rows if row["recording"] == OFFICIAL]
    return made | ({"official": statistics.fmean(official), "official_sd": _sd(official)} if official else {})


def statistic(score: str, rows: Sequence[Row]) -> Statistic:
    """One of `SCORES`, of some of these recordings."""
    part, whole = SCORES[score]
    parts = np.array([row[part] for row in rows], np.float64)
    wholes = np.ones(len(rows)) if whole is None else np.array([row[whole] for row in rows], np.float64)

    def of(places: NDArray[np.intp]) -> float:
        # Nothing marked at all: nothing of it is wrong.
        return float(parts[places].sum() / total) if (total := wholes[places].sum()) else 1.0

    return of


def _sd(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--boxes", type=Path, required=True)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--output", type=Path, help="CSV of all recordings; the summary goes beside it")
    given = parser.parse_args()
    if len({titled(run) for run in given.runs}) < len(given.runs):
        parser.error("two of the runs have the same names: folder and the one above")
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
