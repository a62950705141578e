"""How well a head on embeddings names species, and how many recordings of each it needs for that."""

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from birdlab.data.source import Split
from birdlab.data.species import LabelledStack, SpeciesSource
from birdlab.data.splits import drawn
from birdlab.errors import BirdlabError
from birdlab.metrics import SpeciesScores
from birdlab.probing.backbone import Embeddings
from birdlab.probing.head import Head

ALL = "all"
SCORES = ("macro_f1", "accuracy", "balanced_accuracy", "average_precision", "roc_auc")


@dataclass(frozen=True)
class Fold:
    """Recordings to learn from and recordings to name; no visit is on both sides.

    Attributes:
        train, test: the recordings.
        left_out: those that aren't tested, see `unheard`.
    """

    train: tuple[LabelledStack, ...]
    test: tuple[LabelledStack, ...]
    left_out: tuple[LabelledStack, ...] = ()

    @property
    def everything(self) -> tuple[LabelledStack, ...]:
        """All recordings."""
        return (*self.train, *self.test, *self.left_out)


@dataclass(frozen=True)
class Point:
    """Scores with so many training recordings of each species.

    Attributes:
        recordings: of each species at most, or ``all``.
        mean_recordings: of a species on average, since some have fewer.
        draw: number of the draw.
        scores: by name, over the test recordings of all folds together.
        left_out: how many recordings aren't among these, since a backbone was trained on them.
    """

    recordings: int | str
    mean_recordings: float
    draw: int
    scores: Mapping[str, float]
    left_out: int = 0

    def row(self) -> dict[str, object]:
        """Of a table."""
        kept = {name: round(self.scores[name], 6) for name in SCORES}
        return {
            "recordings": self.recordings,
            "mean_recordings": round(self.mean_recordings, 2),
            "draw": self.draw,
            **kept,
            "tested": int(self.scores["recordings"]),
            "left_out": self.left_out,
        }


@dataclass(frozen=True)
class Named:
    """What heads say of recordings that they have not learnt from.

    Attributes:
        logits: log-probabilities, float64 [M, K].
        truth: species, int64 [M].
        mean_recordings: of a species that a head has learnt from, on average.
    """

    logits: Tensor
    truth: Tensor
    mean_recordings: float


def folds_of(source: SpeciesSource) -> list[Fold]:
    """The source's own folds, each tested once; without ``data.folds`` its test split, once.

    Validation recordings are learnt from, too: the head chooses on training data.

    Raises:
        BirdlabError: for sources that give recordings several species, or too few recordings.
    """
    if source.multilabel:
        raise BirdlabError(
            "data.multilabel=true: the head names one species of each recording; set it to false."
        )
    if source.folds is None:
        return [_fold(source.splits())]
    return [_fold(replace(source, fold=number, fold_tests=True).splits()) for number in range(source.folds)]


def unheard(folds: Sequence[Fold], heard: Collection[str]) -> list[Fold]:
    """Folds that test no recording that a backbone was trained on; heads of other folds learn from these.

    Args:
        folds: see `folds_of`.
        heard: see `Backbone.heard`.

    Returns:
        As many folds, of which some may test nothing any more.

    Raises:
        BirdlabError: if none does.
    """
    kept = []
    for fold in folds:
        test = tuple(sample for sample in fold.test if sample.recordings().isdisjoint(heard))
        left_out = tuple(sample for sample in fold.test if not sample.recordings().isdisjoint(heard))
        kept.append(replace(fold, test=test, left_out=left_out))
    if not any(fold.test for fold in kept):
        raise BirdlabError(
            "A run was trained on all recordings that would be tested: its scores would be too good. Probe "
            "it on others, or on the test split of its own data, with the settings of that split "
            "(data.folds=null data.fractions=...)."
        )
    return kept


