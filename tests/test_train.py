"""Whole trainings, run as a user runs them, on a few tiny pictures."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from birdlab.loggers import read_history
from birdlab.run import Run

TINY = (
    "data.image_size=[16,16]",
    "model.widths=[4,8]",
    "loader.batch_size=4",
    "trainer.max_epochs=2",
    "trainer.precision=32-true",
    "memory_format=contiguous",
    "trainer=cpu",
    "logger=csv",
)


def environment(cwd: Path) -> dict[str, str]:
    return os.environ | {"BIRDLAB_CACHE": str(cwd / "cache"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def birdlab(verb: str, *words: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"birdlab.{verb}", *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment(cwd))
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def study(data: Path) -> tuple[str, ...]:
    return ("+experiment=focal_tversky", "data=birdsounds_denoising", f"data.root={data}", *TINY)


def train(*words: str, cwd: Path, data: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    return birdlab("train", *study(data), *words, cwd=cwd, check=check)


def start_training(*words: str, cwd: Path, data: Path) -> subprocess.Popen[bytes]:
    """A training in a process group of its own, to be interrupted or killed with its workers."""
    return subprocess.Popen(
        [sys.executable, "-m", "birdlab.train", *study(data), *words],
        cwd=cwd,
        env=environment(cwd),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return Run.open(run).checkpoint(run / "checkpoints" / f"{name}.ckpt")["state_dict"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_pairs: Path) -> Path:
    """A folder in which one run has been trained."""
    cwd = tmp_path_factory.mktemp("trained")
    train("hydra.run.dir=run", cwd=cwd, data=tiny_pairs)
    return cwd


def test_a_run_directory_holds_all_that_other_commands_need(trained: Path) -> None:
    run = trained / "run"
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert files >= {
        "config.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "metrics.json",
        "metrics.csv",
        "scores.csv",
        "provenance.json",
        "splits.json",
    }
    assert "${" not in (run / "config.yaml").read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["schema"] == 1
    assert set(metrics["references"]) == {
        "energy threshold",
        "do nothing",
        "ceiling of resizing",
        "hand-coarsened truth",
    }
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["status"] == "finished"
    assert provenance["precision"] == "32-true"
    assert provenance["wall_s"] > 0
    splits = json.loads((run / "splits.json").read_text())
    assert {split: len(ids) for split, ids in splits.items()} == {"train": 8, "val": 4, "test": 4}


def test_scores_by_sample_add_up_to_those_of_the_data_set(trained: Path) -> None:
    with (trained / "run" / "scores.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    splits = json.loads((trained / "run" / "splits.json").read_text())
    assert [row["id"] for row in rows] == splits["test"]
    tuned = json.loads((trained / "run" / "metrics.json").read_text())["test_tuned"]
    for name in ("iou", "iou_two_class", "dice", "precision", "recall"):
        assert sum(float(row[name]) for row in rows) / len(rows) == pytest.approx(tuned[name], abs=1e-12)
    pixels = {name: sum(int(row[name]) for row in rows) for name in rows[0] if name.endswith("tive")}
    assert len(pixels) == 4
    assert sum(pixels.values()) == 4 * 64 * 48
    wrong = pixels["false_positive"] + pixels["false_negative"]
    pooled = pixels["true_positive"] / (pixels["true_positive"] + wrong)
    assert pooled == pytest.approx(tuned["iou_pooled"], abs=1e-12)


def test_provenance_says_how_fast_it_was(trained: Path) -> None:
    provenance = json.loads((trained / "run" / "provenance.json").read_text())
    # 16 samples were trained on, 8 of them counted; the whole command took longer than that.
    assert provenance["samples_per_s"] > 8 / provenance["wall_s"]


def test_the_checkpoint_carries_its_config_and_threshold_as_plain_values(trained: Path) -> None:
    run = Run.open(trained / "run")
    checkpoint = torch.load(run.best, weights_only=True)
    assert checkpoint["birdlab"]["config"]["data"]["classes"] == {0: "background", 255: "bird"}
    assert 0 < checkpoint["state_dict"]["threshold"] < 1
    validation = checkpoint["birdlab"]["validation"]
    assert [len(validation[name]) for name in ("threshold", "precision", "recall")] == 3 * [117]


def test_evaluate_gives_the_numbers_of_the_test_to_the_last_digit(trained: Path) -> None:
    birdlab("evaluate", "run", "--output", "again.json", cwd=trained)
    again = json.loads((trained / "again.json").read_text())
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert {name: metrics[name] for name in again} == again
    refused = birdlab("evaluate", "run", "--output", "again.json", cwd=trained, check=False)
    assert refused.returncode == 2
    assert "again.json exists already" in refused.stderr


def test_w_and_b_is_never_imported_without_its_logger(tmp_path: Path, tiny_pairs: Path) -> None:
    # None makes the import fail.
    program = "import sys; sys.modules['wandb'] = None; from birdlab.train import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *study(tiny_pairs), "hydra.run.dir=run"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_w_and_b_holds_the_whole_run(tmp_path: Path, tiny_pairs: Path, offline_wandb: ModuleType) -> None:
    said = train("logger=wandb", "hydra.run.dir=run", cwd=tmp_path, data=tiny_pairs).stdout
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert f"wandb sync {folder}" in said
    run = offline_wandb.read_offline_run(folder)
    assert run.config["optimizer"]["lr"] == 0.01
    assert run.config["data"]["root"] == str(tiny_pairs)
    logged = {name for row in run.history for name in row}
    assert logged >= {"train/loss", "train/rate", "val/loss", "val/iou_resized", "val/panels", "test/iou"}
    assert len([row for row in run.history if "val/iou_resized" in row]) == 2
    kept = {artifact.type: list(artifact.files) for artifact in run.artifacts.values()}
    assert kept == {"model": ["best.ckpt"], "dataset": ["splits.json"]}


def test_an_occupied_directory_is_refused_and_left_as_it_is(trained: Path, tiny_pairs: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (trained / "run").rglob("*")}
    refused = train("hydra.run.dir=run", cwd=trained, data=tiny_pairs, check=False)
    assert refused.returncode != 0
    assert "is occupied" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert {path: path.stat().st_mtime_ns for path in (trained / "run").rglob("*")} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.root=nowhere"], "nowhere"),
        (["optimizer.lrr=1"], "nearest: optimizer.lr"),
        (["data.image_size=[15,16]"], "data.image_size=[15, 16]"),
        (["loss.losses.focal_tversky.fn_weight=-1"], "fn_weight"),
        (["monitor.metric=val/nothing"], "val/nothing is not logged"),
        (["resume=nowhere"], "no such run directory"),
    ],
)
def test_mistakes_end_at_once_without_a_run(
    tmp_path: Path, tiny_pairs: Path, words: list[str], said: str
) -> None:
    refused = train(*words, cwd=tmp_path, data=tiny_pairs, check=False)
    assert refused.returncode != 0
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_sweep_goes_on_past_a_job_that_fails(tmp_path: Path, tiny_pairs: Path) -> None:
    done = train(
        "optimizer.lr=1e30,0.01", "hydra.sweep.dir=sweep", "-m", cwd=tmp_path, data=tiny_pairs, check=False
    )
    assert done.returncode != 0
    finished = sorted(path.parent.name for path in (tmp_path / "sweep").glob("*/metrics.json"))
    assert finished == ["001_lr-0.01_seed-0"], done.stderr


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_samples(
    tmp_path: Path, tiny_pairs: Path
) -> None:
    stopped = train("optimizer.lr=1e30", "hydra.run.dir=run", cwd=tmp_path, data=tiny_pairs, check=False)
    assert stopped.returncode != 0
    assert "The loss is" in stopped.stderr
    assert "on the samples" in stopped.stderr
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["status"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(
    tmp_path: Path, tiny_pairs: Path, workers: int
) -> None:
    settings = (
        "trainer.max_epochs=8",
        "augment=paper001",
        # So that the rate falls at every epoch, and every resume has a step of the plateau to get right.
        "scheduler.scheduler.patience=0",
        "scheduler.scheduler.factor=0.7",
        "+scheduler.scheduler.threshold=0.9",
        f"loader.num_workers={workers}",
    )
    train(*settings, "hydra.run.dir=whole", cwd=tmp_path, data=tiny_pairs)

    process = start_training(*settings, "hydra.run.dir=killed", cwd=tmp_path, data=tiny_pairs)
    history = tmp_path / "killed" / "metrics.csv"
    while process.poll() is None and not (history.is_file() and len(history.read_text().splitlines()) >= 4):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "metrics.json").is_file()

    birdlab("train", "resume=killed", cwd=tmp_path)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    assert same(weights(tmp_path / "whole", "best"), weights(tmp_path / "killed", "best"))
    commands = [Run(tmp_path / name).read_json("provenance.json")["command"] for name in ("whole", "killed")]
    assert commands[0] == commands[1], "what trains it is known by what began it"
    assert {*settings} <= {*commands[0]}
    assert (tmp_path / "whole" / "metrics.csv").read_text() == history.read_text()
    rates = {row["train/rate"] for row in read_history(history)}
    assert len(rates) > 1, "the plateau never lowered the rate, so the test says nothing of it"


FILLING_DISK = """
import sys, torch
from pathlib import Path
from birdlab.train import main

