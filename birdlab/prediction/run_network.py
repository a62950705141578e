"""A network that marks birds, from a run directory, in torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional as F

from birdlab.audio.levels import LevelPicture
from birdlab.audio.spectrogram import Spectrogram
from birdlab.errors import BirdlabError
from birdlab.metrics import THRESHOLDS
from birdlab.models.weights import fingerprint
from birdlab.prediction.restoring import restored
from birdlab.prediction.waveform import LevelsSeen, MaskOfWindows, SpectrogramSeen
from birdlab.run import Run
from birdlab.tasks import SegmentationTask

_WHOLE_PICTURE_S = 5.0
"""Of a network that was trained on whole pictures; those of BirdSoundsDenoising last a few seconds."""


@dataclass(frozen=True)
class RunNetwork:
    """See `Network`. Images are made and resized as in training and evaluation, but for rounding to bytes.

    Attributes:
        task: in evaluation mode, with the weights of the best epoch.
        grid: the spectrogram whose cells it marks.
        picture: how what it sees is made from audio; None if that is the spectrogram itself.
        image_size: rows and columns that the network sees.
        window_columns: of one window at native resolution.
        classes: of the mask pictures it was trained on.
        name: hash of the weights.
        box_threshold: see `Network`.
        validation_precision, validation_recall: by threshold.
    """

    task: SegmentationTask
    grid: Spectrogram
    image_size: tuple[int, int]
    window_columns: int
    classes: Mapping[int, str]
    name: str
    box_threshold: float
    validation_precision: Mapping[float, float]
    validation_recall: Mapping[float, float]
    picture: LevelPicture | None = None

    @classmethod
    def open(cls, directory: Path, *, trust: bool = False, threads: int | None = None) -> Self:
        """Rebuild the best epoch of a run.

        Args:
            directory: of the run.
            trust: build what birdlab doesn't ship, too.
            threads: of torch's in this process; None leaves them as they are.

        Raises:
            BirdlabError: if the directory is no run, has no checkpoint, or its network doesn't mark pixels.
        """
        task, cfg, content = restored(directory, SegmentationTask, trust=trust)
        if threads is not None:
            torch.set_num_threads(threads)
        scores = Run.open(directory).read_json("metrics.json")
        data = cfg.data
        grid = Spectrogram(sample_rate=data.sample_rate, sides=data.sides)
        window_s = data.get("window_s") or _WHOLE_PICTURE_S
        rows, columns = data.image_size
        validation = content.get("birdlab", {}).get("validation") or {}
        thresholds = validation.get("threshold", THRESHOLDS)  # of older runs
        precision, recall = (
            dict(zip(thresholds, validation[name], strict=True)) if validation else {}
            for name in ("precision", "recall")
        )
        return cls(
            task=task,
            grid=grid,
            image_size=(rows, columns),
            window_columns=grid.columns(round(window_s * grid.sample_rate)),
            classes=dict(data.classes),
            name=fingerprint(task),
            box_threshold=scores.get("box_threshold", task.reported_threshold),
            validation_precision=precision,
            validation_recall=recall,
            picture=LevelPicture(rows, columns, data.window_length) if _of_levels(data) else None,
        )

    @property
    def threshold(self) -> float:
        """See `Network`."""
        return self.task.reported_threshold

    @torch.inference_mode()
    def probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Network`."""
        audio = torch.from_numpy(windows).to(self.task.device)
        # One at a time: all steps of one window stay within the processor's cache.
        return self._of(torch.cat([self.model.images(window) for window in torch.split(audio, 1)]))

    @torch.inference_mode()
    def image_probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Network`."""
        if self.picture is not None:
            raise BirdlabError("this network was trained on levels of recordings: give the recording.")
        pictures = torch.from_numpy(images).to(self.task.device)[:, None] / 255
        seen = F.interpolate(pictures, size=self.image_size, mode="bilinear", antialias=True)
        return self._of(seen[:, 0])

    def _of(self, images: Tensor) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self.model.of_images(images).cpu().numpy()
        return probabilities

    @cached_property
    def model(self) -> MaskOfWindows:
        """From windows of audio to probabilities."""
        grid, columns = self.grid, self.window_columns
        seen: SpectrogramSeen | LevelsSeen
        if self.picture is None:
            seen = SpectrogramSeen(grid, self.image_size, columns)
        else:
            seen = LevelsSeen(self.picture, grid.samples(columns))
        model = MaskOfWindows(self.task, seen, grid, columns)
        return model.eval().to(self.task.device)


def _of_levels(data: DictConfig) -> bool:
    # Runs of before there was a choice don't say.
    return bool(data.get("picture") == "level")
