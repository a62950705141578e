"""Each segmentation study trains two steps, is tested, and is read back from its run directory."""

from pathlib import Path

import pytest

from birdlab import config
from birdlab.evaluate import evaluate_run
from birdlab.run import Run
from birdlab.train import train

TINY = [
    "data=birdsounds_denoising",
    "data.image_size=[64,64]",
    "loader.batch_size=4",
    "loader.num_workers=0",
    "trainer=cpu",
    "trainer.precision=32-true",
    "memory_format=contiguous",
    "logger=csv",
    "epochs=1",
]
STUDIES = {
    "unet_cross_entropy": ["model.widths=[2,4,4,4,4,4]"],
    "cnn_unet": ["model.widths=[2,4,4,4,4,4]"],
    "resnet34_bce": ["model.weights=null", "model.widths=[8,8,8,4,4]"],
}


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_study_trains_two_steps_and_is_read_back(study: str, tmp_path: Path, tiny_pairs: Path) -> None:
    places = [f"data.root={tiny_pairs}", f"loader.cache_dir={tmp_path / 'cache'}"]
    cfg = config.compose([f"+experiment={study}", *TINY, *places, *STUDIES[study]])
    run = Run.new(tmp_path / "run")
    scores = train(cfg, run)
    assert scores.network["images"] == 4
    assert evaluate_run(run).network["iou"] == pytest.approx(scores.network["iou"])
