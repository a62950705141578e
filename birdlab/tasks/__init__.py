"""The tasks: LightningModules on one small base."""

from birdlab.tasks.base import Task
from birdlab.tasks.classification import ClassificationTask
from birdlab.tasks.multitask import MultitaskTask
from birdlab.tasks.segmentation import SegmentationTask

__all__ = ["ClassificationTask", "MultitaskTask", "SegmentationTask", "Task"]
