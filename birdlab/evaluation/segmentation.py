"""Masks beside an energy threshold, doing nothing, and the ceilings."""

from collections.abc import Mapping
from typing import Any

import torch

from birdlab.audio.spectrogram import Spectrogram
from birdlab.baselines import EnergyThreshold, hand_coarsened, through_network_size
from birdlab.data.module import SourceData
from birdlab.data.segmentation import SegmentationData
from birdlab.data.source import Split
from birdlab.evaluation.result import Evaluation, compared, sample_table
from birdlab.metrics import SegmentationScores
from birdlab.tasks.base import Scores, Tested
from birdlab.tasks.segmentation import foreground_logits, to_native

REFERENCES = ("energy threshold", "do nothing", "ceiling of resizing", "hand-coarsened truth")

SHOWN = {
    "iou": "IoU",
    "iou_present": "present",
    "absent_unmarked": "absent",
    "iou_pooled": "pooled",
    "iou_two_class": "2-class",
    "dice": "Dice",
    "precision": "prec.",
    "recall": "recall",
    "accuracy": "acc.",
    "callers_average_precision": "names: mean AP",
    "callers_roc_auc": "names: ROC-AUC",
    "callers_micro_f1": "names: micro F1",
}
"""Headings by score; the last ones are of networks that say who is heard, too."""
BIRD_FREE = ("iou_present", "absent_unmarked")
"""What `iou` comes of, where some images hold no bird: the IoU of the others, and how many stay unmarked."""


@compared.register
def _(data: SegmentationData, tested: Tested, split: Split, own: SourceData | None) -> Evaluation:
    validation = data if data.splits["val"] else own
    assert isinstance(validation, SegmentationData | None)
    return Evaluation(
        split=split,
        title=f"Scores on the {split} split, at the resolution of the masks",
        columns={
            name: heading
            for name, heading in SHOWN.items()
            if name in tested.scores and (tested.scores["empty_images"] or name not in BIRD_FREE)
        },
        network=tested.scores,
        network_tuned=tested.tuned,
        threshold=tested.threshold,
        temperature=tested.temperature,
        references=reference_scores(data, split, validation),
        samples=samples_with_calls(data, tested, split),
    )


def samples_with_calls(data: SegmentationData, tested: Tested, split: Split) -> list[dict[str, Any]]:
    """`sample_table`, the columns of a mask that hold a call being seconds: ``call_s``."""
    column_s = Spectrogram.hop / data.source.sample_rate
    table = sample_table(data, tested, split)
    return [row | {"call_s": row.pop("call_columns") * column_s} for row in table]


def reference_scores(
    data: SegmentationData, split: Split, validation: SegmentationData | None
) -> dict[str, Scores]:
    """What every network stands beside: nothing, an energy threshold, and the ceilings.

    The energy threshold sees what the network sees, and its threshold is chosen on validation data in the
    same way; it is left out where there are none.
    """
    size = data.source.image_size
    energy = EnergyThreshold(data.source.picture)
    thresholds = dict.fromkeys(REFERENCES, 0.5)
    if validation is None:
        del thresholds["energy threshold"]
    else:
        on_validation = SegmentationScores()
        for batch in validation.val_dataloader():
            on_validation.update(foreground_logits(energy(_images(batch))), batch["mask"])
        thresholds["energy threshold"] = on_validation.best_threshold()

    scores = {name: SegmentationScores() for name in thresholds}
    for batch in data.native_dataloader(split):
        native = batch["native_mask"]
        found = {
            "do nothing": [_as_logits(torch.zeros_like(mask)) for mask in native],
            "ceiling of resizing": [_as_logits(through_network_size(mask, size)) for mask in native],
            "hand-coarsened truth": [_as_logits(hand_coarsened(mask)) for mask in native],
        }
        if validation is not None:
            found["energy threshold"] = to_native(foreground_logits(energy(_images(batch))), native)
        for name, logits in found.items():
            scores[name].update(logits, native)
    return {name: score.scores(thresholds[name]) for name, score in scores.items()}


def _images(batch: Mapping[str, Any]) -> torch.Tensor:
    image: torch.Tensor = batch["image"]
    return image.unsqueeze(1) / 255


def _as_logits(mask: torch.Tensor) -> torch.Tensor:
    return mask.float() * 2 - 1
