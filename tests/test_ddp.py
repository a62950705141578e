"""Whole trainings in two processes on the CPU, as a user runs them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytestmark = pytest.mark.slow

TINY = (
    "+experiment=focal_tversky",
    "data=birdsounds_denoising",
    "data.image_size=[16,16]",
    "model.widths=[4,8]",
    "loader.batch_size=2",
    "trainer=ddp_cpu",
    "trainer.max_epochs=8",
    "trainer.precision=32-true",
    "memory_format=contiguous",
    "augment=paper001",
    "+callbacks.weights._target_=toy_ranks.KeepWeights",
)

Weights = dict[str, torch.Tensor]


def start(cwd: Path, verb: str, *words: str, **variables: str) -> subprocess.Popen[str]:
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "BIRDLAB_CACHE": str(cwd / "cache"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "WANDB_MODE": "offline",
    }
    return subprocess.Popen(
        [sys.executable, "-m", f"birdlab.{verb}", *words],
        cwd=cwd,
        env=environment | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def weights_of_ranks(run: Path) -> tuple[Weights, Weights]:
    first, second = (torch.load(run / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    return first, second


def same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def words(tiny_pairs: Path) -> tuple[str, ...]:
    return (*TINY, f"data.root={tiny_pairs}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, words: tuple[str, ...]) -> Path:
    """A folder with one run of two ranks."""
    cwd = tmp_path_factory.mktemp("ddp")
    finish(start(cwd, "train", *words, "logger=csv", "hydra.run.dir=run"))
    return cwd


def test_ranks_have_equal_weights_and_leave_one_run(trained: Path) -> None:
    run = trained / "run"
    first, second = weights_of_ranks(run)
    assert same(first, second)
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert same(checkpoint["state_dict"], first)
    assert sorted(file.name for file in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert {path.name for path in trained.iterdir()} == {"cache", "run"}
    provenance = json.loads((run / "provenance.json").read_text())
    assert (provenance["status"], provenance["devices"]) == ("finished", "2 x cpu")


def test_two_ranks_score_as_one_process_to_the_last_digit(trained: Path) -> None:
    finish(start(trained, "evaluate", "run", "--trust", "--output", "again.json"))
    again = json.loads((trained / "again.json").read_text())
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert {name: metrics[name] for name in again} == again
    assert metrics["test"]["images"] == 4


def test_ranks_that_are_killed_resume_to_the_same_weights_bit_for_bit(
    trained: Path, words: tuple[str, ...]
) -> None:
    process = start(trained, "train", *words, "logger=csv", "hydra.run.dir=killed")
    history = trained / "killed" / "metrics.csv"
    while process.poll() is None and not (history.is_file() and len(history.read_text().splitlines()) >= 4):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)  # its ranks must follow
    process.communicate()  # returns once nobody holds its output any more
    assert process.returncode == -signal.SIGKILL
    assert not (trained / "killed" / "metrics.json").exists()
    finish(start(trained, "train", "resume=killed", "trust=true"))
    assert same(weights_of_ranks(trained / "killed")[0], weights_of_ranks(trained / "run")[0])


def free_port() -> str:
    """Below those that a system hands out by itself, as it may before the ranks listen."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return str(port)
    raise AssertionError("no port is free")


def test_processes_that_slurm_starts_share_one_run(trained: Path, words: tuple[str, ...]) -> None:
    port = free_port()
    job = {
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NODEID": "0",
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_NAME": "birds",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    processes = [
        start(
            trained, "train", *words, "logger=csv", "name=slurm", SLURM_PROCID=rank, SLURM_LOCALID=rank, **job
        )
        for rank in ("0", "1")
    ]
    said = [finish(process) for process in processes]
    (run,) = (trained / "outputs" / "slurm").iterdir()
    first, second = weights_of_ranks(run)
    assert same(first, second)
    assert same(first, weights_of_ranks(trained / "run")[0])
    assert [text.count("Scores on the test split") for text in said] == [1, 0]


def test_each_job_of_a_sweep_has_its_ranks(
    tmp_path: Path, words: tuple[str, ...], offline_wandb: ModuleType
) -> None:
    sweep = ("-m", "seed=0,1", "trainer.max_epochs=1", "hydra.sweep.dir=sweep")
    finish(start(tmp_path, "train", *words, *sweep))
    runs = sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert [run.name for run in runs] == ["000_seed-0", "001_seed-1"]
    for run in runs:
        assert same(*weights_of_ranks(run))
        assert (run / "metrics.json").is_file()
        (folder,) = (run / "wandb").glob("offline-run-*")
        kept = offline_wandb.read_offline_run(folder)
        assert (kept.name, kept.exit_code) == (run.name, 0)
        assert {artifact.type for artifact in kept.artifacts.values()} == {"model", "dataset"}
    assert not same(weights_of_ranks(runs[0])[0], weights_of_ranks(runs[1])[0])
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "sweep"}


def test_ranks_solve_for_the_last_layer_that_one_process_finds(
    tiny_species_settings: list[str], tmp_path: Path
) -> None:
    words = [
        *("+experiment=species_frontier", *tiny_species_settings, "model=compact_mobilenet"),
        *("model.weights=null", "trainer.precision=32-true", "memory_format=contiguous", "logger=csv"),
    ]
    found = []
    for trainer in ("cpu", "ddp_cpu"):
        finish(start(tmp_path, "train", *words, f"trainer={trainer}", f"hydra.run.dir={trainer}"))
        content = torch.load(tmp_path / trainer / "checkpoints" / "best.ckpt", weights_only=True)
        found.append({key: value for key, value in content["state_dict"].items() if key.startswith("net.")})
    one, two = found
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[key], two[key], rtol=1e-3, atol=1e-4) for key in one)
