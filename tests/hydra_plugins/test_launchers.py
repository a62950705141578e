"""Who gets which GPU and how many threads, and what a launcher hands on to its runs."""

import os
import threading
from pathlib import Path

import pytest
from hydra.types import HydraContext
from omegaconf import OmegaConf

from birdlab.errors import BirdlabError
from hydra_plugins.birdlab import launchers
from hydra_plugins.birdlab.launchers import Command, JoblibLauncher, cores_of, share, visible_gpus


def test_places_take_turns_on_the_gpus_and_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launchers, "cpu_count", lambda: 8)
    shares = [share(place, 3, ["4", "7"]) for place in range(3)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in shares] == ["4", "7", "4"]
    assert {one["OMP_NUM_THREADS"] for one in shares} == {"2"}
    assert share(0, 3, []) == {"OMP_NUM_THREADS": "2"}
    assert [cores_of(place, 3, range(8)) for place in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert [cores_of(place, 3, [5, 6]) for place in range(3)] == [[5], [6], [5]]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores can't be pinned on this system")
def test_pinned_cores_are_not_shared_out_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    pinned = threading.local()
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: setattr(pinned, "cores", cores))
    monkeypatch.setattr(launchers, "usable_cores", lambda: list(range(8)))
    monkeypatch.setattr(launchers, "cpu_count", lambda: len(getattr(pinned, "cores", range(8))))
    monkeypatch.setattr(launchers, "visible_gpus", list)
    given = []
    monkeypatch.setattr(Command, "__call__", lambda _, **environment: given.append(environment) or 0)
    commands = [Command(tmp_path / str(number), (), (), ()) for number in range(4)]
    assert sorted(JoblibLauncher(n_jobs=2).run(commands)) == [(number, 0) for number in range(4)]
    assert given == [{"OMP_NUM_THREADS": "4"}] * 4


def test_threads_that_the_user_has_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert share(0, 2, []) == {"OMP_NUM_THREADS": "5"}


def test_gpus_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-1a")
    assert visible_gpus() == ["3", "GPU-1a"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["0", "1"]


def launcher(launcher: JoblibLauncher, tmp_path: Path) -> JoblibLauncher:
    hydra = {
        "sweep": {"dir": str(tmp_path / "the sweep")},
        "overrides": {"hydra": ["hydra/launcher=joblib", "hydra.sweep.dir=x", "hydra.verbose=true"]},
        "runtime": {
            "config_sources": [
                {"provider": "main", "path": "a"},
                {"provider": "command-line", "path": "mine"},
            ]
        },
    }
    launcher.setup(
        hydra_context=HydraContext(None, None), task_function=print, config=OmegaConf.create({"hydra": hydra})
    )
    return launcher


def test_a_job_becomes_the_command_of_a_single_run(tmp_path: Path) -> None:
    made = launcher(JoblibLauncher(), tmp_path)._command(["seed=1", "hydra.sweep.subdir=000_seed-1"])
    assert made.directory == tmp_path / "the sweep" / "000_seed-1"
    assert made.options == ("--config-dir", "mine")
    assert made.words == ("seed=1",)
    assert made.hydra == ("hydra.verbose=true",)


@pytest.mark.parametrize("ending", ["exit 3", "kill -9 $$"])
def test_however_one_command_ends_the_others_run(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = launcher(JoblibLauncher(n_jobs=2), tmp_path)
    (tmp_path / "the sweep").mkdir()
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@"\ncase "$*" in *seed=1*) {ending};; esac\n')
    python.chmod(0o755)
    monkeypatch.setattr(launchers.sys, "executable", str(python))
    jobs = [[f"seed={seed}", f"hydra.sweep.subdir=00{seed}"] for seed in range(3)]
    results = made.launch(jobs, 0)
    assert [result.status.name for result in results] == ["COMPLETED", "FAILED", "COMPLETED"]
    log = (tmp_path / "the sweep" / "000.log").read_text()
    assert log.startswith("-m birdlab.train --config-dir mine seed=0 hydra.verbose=true hydra.mode=RUN")


def test_a_command_whose_run_has_begun_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchers.sys, "executable", "echo")
    directory = tmp_path / "000_seed-0"
    command = Command(directory, (), ("seed=0", "trust=true"), ())
    assert command() == 0
    directory.mkdir()
    (directory / "config.yaml").touch()
    assert command() == 0
    first, second = (tmp_path / "000_seed-0.log").read_text().splitlines()
    assert "seed=0" in first
    assert f"resume={directory} trust=true" in second
    assert "seed=0" not in second.replace(str(directory), "")


def test_a_launcher_without_its_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JoblibLauncher, "package", "no_such_package")
    with pytest.raises(BirdlabError, match=r"pip install 'birdlab\[sweeps\]'"):
        launcher(JoblibLauncher(), tmp_path)


def test_what_a_command_began_is_gone_on_with_and_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster may queue it again; a config from elsewhere comes with ``resume=``."""
    said: list[list[str]] = []

    class Process:
        def __init__(self, words: list[str], **_: object) -> None:
            said.append(words[3:-2])

        __enter__, __exit__ = (lambda self: self), (lambda *_: None)
        wait = staticmethod(lambda: 0)

    monkeypatch.setattr(launchers.subprocess, "Popen", Process)
    run = tmp_path / "000"
    own, other = Command(run, (), ("loss=mine",), ()), Command(run, (), (f"resume={run}",), ())
    own()
    run.mkdir()
    (run / "config.yaml").touch()
    own()
    other()
    assert said == [["loss=mine"], [f"resume={run}", "trust=true"], [f"resume={run}"]]
