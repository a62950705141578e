"""One definition of every score, used by tasks, evaluation and reports alike."""

from birdlab.metrics.segmentation import (
    PER_IMAGE,
    THRESHOLDS,
    Counts,
    LegacyIoU,
    SegmentationScores,
    foreground,
    summarise,
    threshold_logit,
)

__all__ = [
    "PER_IMAGE",
    "THRESHOLDS",
    "Counts",
    "LegacyIoU",
    "SegmentationScores",
    "foreground",
    "summarise",
    "threshold_logit",
]
