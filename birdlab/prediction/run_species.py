"""A network that names species, from a run directory, in torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from birdlab.audio.mel import MelSpectrogram, whole_frames
from birdlab.models.weights import fingerprint
from birdlab.prediction.restoring import restored
from birdlab.prediction.waveform import SpeciesOfAudio
from birdlab.tasks import ClassificationTask
from birdlab.tasks.classification import validated_accuracy


@dataclass(frozen=True)
class RunNamer:
    """See `Namer`. Stacks are made as in training, but for rounding to 16 bits.

    Attributes:
        task: in evaluation mode, with the weights of the best epoch.
        mel: how levels are made from audio.
        sample_rate: Hz.
        segments, frames: of a stack, and of each segment.
        name: hash of the weights.
        validation_accuracy: by confidence.
    """

    task: ClassificationTask
    mel: MelSpectrogram
    sample_rate: int
    segments: int
    frames: int
    name: str
    validation_accuracy: Mapping[float, float]

    @classmethod
    def open(cls, directory: Path, *, trust: bool = False, threads: int | None = None) -> Self:
        """Rebuild the best epoch of a run; see `RunNetwork.open`.

        Raises:
            BirdlabError: if the directory is no run, has no checkpoint, or its network doesn't name species.
        """
        task, cfg, _ = restored(directory, ClassificationTask, trust=trust)
        if threads is not None:
            torch.set_num_threads(threads)
        data = cfg.data
        return cls(
            task=task,
            mel=MelSpectrogram(data.sample_rate, data.n_fft, data.hop, data.n_mels, data.fmin, data.fmax),
            sample_rate=data.sample_rate,
            segments=data.segments,
            frames=whole_frames(data.segment_s, data.sample_rate, data.hop),
            name=fingerprint(task),
            validation_accuracy=validated_accuracy(task.validated),
        )

    @property
    def seconds(self) -> float:
        """See `Namer`."""
        return self.segments * self.frames * self.mel.hop / self.sample_rate

    @property
    def species(self) -> tuple[str, ...]:
        """See `Namer`."""
        return self.task.names

    @property
    def multilabel(self) -> bool:
        """See `Namer`."""
        return self.task.multilabel

    @torch.inference_mode()
    def scores(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Namer`."""
        scores: NDArray[np.float32] = self.model(torch.from_numpy(audio).to(self.task.device)).cpu().numpy()
        return scores

    @cached_property
    def model(self) -> SpeciesOfAudio:
        """From audio to probabilities."""
        return SpeciesOfAudio(self.task, self.mel, self.segments, self.frames).eval().to(self.task.device)
