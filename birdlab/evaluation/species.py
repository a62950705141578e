"""Species beside the commonest one, and beside what can be known without hearing the bird."""

from typing import Any

import torch
from torch import Tensor

from birdlab.data.classification import ClassificationData
from birdlab.data.module import SourceData
from birdlab.data.source import Split
from birdlab.evaluation.result import Evaluation, compared, sample_table
from birdlab.metrics import WITHIN, SpeciesScores, within_origin
from birdlab.shortcuts import LoudnessBandwidthLength, origins_of, origins_of_species, targets_of
from birdlab.tasks.base import Scores, Tested
from birdlab.tasks.classification import probability_columns

SINGLE = {
    "accuracy": "acc.",
    "balanced_accuracy": "balanced",
    "macro_f1": "macro F1",
    "average_precision": "mean AP",
    "roc_auc": "ROC-AUC",
}
MULTI = {
    "average_precision": "mean AP",
    "roc_auc": "ROC-AUC",
    "micro_f1": "micro F1",
    "row_f1": "row F1",
}


@compared.register
def _(data: ClassificationData, tested: Tested, split: Split, own: SourceData | None) -> Evaluation:
    fitted = data if data.splits["train"] else own
    assert isinstance(fitted, ClassificationData | None)
    samples = sample_table(data, tested, split)
    # The rows keep probabilities, whose order within a recording is that of the logits.
    network = torch.tensor([[row[f"p_{name}"] for name in data.names] for row in samples])
    references = {} if fitted is None else reference_logits(data, split, fitted)
    tested_scores = tested.scores | _within(network, data, split)
    columns = MULTI if data.source.multilabel else SINGLE
    collections = [name for name in tested_scores if name.startswith(WITHIN)]
    return Evaluation(
        split=split,
        title=f"Scores on the {split} split, {len(samples)} recordings of {len(data.names)} species",
        columns=columns | {name: f"in {name.removeprefix(WITHIN)}" for name in collections},
        network=tested_scores,
        references={name: _scores(logits, data, split) for name, logits in references.items()},
        samples=samples,
        reference_samples=[
            row for name, logits in references.items() for row in _rows(name, logits, data, split)
        ],
        temperature=tested.temperature,
        confidence=tested.confidence,
    )


def reference_logits(data: ClassificationData, split: Split, own: ClassificationData) -> dict[str, Tensor]:
    """What every network stands beside, logits [N, K] by name; none without training recordings to fit on.

    ``commonest species`` always names the one with most training recordings (within a collection, the one of
    its species), and ranks no recording above another: in a balanced data set that is chance.
    """
    if not own.splits["train"]:
        return {}
    prevalence = targets_of(own, "train").mean(dim=0)
    count = len(data.samples(split))
    shares = prevalence.clamp(1e-6, 1 - 1e-6)
    constant = shares.logit() if data.source.multilabel else shares.log()
    return {
        "commonest species": constant.float().expand(count, -1),
        "loudness, bandwidth, length": LoudnessBandwidthLength().fit(own).predict(data, split),
    }


def _rows(name: str, logits: Tensor, data: ClassificationData, split: Split) -> list[dict[str, Any]]:
    said = logits.sigmoid() if data.source.multilabel else logits.softmax(dim=1)
    return [
        {"reference": name, "id": sample.id} | probability_columns(data.names, each)
        for sample, each in zip(data.samples(split), said, strict=True)
    ]


def _scores(logits: Tensor, data: ClassificationData, split: Split) -> Scores:
    scores = SpeciesScores(len(data.names), multilabel=data.source.multilabel)
    scores.update(logits, targets_of(data, split))
    return scores.compute() | _within(logits, data, split)


def _within(logits: Tensor, data: ClassificationData, split: Split) -> Scores:
    if data.source.multilabel:
        return {}
    labels = targets_of(data, split).argmax(dim=1)
    if len(logits) != len(labels):  # a few batches only, as with debug=fast
        return {}
    found = within_origin(logits, labels, origins_of(data, split), origins_of_species(data))
    return {f"{WITHIN}{origin}": value for origin, value in found.items()}
