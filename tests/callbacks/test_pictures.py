"""The figure and progress callbacks in a real training of two epochs."""

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from birdlab.build import build_data, build_task, build_trainer, close_loggers
from birdlab.callbacks.errors import ErrorAnalysis
from birdlab.callbacks.figures import PredictionPanels, StudyFigures
from birdlab.callbacks.progress import Progress
from birdlab.config import compose
from birdlab.data.png import read_image
from birdlab.data.segmentation import SegmentationData
from birdlab.figures.samples import foreground_shares, spread
from birdlab.loggers import read_history
from birdlab.run import Run
from birdlab.tasks import SegmentationTask

EPOCHS = 3


@dataclass
class Trained:
    """What a training left behind."""

    run: Run
    data: SegmentationData
    task: SegmentationTask
    said: list[str]
    weights: dict[str, torch.Tensor]


def train(root: Path, directory: Path, callbacks: list[Any], logger: str) -> Trained:
    settings = [
        "data=birdsounds_denoising",
        f"data.root={root}",
        "data.image_size=[16,16]",
        "model.widths=[4,8]",
    ]
    settings += [f"trainer.max_epochs={EPOCHS}", "trainer=cpu", "loader.batch_size=4", f"logger={logger}"]
    settings += [
        f"loader.cache_dir={root.parent / 'cache'}",
        "memory_format=contiguous",
        "loader.num_workers=0",
    ]
    cfg = compose(["+experiment=focal_tversky", *settings])
    run = Run.new(directory)
    data, task = build_data(cfg), build_task(cfg)
    trainer = build_trainer(cfg, run, callbacks=callbacks)
    said = io.StringIO()
    with redirect_stdout(said):
        trainer.fit(task, datamodule=data)
        weights = {name: value.clone() for name, value in task.state_dict().items()}
        trainer.test(task, datamodule=data, verbose=False)
    close_loggers(trainer.loggers, "success")
    return Trained(run, data, task, said.getvalue().splitlines(), weights)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_pairs: Path) -> Iterator[Trained]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        callbacks = [
            PredictionPanels(every=2, samples=3),
            StudyFigures(),
            ErrorAnalysis(samples=3),
            Progress(),
        ]
        yield train(tiny_pairs, tmp_path_factory.mktemp("run"), callbacks, "wandb")


@pytest.fixture(scope="module")
def panels(trained: Trained, offline_wandb: ModuleType) -> list[dict[str, Any]]:
    (folder,) = (trained.run.directory / "wandb").glob("offline-run-*")
    history = offline_wandb.read_offline_run(folder).history
    shown = [row["val/panels"] for row in history if "val/panels" in row]
    for one in shown:
        one["folder"] = folder / "files"
    return shown


def test_all_figures_are_there_and_whole(trained: Trained) -> None:
    names = ("foreground", "examples", "learning_curves", "threshold", "predictions")
    names += ("errors", "worst", "calibration")
    files = {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")} | {
        "validation.png",
        "samples",
        "errors.csv",
        "calibration.csv",
        "threshold.csv",
    }
    assert {path.name for path in trained.run.figures.iterdir()} == files
    for file in trained.run.figures.glob("*.*"):
        if file.suffix == ".png":
            assert imread(file)[..., :3].std() > 0.01  # not blank
        elif file.suffix == ".pdf":
            assert file.read_bytes().startswith(b"%PDF")


def test_error_figures_are_on_the_dashboard(trained: Trained, offline_wandb: ModuleType) -> None:
    (folder,) = (trained.run.directory / "wandb").glob("offline-run-*")
    history = offline_wandb.read_offline_run(folder).history
    for name in ("errors", "worst", "calibration", "threshold"):
        ((logged, *others),) = [row[f"test/{name}"]["filenames"] for row in history if f"test/{name}" in row]
        assert not others
        assert (folder / "files" / logged).read_bytes() == (trained.run.figures / f"{name}.png").read_bytes()


