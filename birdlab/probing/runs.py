"""birdlab's own runs as backbones: what their networks know before the last layer."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from birdlab import config
from birdlab.errors import BirdlabError
from birdlab.models.classifier import head_inputs
from birdlab.prediction.run_network import RunNetwork
from birdlab.prediction.run_species import RunNamer
from birdlab.probing.backbone import Audio, Backbone, Embeddings
from birdlab.run import Run
from birdlab.trained_on import trained_on


def of_run(directory: Path, *, trust: bool = False) -> Backbone:
    """The backbone that a run's best epoch is, of either task.

    Args:
        directory: of the run.
        trust: build what birdlab doesn't ship, too.

    Raises:
        BirdlabError: if the directory is no run or has no checkpoint.
    """
    run = Run.open(directory)
    heard = frozenset(trained_on(run))
    if config.names_species(run.config(trust=trust)):
        return SpeciesRun(RunNamer.open(directory, trust=trust), heard)
    return SegmentationRun(RunNetwork.open(directory, trust=trust), heard)


class SpeciesRun:
    """What reaches the last layer of a network that names species; see `Backbone`.

    A window is a stack. Where the network looks at segments one by one, their mean.
    """

    licence = ""

    def __init__(self, namer: RunNamer, heard: frozenset[str] = frozenset()) -> None:
        self._namer, self.heard = namer, heard
        self.name = f"species run {namer.name}"
        self.sample_rate, self.seconds = namer.sample_rate, namer.seconds

    def embed(self, windows: Audio) -> Embeddings:
        """See `Backbone.embed`."""
        return np.stack([self._of(window) for window in windows])

    def _of(self, window: Audio) -> Embeddings:
        with head_inputs(self._namer.task.net) as seen:
            self._namer.scores(window)
        made: Embeddings = seen[0].float().mean(dim=0).cpu().numpy()
        return made


class SegmentationRun:
    """What the encoder of a network that marks birds ends in, its mean over the image; see `Backbone`.

    Raises:
        BirdlabError: if the network has no ``encoder``.
    """

    licence = ""

    def __init__(self, network: RunNetwork, heard: frozenset[str] = frozenset()) -> None:
        self._network, self.heard = network, heard
        self.name = f"segmentation run {network.name}"
        self.sample_rate = network.grid.sample_rate
        self.seconds = network.grid.samples(network.window_columns) / self.sample_rate
        encoder = getattr(network.task.net, "encoder", None)
        if not isinstance(encoder, nn.Module):
            raise BirdlabError(
                f"{type(network.task.net).__name__} has no part called encoder, whose features could be used."
            )
        self._deepest = encoder[-1] if isinstance(encoder, nn.ModuleList) else encoder

    def embed(self, windows: Audio) -> Embeddings:
        """See `Backbone.embed`."""
        seen: list[Tensor] = []

        def see(_: nn.Module, __: Any, output: Tensor | list[Tensor]) -> None:
            coarsest = output if isinstance(output, Tensor) else output[-1]
            seen.append(coarsest.detach().float().mean(dim=(2, 3)))

        handle = self._deepest.register_forward_hook(see)
        try:
            self._network.probabilities(windows)
        finally:
            handle.remove()
        made: Embeddings = torch.cat(seen).cpu().numpy()
        return made
