"""How well runs mark birds in recordings with boxes that they haven't seen, and in the official example.

    python experiments/frontier/score.py RUN... --boxes DIR [--official DIR] [--bird-free DIR] [--ensemble]
        [--output FILE]
    python experiments/frontier/score.py energy --boxes DIR

A run is scored on the recordings of its test split (``splits.json``), one that has none of them on all:
the runs of a cross-validation together score each recording once a seed. ``mask`` is what exceeds a
threshold; ``boxes`` is what `birdlab.predict --boxes` makes of it. On the cells of the official spectrogram
(2 ms, 31 Hz) of whole recordings,

- ``iou``: against the boxes' area, the mean over recordings;
- ``precision``, ``recall``: cells in boxes, all recordings together;
- ``hit``: the share of boxes with anything marked in at least a tenth of their time;
- ``time_iou``: columns with anything marked against columns with any box, all recordings together.

Means over seeds with their standard deviation, and 95 % intervals over recordings and seeds: each seed's runs
must test the same recordings. Nothing here is chosen on what it is tested on. In the column of thresholds
(a rule that chooses none for one of the runs is left out)

- ``own`` is the run's: its validation data chose it, masks for what is marked and, where the truth of these
  data is boxes, boxes for output in boxes;
- ``drawn`` was chosen on hand-coarsened copies of these masks, which is what people draw;
- ``precise`` is the lowest at which `PRECISION` of what is marked in all *other* folds' recordings lies in
  boxes: how somebody would set it who says how much may be wrong, and has recordings of his own to see;
- ``boxes`` has the best IoU with the boxes of the other folds' recordings: of output in boxes only;
- ``alarms_10`` and ``alarms_60`` are the lowest from which on a run finds at most so many events an hour in
  the recordings of --bird-free, which hold no birds. Those that it, or a run before it, was trained on or
  augmented with are left out. The summary says how little that may be: the fewest minutes and recordings of
  any run, and the highest bound of its rate, with 95 % confidence, in the minutes that chose the threshold.

With --ensemble, the runs of several seeds that test the same recordings are scored as one, in place of each:
their probabilities are averaged, and so are their thresholds ``own`` and ``drawn``. Together they count as
one seed, and intervals are over recordings alone.

``energy`` in place of runs is 6 dB above the usual level of a row and a moment (`birdlab.baselines`).

DIR of --official is BirdSoundsDenoising's example (Images, Masks, Raw_audios): ``official`` is the foreground
IoU of the marks that a run makes in its recording. What runs were validated on must be where it was.
"""

import argparse
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from summary import OFFICIAL, RATES, THRESHOLDS, Row, summary

import birdlab
from birdlab.audio import io
from birdlab.audio.spectrogram import Spectrogram
from birdlab.baselines import EnergyThreshold, hand_coarsened
from birdlab.bird_free import unheard
from birdlab.build import build_data
from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.data.boxes import Box, read_boxes
from birdlab.data.folders import ImageFolders
from birdlab.data.names import recording_of
from birdlab.data.segmentation import SegmentationData
from birdlab.data.source import SPLITS
from birdlab.errors import BirdlabError, command
from birdlab.files import write_csv
from birdlab.metrics import SegmentationScores
from birdlab.prediction.alarms import false_alarms, recordings_in, table, thresholds_of
from birdlab.prediction.events import Event, paint
from birdlab.prediction.finding import box_cells
from birdlab.prediction.inputs import Input
from birdlab.prediction.library import Prediction, Predictor
from birdlab.prediction.network import Network
from birdlab.prediction.restoring import restored
from birdlab.run import Run
from birdlab.tasks import SegmentationTask
from birdlab.tasks.segmentation import to_native

ENERGY = Path("energy")
OFFICIAL_HZ = 48_000
_HEARD = 0.1
Cells = NDArray[np.bool_]
Part = tuple[slice, ...]
"""Rows and columns of `Cells`."""


@dataclass(frozen=True)
class Energy:
    """The energy threshold in the place of a network."""

    grid: Spectrogram = field(default_factory=lambda: Spectrogram(sides="one"))
    window_columns: int = 1499
    classes: Mapping[int, str] = field(default_factory=lambda: {0: "background", 255: "bird"})
    threshold: float = 6 / 16  # of the 16 dB that are a probability of 0 to 1
    box_threshold: float = threshold
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
    yield "boxes", box_cells(prediction.probabilities, predictor.network.grid, threshold)


