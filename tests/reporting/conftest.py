"""Run directories as birdlab.train leaves them, made in milliseconds."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from birdlab.config import compose
from birdlab.figures import Extent, write_gallery
from birdlab.files import write_csv
from birdlab.run import Run

MakeRun = Callable[..., Path]
SAMPLES = 40


@cache
def config(*overrides: str) -> str:
    cfg = compose(["+experiment=focal_tversky", *overrides])
    return yaml.safe_dump(OmegaConf.to_container(cfg, resolve=True), sort_keys=False)


def make_run(
    folder: Path,
    *overrides: str,
    seed: int = 0,
    quality: float = 0.5,
    status: str = "finished",
    error: str | None = None,
    pictures: bool = False,
    facts: dict[str, Any] | None = None,
) -> Path:
    """A run whose scores vary by seed and recording around ``quality``."""
    run = Run.new(folder)
    plain = yaml.safe_load(config(*overrides))
    plain["seed"] = plain["task"]["datamodule"]["seed"] = seed
    (folder / "config.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    draw = np.random.default_rng([seed, round(1000 * quality)])
    hard = np.random.default_rng(7).normal(0, 0.1, SAMPLES)
    iou = np.clip(quality + draw.normal(0, 0.01) + hard + draw.normal(0, 0.02, SAMPLES), 0.01, 0.99)
    epochs = 12
    level = 1 - np.exp(-np.arange(1, epochs + 1) / 3)
    history = [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "train/loss": 1.1 - quality * level[epoch],
            "val/loss": 1.15 - quality * level[epoch] + draw.normal(0, 0.02),
            "val/iou_resized": quality * level[epoch] + draw.normal(0, 0.015),
        }
        for epoch in range(epochs)
    ]
    write_csv(folder / "metrics.csv", history[:5] if status != "finished" else history)
    run.note(
        status=status,
        error=error,
        commit="0123456789abcdef",
        dirty=False,
        birdlab="0.1.0",
        seed=seed,
        data_hash="5ca1ab1e",
        precision="32-true",
        parameters=1_986_817,
        wall_s=900.0 + 20 * seed + 500 * quality,
        peak_memory_gb=2.5 + quality,
        samples_per_s=61.5,
        device="CPU",
        **(facts or {}),
    )
    if status != "finished":
        return folder
    rows = []
    for number, value in enumerate(iou.tolist()):
        true, hit = 400, round(400 * value)
        counts = {
            "true_positive": hit,
            "false_positive": 50,
            "false_negative": true - hit,
            "true_negative": 9550,
        }
        rows.append(
            {"id": f"test_{number:05d}", "group": f"XC{number // 2}", "iou": value, "dice": value} | counts
        )
    write_csv(folder / "scores.csv", rows)
    scores = {"iou": float(iou.mean()), "iou_pooled": float(iou.mean()) + 0.02, "dice": float(iou.mean())}
    run.write_metrics(
        best_epoch=9,
        threshold=0.5,
        test=scores | {"loss": 0.5, "images": SAMPLES},
        test_tuned=scores | {"images": SAMPLES},
        references={
            "energy threshold": {"iou": 0.35, "iou_pooled": 0.36, "dice": 0.45},
            "ceiling of resizing": {"iou": 0.78, "iou_pooled": 0.8, "dice": 0.86},
        },
    )
    if pictures:
        _write_pictures(folder, quality, draw)
    return folder


def _write_pictures(folder: Path, quality: float, draw: np.random.Generator) -> None:
    frequency, time = np.mgrid[0:60, 0:80]
    images, truths, probabilities = [], [], []
    for number in range(3):
        truth = np.abs(frequency - 30 - 12 * np.sin(time / 12 + number)) < 3
        noise = np.random.default_rng(number).normal(0, 15, truth.shape)
        image = np.clip(40 + 130 * truth + noise, 0, 255).astype(np.uint8)
        wrong = draw.random(truth.shape) > quality + 0.3
        images.append(image)
        truths.append(truth.astype(np.uint8))
        probabilities.append(np.where(truth ^ wrong, 0.9, 0.1))
    write_gallery(
        folder / "figures" / "samples",
        images,
        truths,
        probabilities,
        [Extent(3.0, 32_000, "one")] * 3,
        ["test_00000", "test_00001", "test_00002"],
        threshold=0.5,
    )


@pytest.fixture(scope="session")
def made_run() -> MakeRun:
    """Makes a run directory; see `make_run`."""
    return make_run


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two optimizers by three rates by three seeds, one cell failed, and one of every other misfortune."""
    folder = tmp_path_factory.mktemp("grid") / "focal_tversky"
    number = 0
    for optimizer, better in (("adam", 0.05), ("sgd", 0.0)):
        for rate, quality in ((0.01, 0.55), (0.001, 0.5), (0.0001, 0.4)):
            for seed in range(3):
                failed = (optimizer, rate) == ("sgd", 0.0001)
                make_run(
                    folder / f"{number:03d}_{optimizer}_lr-{rate:g}_seed-{seed}",
                    f"optimizer={optimizer}",
                    f"optimizer.lr={rate:g}",
                    seed=seed,
                    quality=quality + better,
                    status="failed" if failed else "finished",
                    error="BirdlabError: The loss is nan at step 40" if failed else None,
                    pictures=seed == 0 and not failed,
                )
                number += 1
    make_run(folder / "running", seed=5, status="running")
    make_run(folder / "interrupted", seed=6, status="interrupted")
    (make_run(folder / "damaged", seed=7) / "metrics.json").write_text('{"schema": 1, "test": {"io')
    (folder / "never_began").mkdir()
    (folder / "never_began" / "provenance.json").write_text(
        json.dumps({"status": "failed", "error": "no data"})
    )
    return folder