def test_tables_hold_what_the_error_figures_show(trained: Trained) -> None:
    def table(name: str) -> list[dict[str, str]]:
        with (trained.run.figures / name).open(newline="") as lines:
            return list(csv.DictReader(lines))

    bins = table("errors.csv")
    assert {row["factor"]: row["samples"] for row in bins} == {"foreground_share": "4", "call_s": "4"}
    calls = [row["call_columns"] for row in trained.task.tested.samples]
    assert calls == [8] * 4  # columns of the mask that hold the one call
    assert float(bins[1]["middle"]) == pytest.approx(8 * 64 / 32_000)
    curve = table("threshold.csv")
    best = max(curve, key=lambda row: float(row["iou"]))
    assert float(best["threshold"]) == pytest.approx(trained.task.reported_threshold)
    pixels = sum(int(row["pixels"]) for row in table("calibration.csv"))
    assert pixels == 4 * 64 * 48


def test_panels_are_drawn_every_so_many_epochs_and_after_the_last(panels: list[dict[str, Any]]) -> None:
    assert len(panels) == 2  # of 3 epochs the second and the last


def test_panels_are_always_of_the_same_samples_spread_over_foreground(
    trained: Trained, panels: list[dict[str, Any]]
) -> None:
    arrays = trained.data.arrays("val")
    expected = [arrays.ids[index] for index in spread(foreground_shares(arrays), 3)]
    assert [one["captions"] for one in panels] == [expected, expected]


def test_panels_hold_image_truth_and_prediction_with_high_frequencies_on_top(
    trained: Trained, panels: list[dict[str, Any]]
) -> None:
    arrays = trained.data.arrays("val")
    index = spread(foreground_shares(arrays), 3)[2]
    folder, masks = panels[1]["folder"], panels[1]["all_masks"][2]
    assert set(masks) == {"truth", "prediction"}
    np.testing.assert_array_equal(
        read_image(folder / panels[1]["filenames"][2]), arrays["images"][index][::-1]
    )
    np.testing.assert_array_equal(read_image(folder / masks["truth"]["path"]), arrays["masks"][index][::-1])
    with torch.inference_mode():
        trained.task.eval()
        probability = trained.task.probabilities({"image": torch.tensor(arrays["images"][index][None])})[0]
    predicted = (probability > trained.task.threshold).numpy().astype(np.uint8)
    np.testing.assert_array_equal(read_image(folder / masks["prediction"]["path"]), predicted[::-1])


def test_the_gallery_holds_what_the_scores_were_computed_from(trained: Trained) -> None:
    folder = trained.run.figures / "samples"
    gallery = json.loads((folder / "samples.json").read_text())
    by_id = {sample.id: sample for sample in trained.data.splits["test"]}
    assert {one["id"] for one in gallery["samples"]} == set(by_id)
    rows = {row["id"]: row for row in trained.task.tested.samples}
    for one in gallery["samples"]:
        image, mask = trained.data.source.read(by_id[one["id"]])
        np.testing.assert_array_equal(read_image(folder / one["image"]), image[::-1])
        truth = read_image(folder / one["truth"]) > 0
        np.testing.assert_array_equal(truth, mask[::-1] > 0)
        predicted = read_image(folder / one["probability"]) > 255 * gallery["threshold"]
        assert np.sum(predicted & truth) == rows[one["id"]]["true_positive"]
        assert np.sum(predicted & ~truth) == rows[one["id"]]["false_positive"]


def test_drawing_changes_nothing_of_the_training(trained: Trained, tiny_pairs: Path, tmp_path: Path) -> None:
    without = train(tiny_pairs, tmp_path, [], "csv")
    assert all(torch.equal(without.weights[name], value) for name, value in trained.weights.items())
    assert read_history(tmp_path / "metrics.csv") == read_history(trained.run.directory / "metrics.csv")


def test_without_a_terminal_there_is_one_line_an_epoch(trained: Trained) -> None:
    head, *lines = [line for line in trained.said if line.strip()]
    assert head.split() == ["epoch", "train", "loss", "val", "loss", "val", "IoU", "rate", "seconds"]
    history = read_history(trained.run.directory / "metrics.csv")
    assert len(lines) == len(history) == EPOCHS
    for line, row in zip(lines, history, strict=True):
        epoch, train_loss, val_loss, iou, rate, seconds = line.split()
        assert epoch == f"{row['epoch']:.0f}/{EPOCHS - 1}"
        assert (train_loss, val_loss) == (f"{row['train/loss']:.4f}", f"{row['val/loss']:.4f}")
        assert (iou, rate) == (f"{row['val/iou_resized']:.3f}", f"{row['train/rate']:.3g}")
        assert re.fullmatch(r"\d+\.\d", seconds)
        assert float(seconds) < 60
