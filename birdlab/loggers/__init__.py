"""Where metrics go: a table in the run directory, and Weights & Biases."""

from birdlab.loggers.history import History, read_history
from birdlab.loggers.wandb import WandB

__all__ = ["History", "WandB", "read_history"]
