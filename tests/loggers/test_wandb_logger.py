import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import wandb

from birdlab.errors import BirdlabError
from birdlab.loggers import WandB


@pytest.fixture
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the login nor the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def offline_runs(directory: Path) -> list[Path]:
    return sorted((directory / "wandb").glob("offline-run-*"))


@pytest.mark.usefixtures("no_login")
def test_without_a_login_a_run_is_kept_and_says_how_to_upload_it(
    tmp_path: Path, offline_wandb: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "003_adam_seed-0"
    directory.mkdir()
    logger = WandB(directory, group="focal_tversky")
    logger.log_hyperparams({"optimizer": {"lr": 0.01}, "data": {"image_size": [128, 128]}})
    logger.log_metrics({"val/loss": 0.5, "epoch": 0}, step=9)
    logger.log_metrics({"train/loss": 0.25, "epoch": 0}, step=9)
    logger.log_metrics({"val/loss": 0.125, "epoch": 1}, step=19)
    logger.finalize("success")
    logger.log_metrics({"test/iou": 0.75}, step=20)
    logger.finish()

    (folder,) = offline_runs(directory)
    run = offline_wandb.read_offline_run(folder)
    assert (run.project, run.group, run.name) == ("birdlab", "focal_tversky", "003_adam_seed-0")
    assert folder.name.endswith(run.id)
    assert run.config == {"optimizer": {"lr": 0.01}, "data": {"image_size": [128, 128]}}
    logged = [{key: value for key, value in row.items() if not key.startswith("_")} for row in run.history]
    assert logged == [
        {"val/loss": 0.5, "epoch": 0, "trainer/global_step": 9},
        {"train/loss": 0.25, "epoch": 0, "trainer/global_step": 9},
        {"val/loss": 0.125, "epoch": 1, "trainer/global_step": 19},
        {"test/iou": 0.75, "trainer/global_step": 20},
    ]
    assert [row["_step"] for row in run.history] == [9, 10, 19, 20]
    assert run.summary["val/loss"] == 0.125
    assert run.exit_code == 0
    said = capsys.readouterr().out
    assert said == f"W&B is offline; upload with: wandb sync {folder}\n"


@pytest.mark.usefixtures("no_login")
def test_a_resumed_run_goes_on_and_another_one_is_another_one(
    tmp_path: Path, offline_wandb: ModuleType
) -> None:
    def run(name: str, step: int, status: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        logger = WandB(tmp_path / name)
        logger.log_metrics({"val/loss": 1.0}, step=step)
        logger.finalize(status)
        logger.finish()

    run("one", 9, "failed")
    run("other", 9, "success")
    first = offline_runs(tmp_path / "one")[0]
    first.rename(first.with_name(first.name.replace("run-2", "run-1")))  # a second later at least
    run("one", 19, "success")

    one = [offline_wandb.read_offline_run(folder) for folder in offline_runs(tmp_path / "one")]
    (other,) = [offline_wandb.read_offline_run(folder) for folder in offline_runs(tmp_path / "other")]
    assert [run.id for run in one] == [one[0].id] * 2
    assert other.id != one[0].id
    assert [[row["_step"] for row in run.history] for run in one] == [[9], [19]]
    assert [run.exit_code for run in one] == [1, 0]


@pytest.mark.usefixtures("no_login")
def test_with_a_login_or_a_wish_of_the_users_wandb_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert WandB(tmp_path).offline
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "online")
            assert not WandB(tmp_path).offline
    (tmp_path / "netrc").write_text("machine example.org login user password secret\n")
    assert WandB(tmp_path).offline
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert not WandB(tmp_path).offline
    (tmp_path / "netrc").write_text("no netrc file at all")
    assert WandB(tmp_path).offline


def a_run_that_ends_well(directory: Path, **settings: float) -> list[Path]:
    """Log one value, and keep what there is to keep."""
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "best.ckpt").write_bytes(bytes(3000))
    (directory / "splits.json").write_text("{}")
    (directory / "provenance.json").write_text('{"data_hash": "0123456789abcdef"}')
    logger = WandB(directory, **settings)
    logger.log_metrics({"val/loss": 1.0}, step=0)
    logger.finalize("success")
    logger.finish()
    return offline_runs(directory)


@pytest.mark.usefixtures("no_login")
@pytest.mark.parametrize(("limit", "kept"), [(0.01, {"model", "dataset"}), (0.001, {"dataset"}), (0, set())])
def test_small_files_are_kept_with_a_run_that_ends_well(
    tmp_path: Path, offline_wandb: ModuleType, limit: float, kept: set[str]
) -> None:
    (folder,) = a_run_that_ends_well(tmp_path, artifact_mb=limit)
    run = offline_wandb.read_offline_run(folder)
    artifacts = {artifact.type: (name, artifact.files) for name, artifact in run.artifacts.items()}
    expected = {
        "model": (f"model-{run.id}", {"best.ckpt": tmp_path / "checkpoints" / "best.ckpt"}),
        "dataset": ("data-0123456789ab", {"splits.json": tmp_path / "splits.json"}),
    }
    assert artifacts == {kind: expected[kind] for kind in kept}


@pytest.mark.usefixtures("no_login")
def test_a_server_that_does_not_answer_leaves_the_run_on_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    offline_wandb: ModuleType,
) -> None:
    begin = wandb.init

    def unreachable(*, mode: str | None, **settings: object) -> object:
        if mode != "offline":
            raise wandb.errors.CommError("Run initialization has timed out")
        return begin(mode=mode, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(wandb, "init", unreachable)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    logger = WandB(tmp_path)
    assert not logger.offline
    logger.log_metrics({"val/loss": 1.0}, step=0)
    logger.finish()
    (folder,) = offline_runs(tmp_path)
    assert [row["val/loss"] for row in offline_wandb.read_offline_run(folder).history] == [1.0]
    said = capsys.readouterr()
    assert said.err.count("timed out). The training goes on") == 1
    assert f"upload with: wandb sync {folder}" in said.out


@pytest.mark.usefixtures("no_login")
def test_a_login_that_is_refused_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**settings: object) -> None:
        raise wandb.errors.AuthenticationError("the API key is wrong")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(BirdlabError, match=r"refuses the login: the API key is wrong\. .*wandb login"):
        WandB(tmp_path).log_hyperparams({"seed": 0})


LOST = """
import os, signal, subprocess, sys
from pathlib import Path
from birdlab.loggers import WandB

def run(name):
    Path(name).mkdir()
    logger = WandB(Path(name))
    logger.log_metrics({"val/loss": 1.0}, step=0)
    yield logger
    logger.log_metrics({"val/loss": 0.5}, step=1)
    logger.finalize("success")
    logger.finish()
    yield

one = run("one")
next(one)
found = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=True)
for service in found.stdout.split():
    os.kill(int(service), signal.SIGKILL)
next(one)
list(run("two"))
"""


@pytest.mark.skipif(shutil.which("pgrep") is None, reason="no pgrep, which finds the service")
@pytest.mark.slow
@pytest.mark.usefixtures("no_login")
def test_when_the_service_dies_the_training_and_the_next_run_go_on(
    tmp_path: Path, offline_wandb: ModuleType
) -> None:
    done = subprocess.run([sys.executable, "-c", LOST], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("The training goes on") == 1
    (lost,), (whole,) = offline_runs(tmp_path / "one"), offline_runs(tmp_path / "two")
    assert f"upload with: wandb sync {Path('one/wandb') / lost.name}" in done.stdout
    assert len(offline_wandb.read_offline_run(whole).history) == 2
