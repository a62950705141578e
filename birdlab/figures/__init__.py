"""The figures of a study: pure functions that return matplotlib Figures, and ``save``."""

from birdlab.figures.charts import (
    confusion_matrix,
    foreground_histogram,
    learning_curves,
    threshold_curve,
)
from birdlab.figures.errors import accuracy_by_coverage, error_analysis, reliability_diagram
from birdlab.figures.gallery import write_gallery
from birdlab.figures.spectrograms import augmentation_draws, example_pairs, prediction_panels
from birdlab.figures.style import Extent, save, save_for_paper

__all__ = [
    "Extent",
    "accuracy_by_coverage",
    "augmentation_draws",
    "confusion_matrix",
    "error_analysis",
    "example_pairs",
    "foreground_histogram",
    "learning_curves",
    "prediction_panels",
    "reliability_diagram",
    "save",
    "save_for_paper",
    "threshold_curve",
    "write_gallery",
]
