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
    _, *earlier = lineage(run)
    of_earlier = (each.recordings("train", "val") for each in earlier)
    return run.recordings(*(splits or ("train", "val"))).union(*of_earlier)


def augmented_with(run: Run) -> set[Path]:
    """Folders of noise that a run, and those it goes on from, were augmented with, where they say they were.

    Raises:
        BirdlabError: if a config is damaged.
    """
    named = (OmegaConf.select(_read(each), "augment.noise") for each in lineage(run))
    return {Path(str(noise)).expanduser().resolve() for noise in named if noise}


def lineage(run: Run) -> list[Run]:
    """A run, and all that its network goes on from; some may be no runs, or be gone."""
    found: dict[Path, Run] = {}
    waiting = [run]
    while waiting:
        each = waiting.pop()
        # A config from elsewhere may name itself.
        if each.directory not in found:
            found[each.directory] = each
            waiting += [before for _, before in runs_before(_read(each))]
    return list(found.values())


def _read(run: Run) -> DictConfig:
    """Its config, of which nothing is built; empty where there is none."""
    return run.config(trust=True) if run.config_file.is_file() else OmegaConf.create()
