"""Sweeps as a user starts them: mistakes end at once, failures stay alone, what was cut short is finished."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from birdlab import train
from birdlab.errors import BirdlabError
from birdlab.loggers import read_history
from birdlab.run import Run
from hydra_plugins.birdlab import sweeper

LAUNCHERS = ("basic", "joblib", "submitit_local", "ray")
PACKAGES = {"submitit_local": "submitit"}

OWN_LOSS = """
import os, signal
from birdlab.losses import BCELoss

class Fatal(BCELoss):
    def __init__(self, fate: str) -> None:
        super().__init__()
        self.fate = fate

    def forward(self, logits, truth):
        if self.fate == "raise":
            raise KeyError("no reason at all")
        if self.fate == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(logits, truth)
"""


def start(*words: str, cwd: Path, threads: str = "1") -> subprocess.Popen[str]:
    """A training in a process group of its own; with ``threads`` empty as many as it takes by itself."""
    environment = os.environ | {"BIRDLAB_CACHE": str(cwd / "cache"), "COLUMNS": "200"}
    environment["OMP_NUM_THREADS"] = threads
    if not threads:
        del environment["OMP_NUM_THREADS"]
    environment["PYTHONPATH"] = os.pathsep.join([str(cwd), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "birdlab.train", *words],
        cwd=cwd,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(*words: str, cwd: Path, threads: str = "1") -> tuple[int, str, str]:
    process = start(*words, cwd=cwd, threads=threads)
    out, err = process.communicate()
    return process.returncode, out, err


def needs(launcher: str) -> None:
    if launcher != "basic":
        pytest.importorskip(PACKAGES.get(launcher, launcher))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return Run.open(run).checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs birdlab.train in this process, where it has to fail; what it says."""

    def run(*words: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["train", *words])
        monkeypatch.setattr(train, "train", lambda cfg, run: pytest.fail("a job ran"))
        with pytest.raises(SystemExit) as ended:
            train.main()
        assert ended.value.code == 2
        assert not list(tmp_path.rglob("provenance.json"))
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "optimizer.lrr=0.1,0.2"], "no key 'optimizer.lrr'; nearest: optimizer.lr"),
        (["-m", "optimizer=adam,sdg"], "optimizer=sdg: there is no such choice; nearest: sgd"),
        (["-m", "+optimizer.lrr=0.1,0.2"], "000_lrr-0.1_seed-0: There is no key 'optimizer.lrr'"),
        (["-m", "seed=[]"], "seed=[]: this is an empty list"),
        (["-m", "seed=range(0,0)"], "seed=range(0,0): this is an empty list"),
        (["-m", "optimizer=adam,sgd", "optimizer.lr="], "optimizer.lr= gives no value"),
        (
            ["-m", "optimizer=sgd,adam", "optimizer.nesterov=true,false"],
            "Could not override 'optimizer.nesterov'",
        ),
        (["+sweep=pretrained_vs_scratch"], "model.weights=imagenet: there are none for this network"),
        (["+sweep=seeds", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0"),
        (["sweep.resume=nowhere"], "sweep.resume=nowhere: this is no sweep, there is no such folder"),
        (["sweep.resume=."], "it has no sweep.json"),
        (["sweep.resume=.", "seed=1"], "seed=1 can't stand beside sweep.resume=."),
    ],
)
def test_mistakes_are_named_before_any_job_runs(
    command: Callable[..., str], words: list[str], said: str
) -> None:
    assert said in command(*words)


def test_a_key_that_a_sweep_of_ones_own_misspells_is_named(
    command: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "mine" / "sweep").mkdir(parents=True)
    text = (
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      optimizer.lrr: 1,2\n"
    )
    (tmp_path / "mine" / "sweep" / "rates.yaml").write_text(text)
    said = command("--config-dir", "mine", "+sweep=rates")
    assert "no key 'optimizer.lrr'; nearest: optimizer.lr" in said


