"""The dashboard of a sweep: made offline, of what an offline run has logged."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from birdlab import dashboard
from birdlab.dashboard import LoggedRuns, check_group, report, sections, workspace
from birdlab.errors import BirdlabError

pytest.importorskip("wandb_workspaces")

IMAGE = {"_type": "images/separated", "count": 4}
SUMMARY = {
    "_step": 40,
    "epoch": 3,
    "train/loss": 0.5,
    "val/loss": 0.6,
    "val/iou_resized": 0.5,
    "test/iou": 0.52,
    "test_tuned/iou": 0.53,
    "val/panels": IMAGE,
    "test/confusion": {"_type": "image-file"},
    "a text": "x",
}


def config(optimizer: str, rate: float, seed: int) -> dict[str, Any]:
    return {
        "name": "study",
        "seed": seed,
        "monitor": {"metric": "val/iou_resized", "mode": "max"},
        "optimizer": {"_target_": f"torch.optim.{optimizer}", "lr": rate},
    }


@pytest.fixture
def logged() -> LoggedRuns:
    return LoggedRuns.of(
        (config(optimizer, rate, seed), SUMMARY)
        for optimizer in ("Adam", "SGD")
        for rate in (0.1, 0.01)
        for seed in (0, 1)
    )


def names_in(panels: list[Any]) -> set[str]:
    """Every metric, image and setting that panels name, as they are sent to the server."""
    found: set[str] = set()
    for panel in panels:
        spec = json.loads(panel._to_model().model_dump_json(by_alias=True))["config"]
        found |= {*(spec.get("metrics") or []), *(spec.get("mediaKeys") or [])}
        found |= {column["accessor"] for column in spec.get("columns") or []}
        found |= {spec["targetKey"]} if spec.get("targetKey") else set()
    return found


def test_what_differs_is_found_in_the_logged_configs(logged: LoggedRuns) -> None:
    assert logged.keys == ["optimizer._target_", "optimizer.lr"]
    assert logged.monitored == "val/iou_resized"
    assert logged.score == "test_tuned/iou"
    assert logged.media == {"val/panels", "test/confusion"}


def test_the_panels_of_a_sweep(logged: LoggedRuns) -> None:
    made = sections(logged)
    assert list(made) == ["Curves", "What matters", "Predictions", "Confusion", "Runs"]
    assert names_in(made["Curves"]) == {"val/iou_resized", "train/loss", "val/loss"}
    assert names_in(made["What matters"]) == {
        "test_tuned/iou",
        "config:optimizer.value._target_",
        "config:optimizer.value.lr",
        "summary:test_tuned/iou",
    }
    assert names_in(made["Predictions"]) == {"val/panels"}
    assert names_in(made["Confusion"]) == {"test/confusion"}


def test_the_workspace_shows_one_group_and_groups_by_what_differs(logged: LoggedRuns) -> None:
    name = "mine and (State, 1)"
    made = workspace(logged, "me", "birdlab", name)
    spec = made._to_model().model_dump_json(by_alias=True)
    assert name in spec
    runset = json.loads(spec)["spec"]["section"]["runSets"][0]
    assert [key["name"] for key in runset["grouping"]] == ["optimizer.value._target_", "optimizer.value.lr"]
    assert "summary:test/iou" in spec
    assert json.loads(spec)["displayName"].startswith("birdlab mine")


@pytest.mark.parametrize("group", ["it's mine", 'a "b"', "a=b", "a<b"])
def test_a_group_that_no_filter_can_hold_is_refused(group: str) -> None:
    with pytest.raises(BirdlabError, match="W&B can't filter by a name"):
        check_group(group)


def test_the_report_has_the_same_sections(logged: LoggedRuns) -> None:
    made = report(logged, "me", "birdlab", "study")
    grids = [block for block in made.blocks if type(block).__name__ == "PanelGrid"]
    headings = [block.text for block in made.blocks if type(block).__name__ == "H2"]
    assert headings == list(sections(logged))
    assert [names_in(grid.panels) for grid in grids] == list(map(names_in, sections(logged).values()))
    assert all((grid.runsets[0].entity, grid.runsets[0].project) == ("me", "birdlab") for grid in grids)
    assert all("study" in grid.runsets[0].filters for grid in grids)


def test_one_condition_has_nothing_to_compare() -> None:
    logged = LoggedRuns.of([(config("Adam", 0.1, 0), {"val/iou_resized": 0.5})])
    assert logged.keys == []
    assert logged.score == "val/iou_resized"
    assert list(sections(logged)) == ["Curves", "What matters", "Runs"]
    with pytest.raises(BirdlabError, match="logged no score yet"):
        sections(LoggedRuns.of([(config("Adam", 0.1, 0), {"epoch": 0})]))


def test_without_a_login_it_says_so(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    words = ["--entity", "me", "--group", "study"]
    done = subprocess.run(
        [sys.executable, "-m", "birdlab.dashboard", *words],
        env=environment | {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "there is no login: run `wandb login`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_group_without_runs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def runs(path: str, filters: dict[str, str]) -> list[Any]:
        asked.append((path, filters))
        found = SimpleNamespace(config=config("Adam", 0.1, 0), summary=SUMMARY)
        return [found] if filters["group"] == "a" else []

    monkeypatch.setattr(dashboard, "logged_in", lambda: True)
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(runs=runs))
    assert dashboard.logged_runs("me", "p", "a").score == "test_tuned/iou"
    with pytest.raises(BirdlabError, match="no runs of the group 'b'"):
        dashboard.logged_runs("me", "p", "b")
    assert asked[0] == ("me/p", {"group": "a"})


@pytest.mark.slow
def test_every_name_on_it_exists_in_an_offline_run(
    tmp_path: Path, tiny_pairs: Path, offline_wandb: ModuleType
) -> None:
    command = [sys.executable, "-m", "birdlab.train", "-m", "+experiment=focal_tversky"]
    command += ["data=birdsounds_denoising", f"data.root={tiny_pairs}", "data.image_size=[16,16]"]
    command += ["model.widths=[4,8]", "loader.batch_size=4", "trainer.max_epochs=2", "trainer=cpu"]
    command += ["memory_format=contiguous", "optimizer.lr=0.01,0.001", "hydra.sweep.dir=sweep"]
    environment = os.environ | {"BIRDLAB_CACHE": str(tmp_path / "cache"), "WANDB_MODE": "offline"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folders = sorted((tmp_path / "sweep").glob("*/wandb/offline-run-*"))
    runs = [offline_wandb.read_offline_run(folder) for folder in folders]
    last = [{name: value for row in run.history for name, value in row.items()} for run in runs]
    logged = LoggedRuns.of((run.config, values) for run, values in zip(runs, last, strict=True))
    assert logged.keys == ["optimizer.lr"]
    assert logged.score == "test_tuned/iou"
    made = sections(logged)
    named = {name for panels in made.values() for name in names_in(panels)}
    settings = {"config:optimizer.value.lr"}
    assert named == settings | {
        *("train/loss", "train/rate", "val/loss", "val/iou_resized", "val/panels"),
        *("test/calibration", "test/errors", "test/threshold", "test/worst"),
        *("test_tuned/iou", "summary:test_tuned/iou"),
    }
    assert {name.removeprefix("summary:") for name in named - settings} <= set(last[0])
    assert logged.columns[0] == "config:optimizer.value.lr"
    assert {name.removeprefix("summary:") for name in logged.columns[1:]} <= set(last[0])
    assert {"summary:test/iou", "summary:test/dice"} <= set(logged.columns)
    assert workspace(logged, "me", "birdlab", "focal_tversky")._to_model()
