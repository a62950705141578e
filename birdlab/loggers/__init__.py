"""Where metrics go: a table in the run directory, and Weights & Biases."""

from birdlab.loggers.history import History, read_history
from birdlab.loggers.wandb import WandB, logged_in

__all__ = ["History", "WandB", "logged_in", "read_history"]
