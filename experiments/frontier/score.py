"""How well runs mark birds in recordings with boxes that they haven't seen, and in the official example.

    python experiments/frontier/score.py RUN... --boxes DIR [--official DIR] [--output FILE]

A run is scored on the recordings of its test split (``splits.json``), one that has none of them on all:
the runs of a cross-validation together score each recording once a seed. ``mask`` is what exceeds the run's
own threshold, which validation masks chose; ``boxes`` is what `birdlab.predict --boxes` makes of it. On the
cells of the official spectrogram (2 ms, 31 Hz) of whole recordings,

- ``iou``: against the boxes' area, the mean over recordings;
- ``precision``, ``recall``: cells in boxes, all recordings together;
- ``hit``: the share of boxes with anything marked in at least a tenth of their time;
- ``time_iou``: columns with anything marked against columns with any box, all recordings together.

DIR of --official is BirdSoundsDenoising's example (Images, Masks, Raw_audios): ``official`` is the foreground
IoU of the marks that a run makes in its recording.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import birdlab
from birdlab.audio import io
from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.data.boxes import Box, read_boxes
from birdlab.data.folders import ImageFolders
from birdlab.files import write_csv
from birdlab.prediction.events import Event, boxes, paint
from birdlab.prediction.library import Prediction, Predictor

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_HEARD = 0.1
Cells = NDArray[np.bool_]


def outputs(prediction: Prediction, predictor: Predictor, threshold: float) -> Iterator[tuple[str, Cells]]:
    """The mask, and the boxes made of it, as cells."""
    from birdlab.prediction.events import Components

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
    names = {sample.group for sample in source.splits()["test"]}
    of = {
        split: {id.split("/")[-1].split("@")[0] for id in ids if id.split("/")[-1].split("@")[0] in names}
        for split, ids in splits.items()
    }
    trained = of["train"] | of["val"]
    return sorted(of["test"] or names - trained)


def of_run(run: Path, source: AnnotatedAudio, official: Path | None) -> list[dict[str, object]]:
    """A row for each recording, output and threshold."""
    predictor = birdlab.load(run)
    own = predictor.network.threshold
    rows: list[dict[str, object]] = []
    files = {sample.group: sample.files for sample in source.splits()["test"]}
    for name in tested(run, source):
        recording, labels = files[name]
        prediction = predictor.predict(io.read(recording), io.info(recording).sample_rate)
        truth, each = painted(list(read_boxes(labels)), predictor, prediction.probabilities.shape[1])
        for threshold in sorted({own, *THRESHOLDS}):
            for output, found in outputs(prediction, predictor, threshold):
                key = {"run": run.name, "recording": name, "output": output, "threshold": threshold}
                rows.append(key | {"own": threshold == own} | scored(found, truth, each))
    if official is not None:
        folders = ImageFolders(root=official)
        (sample,) = (sample for samples in folders.splits().values() for sample in samples)
        _, mask = folders.read(sample)
        prediction = predictor.predict(folders.audio(sample), folders.sample_rate)
        truth = mask[-prediction.probabilities.shape[0] :] != 0
        columns = min(truth.shape[1], prediction.probabilities.shape[1])
        for threshold in sorted({own, *THRESHOLDS}):
            found = (prediction.probabilities > threshold)[:, :columns]
            key = {"run": run.name, "recording": "official", "output": "mask", "threshold": threshold}
            rows.append(key | {"own": threshold == own} | scored(found, truth[:, :columns], []))
    return rows


def summary(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Over recordings, by output and threshold; ``own`` is each run's."""
    made = []
    for output in ("mask", "boxes"):
        for threshold in ("own", *THRESHOLDS):
            chosen = [
                row
                for row in rows
                if row["output"] == output
                and row["recording"] != "official"
                and (row["own"] if threshold == "own" else row["threshold"] == threshold)
            ]
            official = [
                row["iou"]
                for row in rows
                if row["recording"] == "official"
                and row["output"] == output
                and (row["own"] if threshold == "own" else row["threshold"] == threshold)
            ]
            if not chosen:
                continue
            total = {key: sum(float(str(row[key])) for row in chosen) for key in _COUNTED}
            made.append(
                {
                    "output": output,
                    "threshold": threshold,
                    "recordings": len(chosen),
                    "iou": total["iou"] / len(chosen),
                    "precision": total["marked_in_boxes"] / max(1, total["marked"]),
                    "recall": total["marked_in_boxes"] / total["in_boxes"],
                    "hit": total["hit_boxes"] / total["boxes"],
                    "time_iou": total["time_both"] / total["time_either"],
                    "official": np.mean(official) if official else float("nan"),  # type: ignore[arg-type]
                }
            )
    return made


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
