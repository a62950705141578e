"""The threshold of ``birdlab.predict --boxes``, as validation data choose it where their truth is boxes."""

import numpy as np
import torch

from birdlab.data.segmentation import SegmentationData
from birdlab.prediction.finding import box_cells
from birdlab.prediction.restoring import restored
from birdlab.run import Run
from birdlab.tasks import SegmentationTask
from birdlab.tasks.segmentation import to_native

THRESHOLDS = tuple(percent / 100 for percent in range(5, 100, 5))
"""Of probabilities as they are reported."""


def box_threshold(run: Run, data: SegmentationData) -> float | None:
    """The threshold whose boxes overlap best with the truth of validation data.

    It isn't that of the mask: boxes are drawn around what is marked, and hold more than it.

    Args:
        run: its best epoch predicts.
        data: what it was validated on.

    Returns:
        One of `THRESHOLDS`, that of the highest mean IoU of the samples whose truth is boxes; None if there
        are none.
    """
    boxed = {sample.id for sample in data.splits["val"] if data.source.in_boxes(sample)}
    if not boxed:
        return None
    task, _, _ = restored(run.directory, SegmentationTask, trust=True)
    grid = data.source.spectrogram
    rows = grid.one_sided().rows  # the last ones of two-sided masks
    overlaps = []
    for batch in data.native_dataloader("val"):
        with torch.inference_mode():
            logits = task.logits(batch["image"].to(task.device)).float().cpu()
            each = [task.calibrated(one) for one in to_native(logits, batch["native_mask"])]
        for id, probabilities, mask in zip(batch["id"], each, batch["native_mask"], strict=True):
            if id in boxed:
                found, truth = probabilities[-rows:].numpy(), mask[-rows:].numpy() != 0
                overlaps.append([_iou(box_cells(found, grid, at), truth) for at in THRESHOLDS])
    return THRESHOLDS[int(np.argmax(np.mean(overlaps, axis=0)))]


def _iou(found: np.ndarray, truth: np.ndarray) -> float:
    either = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / either if either else 1.0
