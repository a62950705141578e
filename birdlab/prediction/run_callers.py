"""Who is heard, as a network says that marks birds, too (``task=multitask``), from a run directory."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from birdlab.errors import BirdlabError
from birdlab.prediction.run_network import RunNetwork
from birdlab.prediction.waveform import CallersOfAudio
from birdlab.tasks import MultitaskTask


@dataclass(frozen=True)
class RunCallers:
    """See `Namer`.

    Attributes:
        network: marks birds.
        task: the same network's.
    """

    network: RunNetwork
    task: MultitaskTask

    @classmethod
    def open(cls, directory: Path, *, trust: bool = False, threads: int | None = None) -> Self:
        """Rebuild the best epoch of a run of both tasks; see `RunNetwork.open`.

        Raises:
            BirdlabError: as there, or if it has learnt to mark alone.
        """
        found = cls.of(RunNetwork.open(directory, trust=trust, threads=threads))
        if found is None:
            raise BirdlabError(
                f"{directory} marks birds and names nobody: it is no run of task=multitask, or was "
                "trained with task.module.callers_weight=0."
            )
        return found

    @classmethod
    def of(cls, network: RunNetwork) -> Self | None:
        """What a network that marks birds says of who is heard; None if it hasn't learnt to."""
        task = network.task
        return cls(network, task) if isinstance(task, MultitaskTask) and task.callers_weight else None

    @property
    def name(self) -> str:
        """See `Namer`."""
        return self.network.name

    @property
    def sample_rate(self) -> int:
        """See `Namer`."""
        return self.network.grid.sample_rate

    @property
    def seconds(self) -> float:
        """See `Namer`."""
        return self.model.samples / self.sample_rate

    @property
    def species(self) -> tuple[str, ...]:
        """See `Namer`."""
        return self.task.names

    @property
    def multilabel(self) -> bool:
        """See `Namer`."""
        return True

    @property
    def validation_accuracy(self) -> Mapping[float, float]:
        """See `Namer`."""
        return {}

    @torch.inference_mode()
    def scores(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Namer`."""
        scores: NDArray[np.float32] = self.model(torch.from_numpy(audio).to(self.task.device)).cpu().numpy()
        return scores

    @cached_property
    def model(self) -> CallersOfAudio:
        """From audio to probabilities."""
        return CallersOfAudio(self.task, self.network.model).eval()
