"""What a network has heard before it is tested: recordings of its run, and of runs that it goes on from."""

from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from birdlab.run import Run

STARTS = ("start_from", "model.weights")
"""Keys of a config that may say which run, or file, its network starts from."""


def runs_before(cfg: DictConfig) -> Iterator[tuple[str, Run]]:
    """The runs that a config's network starts from, each with the key that says so; some may be no runs."""
    for key in STARTS:
        if start := OmegaConf.select(cfg, key):
            yield from ((key, run) for run in runs_at(Path(str(start))))


def runs_at(weights: Path) -> list[Run]:
    """The runs that weights may be of: a run directory, or a file in its checkpoints."""
    path = weights.expanduser()
    return [Run(folder) for folder in (path, *path.parents[:2])]


def trained_on(run: Run, *splits: str) -> set[str]:
    """Recordings of training and validation (`Run.recordings`), of a run and of those it goes on from.

    As far as they say, and are still where they were.

    Args:
        run: the run.
        splits: which of its own; training and validation by default. Of those before it, both count.

    Raises:
        BirdlabError: if a config is damaged.
    """
    found = run.recordings(*(splits or ("train", "val")))
    waiting, seen = _before(run), {run.directory}
    while waiting:
        run = waiting.pop()
        # A config from elsewhere may name itself.
        if run.directory in seen:
            continue
        seen.add(run.directory)
        found |= run.recordings("train", "val")
        waiting += _before(run)
    return found


def _before(run: Run) -> list[Run]:
    if not run.config_file.is_file():
        return []
    # Nothing is built from it.
    return [before for _, before in runs_before(run.config(trust=True))]