def scored(found: Cells, truth: Cells, each: Sequence[Part]) -> dict[str, float]:
    """Counts and IoU of one recording; ``each`` box alone."""
    both, either = np.count_nonzero(found & truth), np.count_nonzero(found | truth)
    hit = 0
    for box in each:
        heard = found[box].any(axis=0)
        hit += np.count_nonzero(heard) >= _HEARD * len(heard) and bool(heard.any())
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


def painted(labels: list[Box], predictor: Predictor, columns: int) -> tuple[Cells, list[Part]]:
    """All boxes as cells, and where those of each of them are that has any."""
    grid = predictor.network.grid
    together = np.zeros((grid.one_sided().rows, columns), np.bool_)
    each = []
    for box in labels:
        cells = paint([Event(box.begin_s, box.end_s, box.low_hz, box.high_hz, 1.0)], grid, 0, columns)
        together |= cells
        if cells.any():
            ends = [np.flatnonzero(cells.any(axis=axis))[[0, -1]] for axis in (1, 0)]
            each.append(tuple(slice(first, last + 1) for first, last in ends))
    return together, each


@dataclass(frozen=True)
class Entry:
    """What is scored as one: a run, or several whose probabilities are averaged.

    Attributes:
        runs: their directories, or `ENERGY`.
        seed: of its training; those of several are joined by ``+``.
        recordings: names of those that none of them has seen.
    """

    runs: tuple[Path, ...]
    seed: str
    recordings: frozenset[str]

    @property
    def title(self) -> str:
        """What it is called: each run by its folder, and the one above."""
        return "+".join("/".join(run.parts[-2:]) for run in self.runs)

    @property
    def learned(self) -> bool:
        """Whether it was trained."""
        return self.runs != (ENERGY,)


def entries(runs: Sequence[Path], names: AbstractSet[str]) -> list[Entry]:
    """An entry for each run.

    Args:
        runs: their directories, or `ENERGY`.
        names: of the recordings with boxes.

    Raises:
        BirdlabError: unless the runs of each seed together test the same recordings, and each of them once.
    """
    made = [entry_of(run, frozenset(names)) for run in runs]
    if twice := [title for title, count in Counter(entry.title for entry in made).items() if count > 1]:
        raise BirdlabError(f"two of the runs are called {twice[0]}: a folder and the one above name a run.")
    every = frozenset().union(*(entry.recordings for entry in made))
    wrong = []
    for seed in sorted({entry.seed for entry in made}):
        tested = Counter(name for entry in made if entry.seed == seed for name in entry.recordings)
        if twice := sorted(name for name, count in tested.items() if count > 1):
            wrong.append(f"two runs of seed {seed} test {', '.join(twice)}: score one condition at a time.")
        if missing := every - tested.keys():
            like = ", ".join(entry.title for entry in made if entry.recordings & missing)
            wrong.append(
                f"no run of seed {seed} tests {', '.join(sorted(missing))}, as {like} does: give that fold, "
                "or leave the seed out."
            )
    if wrong:
        raise BirdlabError("\n".join(wrong))
    return made


def entry_of(run: Path, names: frozenset[str]) -> Entry:
    """A run with the recordings of its test split; with all if it has seen none."""
    if run == ENERGY:
        return Entry((run,), "0", names)
    found = Run.open(run)
    of = {split: {recording_of(id) for id in found.split_ids(split)} & names for split in SPLITS}
    return Entry((run,), str(found.config().seed), frozenset(of["test"]) if any(of.values()) else names)


def averaged(each: Sequence[Entry]) -> list[Entry]:
    """In place of the entries of several seeds that have the same recordings, one.

    Raises:
        BirdlabError: unless there are several seeds, all divided into the same folds.
    """
    folds: dict[frozenset[str], list[Entry]] = defaultdict(list)
    for entry in sorted(each, key=lambda entry: entry.seed):
        folds[entry.recordings].append(entry)
    seeds = {entry.seed for entry in each}
    if len(seeds) < 2:
        raise BirdlabError("--ensemble averages runs of several seeds, and these have one. Give others, too.")
    # Each seed tests each recording once, so that a fold has at most one run of it.
    alone = [those[0].title for those in folds.values() if len(those) < len(seeds)]
    if alone:
        raise BirdlabError(
            f"--ensemble: no run of each other seed tests the same recordings as {alone[0]} does: divide "
            "them into the same folds."
        )
    return [
        Entry(
            tuple(run for entry in those for run in entry.runs),
            "+".join(entry.seed for entry in those),
            recordings,
        )
        for recordings, those in folds.items()
    ]


