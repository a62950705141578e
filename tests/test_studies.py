"""The README's commands on the embedded data set and on real recordings, at the smallest scale."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ("+experiment=focal_tversky", "scale=smoke", "trainer=cpu", "memory_format=contiguous", "logger=csv")


def birdlab(verb: str, *words: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"birdlab.{verb}", *words],
        cwd=cwd,
        env=os.environ | {"BIRDLAB_CACHE": str(cwd / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_study_runs_on_the_embedded_data_and_draws_its_figures(tmp_path: Path) -> None:
    said = birdlab("train", *SMALL, cwd=tmp_path)
    (run,) = (tmp_path / "outputs" / "focal_tversky").iterdir()
    assert str(run) in said.replace("\n", "")
    figures = {path.name for path in (run / "figures").iterdir()}
    names = ("foreground", "examples", "learning_curves", "threshold", "predictions")
    assert figures >= {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")}
    splits = json.loads((run / "splits.json").read_text())
    assert {split: len(ids) for split, ids in splits.items()} == {"train": 16, "val": 8, "test": 8}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "overfit", "profile"])
def test_debugging_modes_run(mode: str, tmp_path: Path, tiny_pairs: Path) -> None:
    tiny = ("data.image_size=[16,16]", "model.widths=[2,4]", "data=birdsounds_denoising")
    birdlab("train", *SMALL, *tiny, f"data.root={tiny_pairs}", f"debug={mode}", cwd=tmp_path)


@pytest.mark.slow
def test_real_calls_noise_boxes_and_the_published_pair(tmp_path: Path, real_data: Path) -> None:
    mixtures = ("data=mixtures", f"data.calls={real_data / 'calls'}", f"data.noise={real_data / 'noise'}")
    birdlab("train", *SMALL, *mixtures, "hydra.run.dir=run", cwd=tmp_path)

    boxes = ("--data", "annotated_audio", f"data.root={real_data / 'boxes'}", "data.n_test=4")
    birdlab("evaluate", "run", *boxes, "--output", "boxes.json", cwd=tmp_path)
    scores = json.loads((tmp_path / "boxes.json").read_text())
    assert scores["test"]["images"] == 4
    assert scores["references"]["ceiling of resizing"]["iou"] > 0.8

    pair = ("--data", "birdsounds_denoising", f"data.root={real_data / 'birdsoundsdenoising_sample'}")
    birdlab("evaluate", "run", *pair, "--split", "val", "--output", "pair.json", cwd=tmp_path)
    ceiling = json.loads((tmp_path / "pair.json").read_text())["references"]["ceiling of resizing"]["iou"]
    assert 0.8 < ceiling < 1
