"""Where a network goes wrong: its scores against what is known of the samples, and where it fails."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from birdlab.metrics import CoverageCurve
from birdlab.metrics.classification import confusion_matrix
from birdlab.significance import estimate

Row = Mapping[str, Any]
"""Of one sample, as in ``scores.csv``."""

FACTORS = {
    "snr_db": "SNR of the loudest call (dB)",
    "foreground_share": "foreground in the mask",
    "call_s": "mean length of a call (s)",
}
"""What scores are set against, where it is known: columns of ``scores.csv``, and what they are in words."""

_MOST_BINS, _FEWEST_SAMPLES = 6, 8


@dataclass(frozen=True)
class Bin:
    """Samples of similar SNR, foreground or call length, and how well they are segmented.

    Attributes:
        factor: one of `FACTORS`.
        low, high: the smallest and the largest value of it among these samples.
        middle: the median.
        samples: how many.
        iou: their mean.
        iou_low, iou_high: what it lies between with 95 % confidence (`birdlab.significance.estimate`); NaN if
            all are of one recording.
        over_segmentation: false alarms of all of them over the true area of all of them.
        under_segmentation: what is missed of it.
    """

    factor: str
    low: float
    high: float
    middle: float
    samples: int
    iou: float
    iou_low: float
    iou_high: float
    over_segmentation: float
    under_segmentation: float


def with_birds(rows: Sequence[Row]) -> list[Row]:
    """The samples whose truth is not empty; the others have no SNR, and their IoU is 0 or 1 by a rule."""
    return [row for row in rows if row["foreground_share"] > 0]


def binned(rows: Sequence[Row], factor: str) -> list[Bin]:
    """The samples with birds in bins of nearly equal number, by one factor.

    Returns:
        At most 6 bins of at least 8 samples (one bin, if there are fewer); none if the factor is not known.
    """
    known = [row for row in with_birds(rows) if math.isfinite(row.get(factor, math.nan))]
    known.sort(key=lambda row: float(row[factor]))
    parts = max(1, min(_MOST_BINS, len(known) // _FEWEST_SAMPLES))
    cuts = [round(part * len(known) / parts) for part in range(parts + 1)]
    return [_bin(factor, known[first:end]) for first, end in pairwise(cuts) if end > first]


def recall_by_species(rows: Sequence[Row]) -> list[tuple[str, float, int]]:
    """Of each species the share of its recordings that is found, and how many those are; the worst first."""
    counts = Counter(row["label"] for row in rows)
    found = Counter(row["label"] for row in rows if row["label"] == row["predicted"])
    return sorted(
        ((name, found[name] / count, count) for name, count in counts.items()),
        key=lambda entry: (entry[1], entry[0]),
    )


def confused(rows: Sequence[Row]) -> list[tuple[str, str, int]]:
    """Species, what they are taken for, and in how many recordings; the commonest mistake first."""
    pairs = Counter((row["label"], row["predicted"]) for row in rows if row["label"] != row["predicted"])
    return sorted(
        ((*pair, count) for pair, count in pairs.items()), key=lambda entry: (-entry[2], *entry[:2])
    )


def coverage(rows: Sequence[Row]) -> CoverageCurve:
    """What is gained by naming only those species that the network is sure of."""
    confidence = torch.tensor([float(row[f"p_{row['predicted']}"]) for row in rows], dtype=torch.float64)
    return CoverageCurve.of(confidence, torch.tensor([row["predicted"] == row["label"] for row in rows]))


def confusion(rows: Sequence[Row], names: Sequence[str]) -> torch.Tensor:
    """Recordings by true and predicted species, int64 [K, K], from rows as in ``scores.csv``."""
    index = {name: number for number, name in enumerate(names)}
    predicted, true = (
        torch.tensor([index[row[column]] for row in rows]) for column in ("predicted", "label")
    )
    return confusion_matrix(predicted, true, len(names))


def worst(rows: Sequence[Row], count: int) -> list[int]:
    """Indices of the samples with the lowest IoU; of equals the one with the most wrong pixels is worse."""

    def quality(index: int) -> tuple[float, int]:
        row = rows[index]
        return row["iou"], -(row["false_positive"] + row["false_negative"])

    return sorted(range(len(rows)), key=quality)[:count]


def _bin(factor: str, rows: Sequence[Row]) -> Bin:
    values = np.array([row[factor] for row in rows], dtype=float)
    ious = np.array([row["iou"] for row in rows], dtype=float)
    true, alarms, missed = (
        sum(row[name] for row in rows) for name in ("true_positive", "false_positive", "false_negative")
    )
    iou = estimate(ious, [row.get("group") or row["id"] for row in rows]).of_share()
    return Bin(
        factor=factor,
        low=float(values[0]),
        high=float(values[-1]),
        middle=float(np.median(values)),
        samples=len(rows),
        iou=iou.mean,
        iou_low=iou.low,
        iou_high=iou.high,
        over_segmentation=alarms / (true + missed),
        under_segmentation=missed / (true + missed),
    )
