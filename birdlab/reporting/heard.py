"""Who is heard in each sample of ``scores.csv``, and how likely each species was said to be."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch

from birdlab.metrics.classification import log_odds
from birdlab.metrics.resampled import RankedOnce

SAID = "p_"
"""Before a species' name: the column of its probability."""
ROUNDING = 1e-4
"""Of probabilities in CSV files; those of one species among several sum to 1 but for it."""


def ranked(rows: Sequence[Mapping[str, str]], temperature: float = 1.0) -> RankedOnce | None:
    """Samples by how likely each species was called, for average precision and ROC-AUC as in training.

    Args:
        rows: ``label``, and a probability of each species.
        temperature: by which the logits were divided; scores of one run are of logits as they are.

    Returns:
        None where rows don't say, or it can't be told who is heard.
    """
    names = [column.removeprefix(SAID) for column in (rows[0] if rows else {}) if column.startswith(SAID)]
    heard = [_heard(row["label"], names) if "label" in row else None for row in rows]
    try:
        said = np.array([[float(row[SAID + name]) for name in names] for row in rows])
    except (KeyError, ValueError):
        return None
    if not names or any(each is None for each in heard):
        return None
    if np.abs(said.sum(axis=1) - 1).max() < ROUNDING * len(names):  # one of them sings
        said = log_odds(temperature * torch.from_numpy(said).log()).numpy()
    return RankedOnce(said, np.array([[name in (each or ()) for name in names] for each in heard]))


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
