"""Each study of species trains two steps, is tested and read back; what its paper says is in its config."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from birdlab import config
from birdlab.build import build_data, build_task
from birdlab.data.classification import ClassificationData
from birdlab.errors import BirdlabError
from birdlab.evaluate import data_config, evaluate_run
from birdlab.run import Run
from birdlab.train import train

TINY = (
    "loader.batch_size=4",
    "loader.num_workers=0",
    "trainer=cpu",
    "trainer.precision=32-true",
    "memory_format=contiguous",
    "logger=csv",
    "epochs=1",
)
STUDIES = {
    "mobilenet_optimizers": [],
    "resnet18_pretraining": [],
    "species_comparison": ["loss.class_weights=balanced", "augment=species"],
    "input_encoding": ["model.encoding=voting", "callbacks=species_frozen"],
    "multilabel": ["model=compact_mobilenet"],
    "species_frontier": [
        *("model.weights=null", "model.build.encoder.model_name=test_efficientnet"),
        "model.build.encoder.out_indices=[0,1]",
    ],
}


@pytest.fixture
def settings(tiny_species_settings: list[str], tmp_path: Path) -> list[str]:
    return [*TINY, *tiny_species_settings, f"loader.cache_dir={tmp_path / 'cache'}"]


@pytest.fixture
def trained(settings: list[str], tmp_path: Path) -> Run:
    run = Run.new(tmp_path / "run")
    train(config.compose(["+experiment=mobilenet_optimizers", *settings]), run)
    return run


def test_a_run_names_its_species_and_holds_what_was_said_of_each_recording(trained: Run) -> None:
    cfg = trained.config()
    assert list(cfg.task.names) == ["dipper", "owl", "wren"]
    assert (cfg.task.classes, list(cfg.task.counts)) == (3, [4, 4, 4])
    assert cfg.data.segment_s == 0.25
    content = torch.load(trained.best, weights_only=True)
    assert content["birdlab"]["config"]["task"]["names"] == ["dipper", "owl", "wren"]
    with trained.scores.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 6
    assert {"id", "group", "label", "predicted", "p_owl", "real_s"} <= rows[0].keys()
    metrics = trained.read_json("metrics.json")
    accuracy = sum(row["label"] == row["predicted"] for row in rows) / 6
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy)
    assert set(metrics["references"]) == {"commonest species", "loudness, bandwidth, length"}
    figures = {path.name for path in trained.figures.iterdir()}
    assert figures >= {"confusion.png", "confusion.pdf", "learning_curves.png", "calibration.png"}
    assert {"coverage.png", "coverage.csv", "calibration.csv"} <= figures
    assert metrics["temperature"] == content["state_dict"]["temperature"].item()
    confidence = [max(float(row[f"p_{name}"]) for name in cfg.task.names) for row in rows]
    right = sum(row["label"] == row["predicted"] for row in rows) / 6
    if metrics["temperature"] == 1:
        assert metrics["test"]["calibration_error"] == metrics["test"]["calibration_error_unscaled"]
    # No bin's gap is smaller than that of all of them together.
    assert metrics["test"]["calibration_error"] >= abs(sum(confidence) / 6 - right) - 1e-5


def test_evaluate_gives_the_numbers_of_the_test_to_the_last_digit(trained: Run) -> None:
    metrics = trained.read_json("metrics.json")
    assert evaluate_run(trained).network == metrics["test"]
    assert evaluate_run(trained, split="val").network["recordings"] == 6


def test_a_run_is_scored_on_other_data_of_its_species(
    trained: Run, tiny_species: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = data_config(
        trained, "birdclef", [f"data.root={tiny_species}", "data.balance=false"], trust=False
    )
    assert chosen is not None
    assert list(chosen.species) == ["dipper", "owl", "wren"]
    assert (chosen.segments, chosen.hop, chosen.segment_s) == (4, 250, 0.25)
    chosen.fractions = [0.5, 0.25, 0.25]
    assert evaluate_run(trained, chosen).network["recordings"] == 6
    assert "trained on" not in capsys.readouterr().err
    chosen.seed = 5
    evaluate_run(trained, chosen)
    assert "recordings have been trained on, e.g. XC" in capsys.readouterr().err


def test_data_of_other_species_are_refused(trained: Run, tiny_species: Path) -> None:
    chosen = data_config(trained, None, ["data.species=[owl,wren]"], trust=False)
    with pytest.raises(BirdlabError, match=r"3 species, dipper, owl, wren; the data set holds owl, wren"):
        evaluate_run(trained, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_study_trains_two_steps_and_is_read_back(study: str, settings: list[str], tmp_path: Path) -> None:
    cfg = config.compose([f"+experiment={study}", *settings, *STUDIES[study]])
    run = Run.new(tmp_path / "run")
    scores = train(cfg, run)
    assert scores.network["recordings"] == 6
    assert evaluate_run(run).network == scores.network


@pytest.mark.slow
def test_several_species_at_once_with_place_and_date(settings: list[str], tmp_path: Path) -> None:
    words = ["data.multilabel=true", "data.prior=true", "loss=species_bce", "monitor.metric=val/micro_f1"]
    cfg = config.compose(["+experiment=mobilenet_optimizers", *settings, *words])
    scores = train(cfg, Run.new(tmp_path / "run"))
    assert set(scores.columns) == {"average_precision", "roc_auc", "micro_f1", "row_f1"}


@pytest.mark.slow
def test_the_full_task_is_tested_on_soundscapes(species_files: ModuleType, tmp_path: Path) -> None:
    root = tmp_path / "birds"
    heard = {"XC1000": {"secondary_labels": "['wren']"}}
    species_files.birdclef_files(root, {"owl": [6.0] * 4, "wren": [6.0] * 4}, heard)
    species_files.soundscape_files(root)
    words = ["data=birdclef", f"data.root={root}", "data.soundscapes=test", "data.fractions=[0.5,0.5,0]"]
    small = ["model=compact_mobilenet", "data.n_mels=16", "data.n_fft=512", "data.hop=250"]
    rates = ["data.sample_rate=16000", "data.fmax=7000"]
    cfg = config.compose(["+experiment=multilabel", *TINY, *words, *small, *rates])
    run = Run.new(tmp_path / "run")
    scores = train(cfg, run)
    assert scores.network["recordings"] == 3
    with run.scores.open(newline="") as lines:
        truth = {row["id"]: row["label"] for row in csv.DictReader(lines)}
    # A species that isn't among those of the recordings is nobody of theirs.
    assert truth == {"7019_COR_5": "owl wren", "7019_COR_10": "nocall", "7019_COR_15": "nocall"}


@pytest.mark.slow
def test_a_run_starts_from_another_one_of_other_species(
    trained: Run, settings: list[str], species_files: ModuleType, tmp_path: Path
) -> None:
    # Recordings are numbered by species: those of the last two are none of the first run's.
    every = dict.fromkeys(("owl", "wren", "dipper", "crow", "jay"), [1.2] * 8)
    species_files.birdclef_files(tmp_path / "birds", every)
    words = [
        f"data.root={tmp_path / 'birds'}",
        "data.species=[crow,jay]",
        f"model.weights={trained.directory}",
    ]
    cfg = config.compose(["+experiment=mobilenet_optimizers", *settings, *words])
    run = Run.new(tmp_path / "second")
    train(cfg, run)
    assert list(run.config().task.names) == ["crow", "jay"]


@pytest.mark.slow
def test_the_commands_as_a_user_types_them(settings: list[str], tmp_path: Path) -> None:
    def birdlab(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "120"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = birdlab("birdlab.train", "+experiment=mobilenet_optimizers", *settings, "hydra.run.dir=run")
    assert "commonest species" in said
    assert "macro F1" in said
    again = birdlab("birdlab.evaluate", "run", "--split", "val", "--output", "val.json")
    assert "val split, 6 recordings of 3 species" in again
    assert json.loads((tmp_path / "val.json").read_text())["val"]["recordings"] == 6


def test_weights_and_species_of_a_config_are_what_the_data_say(settings: list[str]) -> None:
    cfg = config.compose(["+experiment=mobilenet_optimizers", *settings])
    with pytest.raises(BirdlabError, match=r"classes=None: it comes from the data set"):
        build_task(cfg)
    data = build_data(cfg)
    assert isinstance(data, ClassificationData)
    config.fill(cfg, data.settled())
    assert build_task(cfg).names == data.names
    cfg.task.classes = 5
    with pytest.raises(BirdlabError, match=r"has 5 outputs, and there are 3 species"):
        build_task(cfg)


# What the paper says


def test_every_study_is_what_the_paper_says() -> None:
    for study in set(STUDIES) - {"species_frontier", "multilabel"}:
        cfg = config.compose([f"+experiment={study}"])
        assert cfg.name == study
        assert (cfg.epochs, cfg.data.segments, cfg.data.species) == (20, 10, 6)
        assert cfg.data.exclude_secondary
        assert cfg.data.trim == "centre"
        assert cfg.loss._target_ == "birdlab.losses.SpeciesCrossEntropy"
        assert cfg.loss.class_weights is None
        assert (cfg.augment, cfg.scheduler) == (None, {})


def test_resnet18_pretraining_is_what_the_paper_says() -> None:
    cfg = config.compose(["+experiment=resnet18_pretraining"])
    assert cfg.model.build._target_ == "torchvision.models.resnet18"
    assert (cfg.model.stem, cfg.model.weights, cfg.model.encoding) == ("mean", None, "stacked")
    assert (cfg.optimizer._target_, cfg.optimizer.lr, cfg.loader.batch_size) == (
        "torch.optim.Adam",
        0.001,
        16,
    )
    pretrained = config.compose(["+experiment=species_comparison", "model=resnet18_pretrained"]).model
    assert (pretrained.weights, pretrained.stem) == ("imagenet", "mean")
    assert pretrained.imagenet.name == "ResNet18_Weights.IMAGENET1K_V1"


def test_mobilenet_optimizers_is_the_best_cell_of_the_paper_s_table() -> None:
    cfg = config.compose(["+experiment=mobilenet_optimizers"])
    assert (cfg.optimizer._target_, cfg.optimizer.lr) == ("torch.optim.RMSprop", 0.0001)
    assert cfg.optimizer.momentum > 0