save = torch.save

def fill(content, path):
    save(content, path)
    if content["epoch"] == 1:
        Path(path).write_bytes(Path(path).read_bytes()[:1000])
        raise OSError(28, "No space left on device")

torch.save = fill
main()
"""


@pytest.mark.slow
def test_a_disk_that_fills_costs_an_epoch_and_no_more(trained: Path, tiny_pairs: Path) -> None:
    stopped = subprocess.run(
        [sys.executable, "-c", FILLING_DISK, *study(tiny_pairs), "hydra.run.dir=filled"],
        cwd=trained,
        env=environment(trained),
        capture_output=True,
        text=True,
    )
    assert stopped.returncode != 0
    assert "No space left on device" in stopped.stderr
    assert f"resume={trained / 'filled'}" in stopped.stderr.replace("\n", "")
    assert "Traceback" not in stopped.stderr
    run = Run.open(trained / "filled")
    assert run.checkpoint(run.last)["epoch"] == 0
    assert run.read_json("provenance.json")["status"] == "failed"
    birdlab("train", "resume=filled", cwd=trained)
    assert same(weights(trained / "filled"), weights(trained / "run"))  # and the same seed gives the same


@pytest.mark.slow
def test_a_compiled_run_is_read_without_compiling(tmp_path: Path, tiny_pairs: Path) -> None:
    # Compiled dropout draws other numbers, and Adam makes steps of the smallest differences.
    words = ("trainer.max_epochs=1", "model.dropout=0", "optimizer=sgd", "optimizer.lr=0.001")
    train("compile=true", *words, "hydra.run.dir=run", cwd=tmp_path, data=tiny_pairs)
    train(*words, "hydra.run.dir=plain", cwd=tmp_path, data=tiny_pairs)
    compiled, plain = weights(tmp_path / "run"), weights(tmp_path / "plain")
    assert compiled.keys() == plain.keys()
    torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=1e-3)
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["compile"] is True
    birdlab("evaluate", "run", "--output", "scores.json", cwd=tmp_path)
    scores = json.loads((tmp_path / "scores.json").read_text())
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert scores["test"]["iou"] == pytest.approx(metrics["test"]["iou"], abs=0.01)


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path: Path, tiny_pairs: Path) -> None:
    process = start_training("trainer.max_epochs=500", "hydra.run.dir=run", cwd=tmp_path, data=tiny_pairs)
    while process.poll() is None and not (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["status"] == "interrupted"
    reached = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]
    birdlab("train", "resume=run", f"trainer.max_epochs={reached + 3}", cwd=tmp_path)
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_resume_takes_nothing_but_limits_beside_it(trained: Path) -> None:
    refused = birdlab("train", "resume=run", "optimizer.lr=1", cwd=trained, check=False)
    assert refused.returncode != 0
    assert "can't stand beside resume" in refused.stderr


def test_a_hostile_checkpoint_is_not_unpickled(trained: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text((trained / "run" / "config.yaml").read_text())
    torch.save({"state_dict": {}, "birdlab": Hostile()}, run / "checkpoints" / "best.ckpt")
    refused = birdlab("evaluate", str(run), cwd=trained, check=False)
    assert refused.returncode == 2
    assert "best.ckpt can't be loaded as plain weights" in refused.stderr
    assert not (tmp_path / "ran").exists()


def test_a_hostile_config_builds_nothing(trained: Path, tmp_path: Path) -> None:
    cfg = yaml.safe_load((trained / "run" / "config.yaml").read_text())
    cfg["model"] = {"_target_": "pathlib.Path.touch", "self": str(tmp_path / "ran")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(cfg))
    refused = birdlab("evaluate", str(tmp_path), cwd=trained, check=False)
    assert refused.returncode == 2
    assert "--trust" in refused.stderr
    assert not (tmp_path / "ran").exists()