def learning_curve(
    folds: Sequence[Fold],
    embeddings: Mapping[str, Embeddings],
    classes: int,
    recordings: Sequence[int],
    draws: int,
    seed: int = 0,
) -> Iterator[Point]:
    """Scores by the number of training recordings of each species, all of them last.

    Args:
        folds: see `folds_of`.
        embeddings: of each recording by id.
        classes: K.
        recordings: of each species, at most; a species with fewer gives all.
        draws: how often so many are drawn; of a draw, fewer recordings are among those that are more.
        seed: of the draws.
    """
    for count in sorted(set(recordings)):
        for draw in range(draws):
            yield _point(folds, embeddings, classes, count, draw, seed)
    yield _point(folds, embeddings, classes, None, 0, seed)


def few(samples: Sequence[LabelledStack], count: int, key: str) -> list[LabelledStack]:
    """At most so many of each species, drawn by key and id whatever their order."""
    of_species: defaultdict[int, list[LabelledStack]] = defaultdict(list)
    for sample in sorted(samples, key=lambda each: drawn(key, each.id)):
        of_species[sample.label].append(sample)
    return [sample for label in sorted(of_species) for sample in of_species[label][:count]]


def summary(points: Sequence[Point]) -> list[dict[str, object]]:
    """Mean and standard deviation over draws, a row for each number of recordings."""
    rows: list[dict[str, object]] = []
    for count in dict.fromkeys(point.recordings for point in points):
        those = [point for point in points if point.recordings == count]
        row: dict[str, object] = {
            "recordings": count,
            "mean_recordings": round(statistics.fmean(point.mean_recordings for point in those), 2),
            "draws": len(those),
        }
        for name in SCORES:
            values = [point.scores[name] for point in those]
            row[name] = round(statistics.fmean(values), 6)
            row[f"{name}_sd"] = round(statistics.stdev(values), 6) if len(values) > 1 else float("nan")
        rows.append(row)
    return rows


def out_of_fold(
    folds: Sequence[Fold],
    embeddings: Mapping[str, Embeddings],
    classes: int,
    count: int | None = None,
    draw: str = "",
) -> Named:
    """What heads say of the test recordings of all folds, each fitted to its fold's training recordings.

    Args:
        folds: see `folds_of`.
        embeddings: of each recording by id.
        classes: K.
        count: training recordings of each species, at most; None for all.
        draw: another word draws others.
    """
    said, truth, learnt = [], [], []
    for number, fold in enumerate(folds):
        if not fold.test:
            continue
        train = fold.train if count is None else few(fold.train, count, f"{draw}:{number}")
        learnt.append(len(train))
        head = fitted(train, embeddings, classes)
        said.append(head.log_probabilities(np.stack([embeddings[sample.id] for sample in fold.test])))
        truth += [sample.label for sample in fold.test]
    return Named(
        torch.from_numpy(np.concatenate(said)), torch.tensor(truth), statistics.fmean(learnt) / classes
    )


def fitted(samples: Sequence[LabelledStack], embeddings: Mapping[str, Embeddings], classes: int) -> Head:
    """A head that has learnt from recordings; see `Head.fit`."""
    return Head.fit(
        np.stack([embeddings[sample.id] for sample in samples]),
        np.array([sample.label for sample in samples], np.int64),
        [sample.group for sample in samples],
        classes,
    )


def _point(
    folds: Sequence[Fold],
    embeddings: Mapping[str, Embeddings],
    classes: int,
    count: int | None,
    draw: int,
    seed: int,
) -> Point:
    named = out_of_fold(folds, embeddings, classes, count, f"{seed}:{draw}")
    scores = SpeciesScores(classes)
    scores.update(named.logits, named.truth)
    return Point(
        recordings=ALL if count is None else count,
        mean_recordings=named.mean_recordings,
        draw=draw,
        scores=scores.compute(),
        left_out=sum(len(fold.left_out) for fold in folds),
    )


def _fold(splits: Mapping[Split, Sequence[object]]) -> Fold:
    parts: dict[Split, tuple[LabelledStack, ...]] = {
        split: tuple(sample for sample in samples if isinstance(sample, LabelledStack))
        for split, samples in splits.items()
    }
    fold = Fold(train=(*parts["train"], *parts["val"]), test=parts["test"])
    if not fold.train or not fold.test:
        raise BirdlabError(
            "There are no recordings to learn from, or none to test on: set data.folds=5, or data.fractions."
        )
    return fold
