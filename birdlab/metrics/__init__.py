"""One definition of every score, used by tasks, evaluation and reports alike."""

from birdlab.metrics.calibration import (
    REPORTED_THRESHOLDS,
    CoverageCurve,
    LogitHistogram,
    Reliability,
    ReliabilityCurve,
    scaled,
    species_temperature,
)
from birdlab.metrics.classification import WITHIN, SpeciesScores, within_origin
from birdlab.metrics.rows import MeanLoss
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
    "REPORTED_THRESHOLDS",
    "THRESHOLDS",
    "WITHIN",
    "Counts",
    "CoverageCurve",
    "LegacyIoU",
    "LogitHistogram",
    "MeanLoss",
    "Reliability",
    "ReliabilityCurve",
    "SegmentationScores",
    "SpeciesScores",
    "foreground",
    "scaled",
    "species_temperature",
    "summarise",
    "threshold_logit",
    "within_origin",
]
