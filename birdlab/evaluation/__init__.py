"""Networks beside their references: one module for each task."""

from birdlab.evaluation import segmentation, species
from birdlab.evaluation.result import Evaluation, compared, score

__all__ = ["Evaluation", "compared", "score", "segmentation", "species"]
