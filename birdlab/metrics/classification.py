"""The one definition of every score of species, used by tasks, evaluation, baselines and reports alike.

One label for each recording (C is the confusion matrix, rows the truth):

| score               | definition                                                                        |
|---------------------|-----------------------------------------------------------------------------------|
| `accuracy`          | share of the recordings whose largest logit is that of their species              |
| `balanced_accuracy` | mean over species of the share C_kk / row k that is found (recall)                |
| `macro_f1`          | mean over species of 2 C_kk / (row k + column k)                                  |
| `average_precision` | mean over species of the area under precision over recall, each against the rest  |
| `roc_auc`           | mean over species of the probability that a recording of it ranks above another   |

Several species for each recording, of which those with a share above 0 are there:

| score               | definition                                                                        |
|---------------------|-----------------------------------------------------------------------------------|
| `average_precision` | as above                                                                          |
| `roc_auc`           | as above                                                                          |
| `micro_f1`          | 2 TP / (2 TP + FP + FN), counted over all recordings and species at a probability |
|                     | of .5; `nocall` is one more species, which is there where no other one is         |
| `row_f1`            | the same of each recording, averaged: the score of BirdCLEF 2021                  |

A species that isn't among the truth can't be found: recall, average precision and ROC-AUC leave it out of
their means, ROC-AUC one that is everywhere, too. F1 is 0 for one that is predicted all the same, and is left
out if it is neither there nor predicted. (All this is what scikit-learn does.) A mean over nothing is NaN.
Recordings are ranked by softmax in float64, in multi-label mode by their logits; equal ones share a rank.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from birdlab.metrics.rows import Rows

WITHIN = "accuracy_within_"
"""Followed by a collection, the name of the score that `within_origin` finds."""


class SpeciesScores(Rows):
    """Scores of a data set from one pass over its recordings; keeps logits and truth of each.

    Neither the batch size nor the number of processes changes a score.

    Args:
        classes: K, the number of species.
        multilabel: whether recordings hold several species.
    """

    def __init__(self, classes: int, *, multilabel: bool = False) -> None:
        super().__init__(2, classes, dtype=torch.float32)
        self.classes = classes
        self.multilabel = multilabel

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Keep one batch.

        Args:
            logits: [B, K], any floating dtype.
            label: int64 [B], or shares of species [B, K].

        Raises:
            ValueError: if the shapes don't fit.
        """
        truth = shares(label, self.classes)
        if logits.shape != truth.shape:
            raise ValueError(
                f"Logits {tuple(logits.shape)} and truth {tuple(truth.shape)} differ in shape: the network "
                f"has to return {self.classes} logits for each recording."
            )
        self.rows.append(torch.stack([logits.float(), truth], dim=1))

    def compute(self) -> dict[str, float]:
        """The scores by name, and the number of ``recordings``."""
        logits, truth = self.logits_and_truth()
        score = multi_label_scores if self.multilabel else single_label_scores
        return score(logits, truth) | {"recordings": len(logits)}

    def logits_and_truth(self) -> tuple[Tensor, Tensor]:
        """Logits and shares of species, float32 [N, K] both, on the CPU, in order, process after process."""
        logits, truth = self.gathered().unbind(1)
        return logits, truth


def shares(label: Tensor, classes: int) -> Tensor:
    """Shares of species float32 [B, K] from labels int64 [B], or as they are."""
    return F.one_hot(label, classes).float() if label.ndim == 1 else label.float()


