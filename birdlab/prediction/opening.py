"""Which kind of network a path is."""

from pathlib import Path

from birdlab.prediction.network import Network


def open_network(path: Path, *, trust: bool = False) -> Network:
    """The network of a run directory.

    Raises:
        BirdlabError: if there is none, or not of this task.
    """
    # Other kinds of networks don't need torch.
    from birdlab.prediction.run_network import RunNetwork

    return RunNetwork.open(path, trust=trust)