def test_two_sweeps_into_one_directory_are_refused(command: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    said = command("+sweep=seeds", "hydra.sweep.dir=sweep")
    assert "is occupied. Finish the sweep in it by sweep.resume=" in said
    assert (tmp_path / "sweep" / "sweep.json").read_text() == "{}"


def test_a_sweep_from_elsewhere_builds_nothing_that_birdlab_does_not_ship(
    command: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass X: pass\n")
    (tmp_path / "evil.yaml").write_text("# @package _global_\nhydra: {job_logging: {x: {(): evil.X}}}\n")
    more = "changes more than its own settings"
    for word, said in {
        "++model._target_=os.abort": "os.abort: this config builds what birdlab doesn't ship",
        "++model._target_=evil.X": "evil.X: this config builds what birdlab doesn't ship",
        "++model={_target_: evil.X}": more,
        "name=${oc.env:HOME}": "looks something up on your machine",
        f"+experiment=../../../../../../..{tmp_path}/evil": more,
        "+experiment@hydra.x=focal_tversky": more,
        "trust=true": more,
        "resume=elsewhere": more,
    }.items():
        jobs = [{"name": "000", "overrides": [word]}]
        (tmp_path / "sweep.json").write_text(json.dumps({"jobs": jobs}))
        assert said in command("sweep.resume=.")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("failure", [KeyError("seed"), BirdlabError("no data"), MemoryError()])
def test_a_failed_job_leaves_no_memory_taken(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Network: ...

    seen: list[weakref.ref[Network]] = []

    def task(cfg: DictConfig) -> None:
        network = Network()
        seen.append(weakref.ref(network))
        raise failure.with_traceback(None)

    monkeypatch.setattr(sweeper, "_name", lambda: "000_seed-0")
    gc.disable()
    try:
        with pytest.raises(CompactHydraException) as told:
            sweeper.isolated(task)(DictConfig({}))
    finally:
        gc.enable()
    failure.__traceback__ = None  # this test's own hold on it
    assert type(failure).__name__ in str(told.value) or "no data" in str(told.value)
    assert told.value.__context__ is None
    assert seen[0]() is None
    assert "000_seed-0" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_what_happens_to_one_job_happens_to_no_other(
    launcher: str, tmp_path: Path, tiny_study: tuple[str, ...]
) -> None:
    needs(launcher)
    (tmp_path / "own_loss.py").write_text(OWN_LOSS)
    (tmp_path / "mine" / "loss").mkdir(parents=True)
    (tmp_path / "mine" / "loss" / "fatal.yaml").write_text("_target_: own_loss.Fatal\nfate: none\n")
    fates = "raise,none" if launcher == "basic" else "raise,kill,none"
    own = ("--config-dir", "mine", *tiny_study, "loss=fatal", f"loss.fate={fates}")
    at_once = ("hydra.launcher.n_jobs=2",) if launcher == "joblib" else ()
    words = ("-m", *own, f"hydra/launcher={launcher}", *at_once, "hydra.sweep.dir=the sweep")
    code, out, err = ended(*words, cwd=tmp_path, threads="")
    assert code == 2, out + err
    fated = len(fates.split(",")) - 1
    assert f"{fated} of the sweep's {fated + 1} runs did not finish:" in err
    assert "  000_fate-raise_seed-0: KeyError: 'no reason at all'" in err
    assert ("001_fate-kill_seed-0: was killed" in err) == ("kill" in fates)
    runs = tmp_path / "the sweep"
    finished = [path.parent.name for path in runs.glob("*/metrics.json")]
    assert finished == [f"{fated:03d}_fate-none_seed-0"]
    if launcher == "joblib":
        threads = max(1, len(os.sched_getaffinity(0)) // 2)
        noted = Run(runs / finished[0]).read_json("provenance.json")
        assert noted["cpu_threads"] == threads


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_killed_sweep_is_finished_with_the_weights_of_one_that_was_not(
    launcher: str, tmp_path: Path, tiny_study: tuple[str, ...]
) -> None:
    needs(launcher)
    words = ("-m", *tiny_study, "trainer.max_epochs=12", "seed=0,1,2")
    where = (f"hydra/launcher={launcher}", *(("hydra.launcher.n_jobs=2",) if launcher == "joblib" else ()))
    code, _, err = ended(*words, "hydra.sweep.dir=whole", cwd=tmp_path)
    assert code == 0, err

    process = start(*words, *where, "hydra.sweep.dir=killed", cwd=tmp_path)
    second = tmp_path / "killed" / "001_seed-1"
    while process.poll() is None and len(read_history(second / "metrics.csv")) < 3:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)  # of its children nobody tells, and they must end all the same
    process.communicate()
    deadline = time.monotonic() + 60
    while not free(second):
        assert time.monotonic() < deadline, "a run outlived its sweep"
        time.sleep(0.1)
    assert not (second / "metrics.json").exists()
    reached = torch.load(second / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]
    assert len(read_history(second / "metrics.csv")) - (reached + 1) <= 1

    untouched = {path: path.stat().st_mtime_ns for path in finished_files(tmp_path / "killed")}
    code, out, err = ended("sweep.resume=killed", *where, cwd=tmp_path)
    assert code == 0, out + err
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in untouched.items())
    names = sorted(path.name for path in (tmp_path / "whole").iterdir() if path.is_dir())
    assert names == ["000_seed-0", "001_seed-1", "002_seed-2"]
    for name in names:
        whole, killed = tmp_path / "whole" / name, tmp_path / "killed" / name
        one, other = weights(whole), weights(killed)
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert (whole / "metrics.csv").read_text() == (killed / "metrics.csv").read_text()
    code, out, _ = ended("sweep.resume=killed", cwd=tmp_path)
    assert (code, "0 of 3 runs to do" in out) == (0, True)


def free(run: Path) -> bool:
    try:
        with Run(run).held():
            return True
    except BirdlabError:
        return False


def finished_files(sweep: Path) -> list[Path]:
    runs = [path for path in sweep.iterdir() if path.is_dir() and Run(path).finished]
    return [path for run in runs for path in run.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_ten_runs_that_begin_at_once_share_their_data_and_nothing_else(
    tmp_path: Path, tiny_study: tuple[str, ...], offline_wandb: ModuleType
) -> None:
    own = [word for word in tiny_study if not word.startswith(("data=", "data.root=", "logger="))]
    size = ("data=synthetic", "scale=smoke", "trainer.max_epochs=1", "logger=wandb")
    processes = [start(*own, *size, f"seed={seed}", cwd=tmp_path) for seed in range(10)]
    told = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, told
    runs = sorted((tmp_path / "outputs" / "focal_tversky").iterdir())
    assert [run.name[:3] for run in runs] == [f"{number:03d}" for number in range(10)]

    assert sorted(run.name.rpartition("_seed-")[2] for run in runs) == [str(seed) for seed in range(10)]
    assert len({Run(run).read_json("provenance.json")["data_hash"] for run in runs}) == 1
    assert sorted(path.name.split("-")[0] for path in (tmp_path / "cache").rglob("*-*") if path.is_dir()) == [
        "test",
        "train",
        "val",
    ]
    assert len(list((tmp_path / "data" / "synthetic").glob("*/parameters.json"))) == 1
    logged = [
        offline_wandb.read_offline_run(folder) for folder in tmp_path.glob("outputs/*/*/wandb/offline-run-*")
    ]
    assert {run.group for run in logged} == {"focal_tversky"}
    assert sorted(run.name for run in logged) == [run.name for run in runs]
    assert len({run.id for run in logged}) == 10