def single_label_scores(logits: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores where each recording has one species.

    Args:
        logits: [N, K].
        truth: shares [N, K]; the largest is the label.
    """
    confusion = confusion_matrix(logits.argmax(dim=1), truth.argmax(dim=1), logits.shape[1]).double()
    found, true, predicted = confusion.diagonal(), confusion.sum(dim=1), confusion.sum(dim=0)
    return {
        "accuracy": (found.sum() / confusion.sum()).item(),
        "balanced_accuracy": (found / true).nanmean().item(),
        "macro_f1": (2 * found / (true + predicted)).nanmean().item(),
    } | _ranked(log_odds(logits.double()), truth == truth.amax(dim=1, keepdim=True))


def multi_label_scores(logits: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores where each recording has any number of species.

    Args:
        logits: [N, K].
        truth: shares [N, K]; those above 0 are there.
    """
    hits, wrong = (count.double() for count in hits_and_errors(logits, truth))
    return {
        "micro_f1": (2 * hits.sum() / (2 * hits.sum() + wrong.sum())).item(),
        "row_f1": (2 * hits / (2 * hits + wrong)).mean().item(),
    } | _ranked(logits.double(), truth > 0)


def hits_and_errors(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Of each recording how many species are found, and how many are missed or made up: int64 [N] both.

    Args:
        logits: [N, K]; those above 0 are said.
        truth: shares [N, K]; those above 0 are there. Nobody counts as one more species.
    """
    there, said = _with_nobody(truth > 0), _with_nobody(logits > 0)
    return (there & said).sum(dim=1), (there ^ said).sum(dim=1)


def log_odds(logits: Tensor) -> Tensor:
    """Of each of K exclusive classes against all others, from logits [N, K]; -inf and inf where there is one.

    It orders recordings as the probabilities do, but doesn't round those near 1 to 1.
    """
    whole = logits.logsumexp(dim=1, keepdim=True)
    against = whole + torch.log1p(-(logits - whole).exp())  # which loses all digits of the largest
    top = logits.argmax(dim=1, keepdim=True)
    rest = logits.scatter(1, top, -torch.inf).logsumexp(dim=1, keepdim=True)
    against = against.scatter(1, top, rest)
    # The same logits in another order may differ in their last digit.
    return (logits - against).round(decimals=9)


def confusion_matrix(predicted: Tensor, true: Tensor, classes: int) -> Tensor:
    """Recordings by true species (rows) and predicted species (columns), int64 [K, K]."""
    return (true * classes + predicted).bincount(minlength=classes**2).view(classes, classes)


def average_precision(score: Tensor, truth: Tensor) -> Tensor:
    """Area under precision over recall of each species, NaN for one that isn't there: float64 [K].

    The sum over distinct scores, highest first, of precision times what recall gains (not interpolated).

    Args:
        score: [N, K]; only its order matters.
        truth: bool [N, K].
    """
    return _of_each_species(_average_precision, score, truth)


def roc_auc(score: Tensor, truth: Tensor) -> Tensor:
    """Probability that a recording with the species ranks above one without it, float64 [K].

    Equal scores count half; NaN for a species that is nowhere or everywhere.

    Args:
        score: [N, K]; only its order matters.
        truth: bool [N, K].
    """
    return _of_each_species(_roc_auc, score, truth)


def _average_precision(score: Tensor, truth: Tensor) -> Tensor:
    order = score.argsort(descending=True)
    score, hits = score[order], truth[order].cumsum(0).double()
    # Equal scores are taken together.
    last = torch.cat([score[1:] != score[:-1], torch.ones(1, dtype=torch.bool)]).nonzero()[:, 0]
    recall = hits[last] / hits[-1]
    precision = hits[last] / (last + 1)
    return (precision * recall.diff(prepend=recall.new_zeros(1))).sum()


def _roc_auc(score: Tensor, truth: Tensor) -> Tensor:
    index, counts = torch.unique(score, return_inverse=True, return_counts=True)[1:]
    # The mean rank of equal scores, from 1 for the lowest; then Mann & Whitney's U.
    rank = (counts.cumsum(0) - (counts - 1) / 2).double()[index]
    there = truth.sum().double()
    above: Tensor = rank[truth].sum() - there * (there + 1) / 2
    return above / (there * (len(truth) - there))


def _of_each_species(of: Callable[[Tensor, Tensor], Tensor], score: Tensor, truth: Tensor) -> Tensor:
    return torch.stack([of(each, true) for each, true in zip(score.T, truth.T, strict=True)])


def _ranked(score: Tensor, truth: Tensor) -> dict[str, float]:
    return {
        "average_precision": average_precision(score, truth).nanmean().item(),
        "roc_auc": roc_auc(score, truth).nanmean().item(),
    }


def _with_nobody(there: Tensor) -> Tensor:
    """One more column [N, K + 1] that is true where no other one is."""
    return torch.cat([there, ~there.any(dim=1, keepdim=True)], dim=1)


def within_origin(
    logits: Tensor, labels: Tensor, origins: Sequence[str], origins_of: Sequence[Collection[str]]
) -> dict[str, float]:
    """Accuracy among the species of one collection, for samples of that collection.

    The species of other collections are ruled out first, so that knowing the collection alone is worth
    nothing.

    Args:
        logits: [N, K].
        labels: int64 [N].
        origins: of each sample.
        origins_of: the collections that each species is in.

    Returns:
        Accuracy by collection; nothing for samples without one.
    """
    accuracy = {}
    for origin in sorted({each for each in origins if each}):
        rows = torch.tensor([each == origin for each in origins])
        mine = torch.tensor([origin in each for each in origins_of])
        guess = logits[rows].masked_fill(~mine, -torch.inf).argmax(dim=1)
        accuracy[origin] = float((guess == labels[rows]).double().mean())
    return accuracy