def opened(entry: Entry) -> tuple[Predictor, float]:
    """What predicts, and the threshold that drawn masks chose."""
    if not entry.learned:
        return Predictor(Energy()), Energy().threshold
    return birdlab.load(entry.runs), statistics.fmean(drawn_threshold(run) for run in entry.runs)


def alarms_of(entry: Entry, network: Network, bird_free: Sequence[Input]) -> list[Row]:
    """A row for each of `RATES`: the threshold that keeps to it where no bird is, or None if there is none.

    Args:
        entry: what is scored; it has no rows if it has heard all of the recordings.
        network: that of it.
        bird_free: recordings without birds.
    """
    files = bird_free
    for run in entry.runs if entry.learned else ():
        files = unheard(Run.open(run), files)
    if not files:
        if bird_free:
            print(f"{entry.title}: has heard all {len(bird_free)} recordings without birds.", file=sys.stderr)
        return []
    found = false_alarms(network, files, thresholds_of(network))
    of = {"run": entry.title, "seed": entry.seed, "recordings": len(files), "minutes": 60 * found.hours}
    rows = zip(RATES, table(found, network, RATES), strict=True)
    return [of | {"rule": f"alarms_{rate}"} | row for rate, row in rows]


def scored_rows(
    entry: Entry,
    predictor: Predictor,
    chosen: Iterable[float],
    drawn: float,
    files: Mapping[str, tuple[Path, Path]],
    official: Path | None,
) -> list[Row]:
    """A row for each recording, output and threshold.

    Args:
        entry: what is scored.
        predictor, drawn: see `opened`.
        chosen: thresholds to score at, beside `THRESHOLDS`, the predictor's own, and ``drawn``.
        files: recordings and their boxes by name.
        official: see --official.
    """
    own = {"mask": predictor.network.threshold, "boxes": predictor.network.box_threshold}
    thresholds = sorted({*own.values(), drawn, *chosen, *THRESHOLDS})

    def row(
        recording: str, threshold: float, output: str, found: Cells, truth: Cells, each: Sequence[Part]
    ) -> Row:
        of = {"run": entry.title, "seed": entry.seed, "recording": recording, "output": output}
        at = {"threshold": threshold, "own": threshold == own[output], "drawn": threshold == drawn}
        return of | at | scored(found, truth, each)

    made = []
    for name in sorted(entry.recordings):
        recording, labels = files[name]
        prediction = predictor.predict(io.read(recording), io.info(recording).sample_rate)
        truth, each = painted(list(read_boxes(labels)), predictor, prediction.probabilities.shape[1])
        for threshold in thresholds:
            for output, found in outputs(prediction, predictor, threshold):
                made.append(row(name, threshold, output, found, truth, each))
    if official is not None:
        said, truth = on_official(predictor, official)
        made += [row(OFFICIAL, threshold, "mask", said > threshold, truth, []) for threshold in thresholds]
    return made


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--boxes", type=Path, required=True)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--bird-free", type=Path)
    parser.add_argument("--ensemble", action="store_true")
    parser.add_argument("--output", type=Path, help="CSV of all recordings; the summary goes beside it")
    given = parser.parse_args()
    with command():
        score(
            given.runs,
            given.boxes,
            official=given.official,
            bird_free=given.bird_free,
            ensemble=given.ensemble,
            output=given.output,
        )


def score(
    runs: Sequence[Path],
    folder: Path,
    *,
    official: Path | None = None,
    bird_free: Path | None = None,
    ensemble: bool = False,
    output: Path | None = None,
) -> None:
    """Score runs, print what the scores come to, and write both; see the arguments of the command."""
    source = AnnotatedAudio(root=folder)
    files = {recording_of(sample.id): sample.files for sample in source.splits()["test"]}
    each = entries(runs, files.keys())
    each = averaged(each) if ensemble else each
    quiet = recordings_in(bird_free) if bird_free else []
    rows: list[Row] = []
    alarms: list[Row] = []
    for entry in each:
        predictor, drawn = opened(entry)
        at_rates = alarms_of(entry, predictor.network, quiet)
        chosen = {row["threshold"] for row in at_rates} - {None}
        rows += scored_rows(entry, predictor, chosen, drawn, files, official)
        alarms += at_rates
    # Hours of work, before anything is made of them.
    if output:
        write_csv(output, rows)
        if alarms:
            write_csv(output.with_name(f"{output.stem}_alarms.csv"), alarms)
    summed = summary(rows, alarms)
    for row in summed:
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
    if output:
        write_csv(output.with_name(f"{output.stem}_summary.csv"), summed)


if __name__ == "__main__":
    main()
