"""Which kind of network a path is."""

from pathlib import Path

from birdlab.prediction.network import Network


def open_network(path: Path, *, trust: bool = False, threads: int | None = None) -> Network:
    """The network of a run directory.

    Args:
        path: of the run.
        trust: build what birdlab doesn't ship, too.
        threads: of each call, for the whole process; None leaves it to the library behind.

    Raises:
        BirdlabError: if there is none, or not of this task.
    """
    # Other kinds of networks don't need torch.
    from birdlab.prediction.run_network import RunNetwork

    return RunNetwork.open(path, trust=trust, threads=threads)
