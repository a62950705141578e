"""One definition of every score, used by tasks, evaluation and reports alike."""

from birdlab.metrics.calibration import Reliability, ReliabilityCurve
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
    "Reliability",
    "ReliabilityCurve",
    "SegmentationScores",
    "foreground",
    "summarise",
    "threshold_logit",
]
