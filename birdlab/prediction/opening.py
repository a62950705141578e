"""Which kind of network a path is: a run directory, or what ``birdlab.export`` or ``birdlab.probe`` wrote."""

from collections.abc import Sequence
from pathlib import Path

from birdlab.errors import BirdlabError
from birdlab.prediction.ensemble import Ensemble
from birdlab.prediction.naming import Namer
from birdlab.prediction.network import Network


def open_network(path: Path, *, trust: bool = False, threads: int | None = None) -> Network:
    """A network that marks birds.

    Args:
        path: of a run directory, or of an exported file.
        trust: build what birdlab doesn't ship, too; a file holds no programs.
        threads: of each call, for the whole process; None leaves it to the library behind.

    Raises:
        BirdlabError: if there is none, or not of this task.
    """
    if _is_head(path):
        raise BirdlabError(
            f"{path} names species and marks nothing: give it as --species, or to birdlab.load(species=)."
        )
    if path.is_file():
        from birdlab.prediction.onnx_network import OnnxNetwork

        return OnnxNetwork.open(path, threads=threads)
    # A file's network doesn't need torch.
    from birdlab.prediction.run_network import RunNetwork

    return RunNetwork.open(path, trust=trust, threads=threads)


def open_together(paths: Sequence[Path], *, trust: bool = False) -> Network:
    """A network, or several that are averaged; see `open_network` and `Ensemble`.

    Raises:
        BirdlabError: if one can't be opened or is given twice, or they don't fit together.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        given = ", ".join(map(str, paths))
        raise BirdlabError(f"{given}: one is given twice, and would count twice. Give each of them once.")
    networks = {str(path): open_network(path, trust=trust) for path in paths}
    return networks[str(paths[0])] if len(paths) == 1 else Ensemble(networks)


def open_any(path: Path, *, trust: bool = False, threads: int | None = None) -> Network | Namer:
    """A network of either kind; see `open_network`."""
    if _is_head(path):
        return open_namer(path, trust=trust)
    if path.is_file():
        from birdlab.prediction.onnx_network import open_file

        return open_file(path, threads=threads)
    from birdlab.prediction.restoring import names_species

    opener = open_namer if names_species(path, trust=trust) else open_network
    return opener(path, trust=trust, threads=threads)


def open_namer(path: Path, *, trust: bool = False, threads: int | None = None) -> Namer:
    """A network that names species, or a head on embeddings (`KeptHead`); see `open_network`."""
    if _is_head(path):
        from birdlab.probing.kept_head import KeptHead

        return KeptHead.open(path, trust=trust)
    if path.is_file():
        from birdlab.prediction.onnx_network import OnnxNamer

        return OnnxNamer.open(path, threads=threads)
    from birdlab.prediction.restoring import marks_and_names
    from birdlab.prediction.run_callers import RunCallers
    from birdlab.prediction.run_species import RunNamer

    opener = RunCallers if marks_and_names(path, trust=trust) else RunNamer
    return opener.open(path, trust=trust, threads=threads)


def own_namer(network: Network) -> Namer | None:
    """What a network that marks birds says of who is heard; None if it hasn't learnt to.

    A file holds the marks alone, and of several networks nobody's names count more than the others'.
    """
    if not hasattr(network, "task"):  # without torch
        return None
    from birdlab.prediction.run_callers import RunCallers
    from birdlab.prediction.run_network import RunNetwork

    return RunCallers.of(network) if isinstance(network, RunNetwork) else None


def _is_head(path: Path) -> bool:
    return path.suffix == ".npz" and path.is_file()
