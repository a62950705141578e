"""The figures of a study, in the run directory and on the dashboard."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from birdlab import figures
from birdlab.data.loading import SegmentationDataset, collate
from birdlab.data.segmentation import SegmentationData
from birdlab.data.source import Split
from birdlab.figures.samples import extent_of, foreground_shares, spread
from birdlab.loggers import read_history
from birdlab.metrics import SegmentationScores
from birdlab.tasks import SegmentationTask
from birdlab.tasks.segmentation import to_native

_GALLERY_SAMPLES = 8
"""Kept as plain pictures, so that a report can set two runs side by side."""
CLASS_NAMES = {0: "background", 1: "bird"}


class PredictionPanels(Callback):
    """While training, what the network makes of a few validation samples, always the same ones.

    The newest panels are ``figures/validation.png``; W&B, where it is a logger, keeps those of all epochs,
    with truth and prediction as masks over the image.

    Args:
        every: so many epochs; the last epoch has its panels in any case.
        samples: from the emptiest mask to the fullest.
    """

    suits = SegmentationTask

    def __init__(self, every: int = 5, samples: int = 4) -> None:
        self.every = every
        self.samples = samples
        self._chosen: Chosen | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        finished = trainer.current_epoch + 1
        if finished % self.every and finished != trainer.max_epochs:
            return
        assert isinstance(pl_module, SegmentationTask)
        if self._chosen is None:
            data = data_of(trainer)
            self._chosen = Chosen(data, "val", spread_over(data, "val", self.samples))
        chosen = self._chosen
        probabilities = list(pl_module.calibrated(chosen.logits(trainer, pl_module)).numpy())
        threshold = pl_module.reported_threshold
        panels = figures.prediction_panels(
            chosen.images, chosen.masks, probabilities, chosen.extents, chosen.ids, threshold=threshold
        )
        figures.save(panels, _folder(trainer) / "validation.png", dpi=120)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                predicted = [probability > threshold for probability in probabilities]
                _log_masks(logger, chosen, predicted, trainer.global_step)


class StudyFigures(Callback):
    """When testing ends, the figures of the study, as PNG and PDF in ``figures/`` of the run directory.

    ``foreground``, ``examples``, ``learning_curves`` and ``predictions`` are figures 1 to 3 and the training
    progress of Belbase. ``samples/`` holds eight test samples as plain pictures, for reports.

    Args:
        score: the logged metric that says which epoch is the best.
        mode: whether its largest (``max``) or smallest (``min``) value is.
        samples: in ``examples`` and ``predictions``.
    """

    suits = SegmentationTask

    def __init__(self, score: str = "val/iou_resized", mode: str = "max", samples: int = 4) -> None:
        self.score = score
        self.mode = mode
        self.samples = samples

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, SegmentationTask)
        data, task = data_of(trainer), pl_module
        present = [split for split, samples in data.splits.items() if samples]
        shares = {split: foreground_shares(data.arrays(split)) for split in present}
        self._write(trainer, "foreground", figures.foreground_histogram(shares))

        shown: Split = "train" if "train" in present else "test"
        examples = Chosen(data, shown, spread_over(data, shown, self.samples))
        pairs = figures.example_pairs(examples.images, examples.masks, examples.extents, examples.ids)
        self._write(trainer, "examples", pairs)

        history = read_history(Path(trainer.default_root_dir) / "metrics.csv")
        if history:
            curves = figures.learning_curves(history, score=self.score, mode=self.mode)
            self._write(trainer, "learning_curves", curves)
        if "test" in present:
            few, more = (spread_over(data, "test", count) for count in (self.samples, _GALLERY_SAMPLES))
            panels = figures.prediction_panels(**Chosen(data, "test", few).at_native_size(trainer, task))
            self._write(trainer, "predictions", panels)
            gallery = Chosen(data, "test", more).at_native_size(trainer, task)
            figures.write_gallery(_folder(trainer) / "samples", **gallery)

    def _write(self, trainer: Trainer, name: str, figure: Figure) -> None:
        figures.save_for_paper(figure, _folder(trainer) / name)


class Chosen:
    """Some samples of a split at network size."""

    def __init__(self, data: SegmentationData, split: Split, indices: Sequence[int]) -> None:
        dataset = SegmentationDataset(data.arrays(split))
        self.batch = collate([dataset[index] for index in indices])
        self.samples = [data.splits[split][index] for index in indices]
        self.source = data.source

    @property
    def images(self) -> Sequence[NDArray[np.uint8]]:
        return list(self.batch["image"].numpy())

    @property
    def masks(self) -> Sequence[NDArray[np.uint8]]:
        return list(self.batch["mask"].numpy())

    @property
    def ids(self) -> list[str]:
        return [sample.id for sample in self.samples]

    @cached_property
    def extents(self) -> list[figures.Extent]:
        return [extent_of(self.source, sample) for sample in self.samples]

    def logits(self, trainer: Trainer, task: SegmentationTask) -> Tensor:
        """Of foreground, float32 [N, F, T], on the CPU."""
        return _logits(trainer, task, trainer.strategy.batch_to_device(self.batch)).cpu()

    def at_native_size(self, trainer: Trainer, task: SegmentationTask) -> dict[str, Any]:
        """What there is to show of them, at the resolution of the masks, where test scores are."""
        images, masks = zip(*(self.source.read(sample) for sample in self.samples), strict=True)
        native = to_native(self.logits(trainer, task), [torch.from_numpy(mask) for mask in masks])
        return {
            "images": images,
            "truths": masks,
            "probabilities": [task.calibrated(one).numpy() for one in native],
            "extents": self.extents,
            "ids": self.ids,
            "threshold": task.reported_threshold,
        }


def spread_over(data: SegmentationData, split: Split, count: int) -> list[int]:
    """Indices of a few samples from the emptiest mask to the fullest."""
    return spread(foreground_shares(data.arrays(split)), count)


def iou_by_threshold(trainer: Trainer, task: SegmentationTask, data: SegmentationData) -> list[float]:
    """The mean IoU of validation data at each of `birdlab.metrics.THRESHOLDS`, over all ranks."""
    scores = SegmentationScores().to(task.device)  # where the ranks can exchange it
    for batch in data.val_dataloader():
        on_device: Any = trainer.strategy.batch_to_device(batch)
        scores.update(_logits(trainer, task, on_device), on_device["mask"])
    return scores.iou_by_threshold()


def _log_masks(
    logger: WandbLogger, chosen: Chosen, predicted: Sequence[NDArray[np.bool_]], step: int
) -> None:
    # W&B draws the first row on top.
    logger.log_image(
        key="val/panels",
        images=[np.flipud(image) for image in chosen.images],
        step=step,
        caption=chosen.ids,
        masks=[
            {
                name: {"mask_data": np.flipud(mask).astype(np.uint8), "class_labels": CLASS_NAMES}
                for name, mask in (("truth", truth), ("prediction", prediction))
            }
            for truth, prediction in zip(chosen.masks, predicted, strict=True)
        ],
    )


def _logits(trainer: Trainer, task: SegmentationTask, batch: Any) -> Tensor:
    """Of foreground, float32 [B, F, T], for a batch on the task's device."""
    with torch.inference_mode(), trainer.precision_plugin.forward_context():
        return task.logits(batch["image"]).float()


def data_of(trainer: Trainer) -> SegmentationData:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, SegmentationData)
    return data


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "figures"
