"""The task of a run directory at its best epoch, ready to predict."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from omegaconf import DictConfig, OmegaConf

from birdlab import config
from birdlab.build import build_task
from birdlab.errors import BirdlabError
from birdlab.run import Run
from birdlab.tasks import ClassificationTask, SegmentationTask, Task

T = TypeVar("T", bound=Task)

_MEANT = {
    SegmentationTask: (
        "marking birds needs a run of task=segmentation (one of species goes to --species, or "
        "birdlab.load_species)"
    ),
    ClassificationTask: "naming species needs a run of task=classification or task=multitask",
}


def names_species(directory: Path, *, trust: bool = False) -> bool:
    """Whether a run names species and marks nothing; see `restored`."""
    return config.names_species(Run.open(directory).config(trust=trust))


def marks_and_names(directory: Path, *, trust: bool = False) -> bool:
    """Whether a run marks birds and says who is heard; see `restored`."""
    return config.marks_and_names(Run.open(directory).config(trust=trust))


def restored(directory: Path, kind: type[T], *, trust: bool = False) -> tuple[T, DictConfig, dict[str, Any]]:
    """Rebuild a task with the weights of its best epoch, in evaluation mode on the GPU if there is one.

    Args:
        directory: of the run.
        kind: of the task.
        trust: build what birdlab doesn't ship, too.

    Returns:
        The task, the run's config and the content of the checkpoint.

    Raises:
        BirdlabError: if the directory is no run, has no checkpoint, or was trained for another task.
    """
    run = Run.open(directory)
    cfg = run.config(trust=trust)
    found = str(OmegaConf.select(cfg, "task.module._target_")).rsplit(".", 1)[-1]
    if found not in {each.__name__ for each in (kind, *kind.__subclasses__())}:
        raise BirdlabError(f"{directory} was trained for another task ({found}): {_MEANT[kind]}.")
    content = run.checkpoint(run.best)
    task = build_task(cfg, pretrained=False)
    assert isinstance(task, kind)
    task.load_checkpoint(content, str(run.best))
    return task.eval().to("cuda" if torch.cuda.is_available() else "cpu"), cfg, content
