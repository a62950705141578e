"""Who is heard in each sample of ``scores.csv``, and how likely each species was said to be."""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from birdlab.metrics.classification import log_odds
from birdlab.metrics.resampled import RankedOnce
from birdlab.significance import Statistic

_SAID = "p_"
"""Before a species' name: the column of its probability."""
_ROUNDING = 1e-4
"""Of probabilities in CSV files; those of one species among several sum to 1 but for it."""


def names_in(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The K species that probabilities are given of."""
    return [column.removeprefix(_SAID) for column in (rows[0] if rows else {}) if column.startswith(_SAID)]


def probabilities(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> NDArray[np.float64]:
    """Of each species in each sample, [N, K].

    Raises:
        KeyError, ValueError: where one isn't given.
    """
    return np.array([[float(row[_SAID + name]) for name in names] for row in rows])


def one_each(said: NDArray[np.float64]) -> bool:
    """Whether probabilities [N, K] are of one species of each sample: they sum to 1."""
    return bool(np.abs(said.sum(axis=1) - 1).max() < _ROUNDING * said.shape[1])


def ranked(rows: Sequence[Mapping[str, str]], temperature: float = 1.0) -> RankedOnce | None:
    """Samples by how likely each species was called, for average precision and ROC-AUC as in training.

    Args:
        rows: ``label``, and a probability of each species.
        temperature: by which the logits were divided; scores of one run are of logits as they are.

    Returns:
        None where rows don't say, or it can't be told who is heard.
    """
    names = names_in(rows)
    heard = [_heard(row["label"], names) if "label" in row else None for row in rows]
    try:
        said = probabilities(rows, names)
    except (KeyError, ValueError):
        return None
    if not names or any(each is None for each in heard):
        return None
    if one_each(said):
        said = log_odds(temperature * torch.from_numpy(said).log()).numpy()
    return RankedOnce(said, np.array([[name in (each or ()) for name in names] for each in heard]))


def callers_micro_f1(rows: Sequence[Mapping[str, str]]) -> Statistic | None:
    """Micro F1 of who is heard beside a mask, of some of these samples; None where rows don't say.

    Args:
        rows: how many names of each sample are right, and how many wrong or missing.
    """
    columns = ("callers_right", "callers_wrong")
    if not rows or not all({*columns} <= row.keys() for row in rows):
        return None
    right, wrong = (np.array([int(row[column]) for row in rows]) for column in columns)

    def statistic(places: NDArray[np.intp]) -> float:
        hits = 2 * right[places].sum()
        named = hits + wrong[places].sum()
        return float(hits / named) if named else math.nan

    return statistic


def _heard(label: str, names: Sequence[str]) -> Collection[str] | None:
    """The species of a label: one, or several in the order of ``names`` with spaces between; else None."""
    if label in (*names, "nocall"):
        return {label}
    found, rest = set(), label
    for name in names:
        if rest == name or rest.startswith(f"{name} "):
            found.add(name)
            rest = rest[len(name) + 1 :]
    return None if rest else found
