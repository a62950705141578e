"""One definition of every score, used by tasks, evaluation and reports alike."""

from birdlab.metrics.segmentation import (
    THRESHOLDS,
    Counts,
    LegacyIoU,
    MeanLoss,
    SegmentationScores,
    foreground,
    summarise,
    threshold_logit,
)

__all__ = [
    "THRESHOLDS",
    "Counts",
    "LegacyIoU",
    "MeanLoss",
    "SegmentationScores",
    "foreground",
    "summarise",
    "threshold_logit",
]
