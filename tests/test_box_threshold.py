"""The threshold of boxes: of a network whose boxes are known, and what a run makes of it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F

from birdlab import box_threshold as module
from birdlab.box_threshold import box_threshold
from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.data.segmentation import SegmentationData
from birdlab.run import Run

RATE = 32_000
FRINGE = 0.58


class Fringed:
    """Sure of one box, and says .58 in a fringe around it: too much for its extent, at thresholds below."""

    device = torch.device("cpu")

    def __init__(self, truth: np.ndarray) -> None:
        inside = torch.from_numpy(truth != 0).float()
        around = F.max_pool2d(inside[None], 31, stride=1, padding=15)[0]
        self.said = torch.where(inside > 0, 0.9, torch.where(around > 0, FRINGE, 0.02)).logit()

    def logits(self, images: Tensor) -> Tensor:
        return self.said.expand(len(images), -1, -1)

    def calibrated(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()


@pytest.mark.parametrize("sides", ["two", "one"])
def test_boxes_that_hold_no_more_than_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sides: str
) -> None:
    """The lowest threshold that leaves out the fringe; sound in boxes chooses none."""
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/a.wav", np.random.default_rng(0).normal(0, 0.01, RATE), RATE)
    (tmp_path / "in/a.txt").write_text("0.3\t0.6\tbird\n\\\t3000\t6000\n")

    def data(**settings: object) -> SegmentationData:
        source = AnnotatedAudio(
            root=tmp_path / "in",
            fractions=(0.0, 1.0, 0.0),
            window_s=1.0,
            image_size=(1024 if sides == "two" else 513, 499),
            **({"sides": sides} | settings),  # type: ignore[arg-type]
        )
        made = SegmentationData(source, batch_size=1, num_workers=0, cache_dir=tmp_path / "cache")
        made.setup("validate")
        return made

    boxed = data()
    _, mask = boxed.source.read(boxed.splits["val"][0])
    monkeypatch.setattr(module, "restored", lambda *_, **__: (Fringed(mask), None, None))
    run = Run.new(tmp_path / "run")
    assert box_threshold(run, boxed) == 0.6
    assert box_threshold(run, data(truth="sound")) is None
