"""The run directory: nothing overwritten, always readable, nothing trusted."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from birdlab.checkpoint_io import CheckpointFiles
from birdlab.errors import BirdlabError
from birdlab.files import replacing, replacing_folder, write_csv, write_json
from birdlab.run import Run


def test_a_new_run_takes_an_empty_folder_or_one_where_nothing_began(tmp_path: Path) -> None:
    Run.new(tmp_path / "a")
    Run.new(tmp_path / "a").note(status="failed")
    (tmp_path / "a" / ".provenance.x1y2.json").touch()  # killed while writing
    Run.new(tmp_path / "a")
    (tmp_path / "a" / "mine.txt").write_text("mine")
    with pytest.raises(BirdlabError, match=r"is occupied.*resume="):
        Run.new(tmp_path / "a")
    assert (tmp_path / "a" / "mine.txt").read_text() == "mine"


def test_a_missing_run_is_named_with_those_near_it(tmp_path: Path) -> None:
    Run.new(tmp_path / "study" / "000_seed-0").note(status="finished")
    with pytest.raises(BirdlabError, match=r"no such run directory.*000_seed-0"):
        Run.open(tmp_path / "study" / "000_seed-1")
    with pytest.raises(BirdlabError, match=r"has no config.yaml"):
        Run.open(tmp_path / "study" / "000_seed-0")


def test_a_table_has_every_column_and_leaves_nan_empty(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"id": "a,b", "x": float("nan")}, {"id": "c", "x": 0.1, "y": None}])
    assert (tmp_path / "t.csv").read_text() == 'id,x,y\n"a,b",,\nc,0.1,\n'


def test_commands_and_commits_of_a_run_that_went_on_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.new(tmp_path / "run")
    run.note(command=["birdlab.train", "+experiment=a", "epochs=2"])
    for commit, more in (("1", []), ("2", ["epochs=3"]), ("2", ["epochs=2"])):
        monkeypatch.setattr("birdlab.run._commit", lambda commit=commit: {"commit": commit, "dirty": False})
        run.note_command(more)
        with run.recorded():
            run.write_metrics(threshold=0.5)
    provenance = run.read_json("provenance.json")
    assert provenance["command"] == ["birdlab.train", "+experiment=a", "epochs=3", "epochs=2"]
    assert (provenance["earlier_commits"], provenance["commit"]) == (["1"], "2")


def test_a_start_that_was_refused_leaves_nothing_to_the_run_that_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.new(tmp_path / "run")
    run.note(commit="1", wall_s=7e6, status="failed", error="a wrong setting")
    monkeypatch.setattr("birdlab.run._commit", lambda: {"commit": "2", "dirty": False})
    with run.recorded():
        run.write_metrics(threshold=0.5)
    provenance = run.read_json("provenance.json")
    assert "earlier_commits" not in provenance
    assert provenance["commit"] == "2"
    assert provenance["wall_s"] < 7e6


@pytest.mark.parametrize(
    ("raised", "status"),
    [(None, "finished"), (KeyboardInterrupt, "interrupted"), (RuntimeError("why"), "failed")],
)
def test_provenance_says_how_it_ended(tmp_path: Path, raised: type | Exception | None, status: str) -> None:
    run = Run.new(tmp_path / "run")
    for _ in range(2):  # time adds up over a resume
        try:
            with run.recorded(seed=3):
                assert run.read_json("provenance.json")["status"] == "running"
                if raised:
                    raise raised
        except (KeyboardInterrupt, RuntimeError):
            pass
    provenance = run.read_json("provenance.json")
    assert provenance["status"] == status
    assert provenance["seed"] == 3
    assert (provenance["error"] or "").endswith("why" if status == "failed" else "")
    assert {"torch", "lightning", "numpy"} <= provenance["versions"].keys()


def test_time_before_a_kill_counts(tmp_path: Path) -> None:
    run = Run.new(tmp_path / "run")
    run.note(status="running", began=1_000.0, wall_s=7.0)
    run.checkpoints.mkdir()
    run.last.touch()
    os.utime(run.last, (1_060.0, 1_060.0))
    with run.recorded():
        pass
    assert 67 <= run.read_json("provenance.json")["wall_s"] < 68


def test_a_full_disk_is_a_mistake_that_can_be_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.new(tmp_path / "run")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "metrics.csv")

    with (
        pytest.raises(BirdlabError, match=r"^metrics\.csv: No space left.*go on with resume="),
        run.recorded(),
    ):
        full()
    assert "No space left" in run.read_json("provenance.json")["error"]

    # What went wrong first is what is heard, although nothing more can be written down.
    def fail_while_the_disk_fills() -> None:
        with run.recorded():
            monkeypatch.setattr(Run, "note", full)
            raise RuntimeError("first")

    with pytest.raises(RuntimeError, match="first"):
        fail_while_the_disk_fills()


def test_metrics_are_of_one_network_and_have_no_nan(tmp_path: Path) -> None:
    run = Run.new(tmp_path / "run")
    run.write_metrics(test={"iou": 0.4}, confidence=0.8)
    run.write_metrics(test={"iou": 0.5, "false_positive_area": float("nan")}, threshold=0.4)
    text = (run.directory / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "schema": 1,
        "test": {"iou": 0.5, "false_positive_area": None},
        "threshold": 0.4,
    }


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    run = Run.new(tmp_path / "run")
    with pytest.raises(BirdlabError, match=r"best\.ckpt is absent"):
        run.checkpoint(run.best)
    CheckpointFiles().save_checkpoint({"state_dict": {"w": torch.ones(3)}}, run.best)
    assert run.checkpoint(run.best)["state_dict"]["w"].tolist() == [1, 1, 1]
    run.best.write_bytes(run.best.read_bytes()[:-100])
    with pytest.raises(BirdlabError, match=r"best\.ckpt can't be loaded"):
        run.checkpoint(run.best)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    CheckpointFiles().save_checkpoint({"epoch": 1}, path)

    def disk_full(content: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(BirdlabError, match=r"No space left.*make room and go on with resume="):
        CheckpointFiles().save_checkpoint({"epoch": 2}, path)
    assert CheckpointFiles().load_checkpoint(path)["epoch"] == 1
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_json(path, {"a": [1.5, float("nan")]})

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert json.loads(path.read_text()) == {"a": [1.5, None]}
    assert [file.name for file in tmp_path.iterdir()] == ["scores.json"]


def test_folders_that_two_put_in_one_place_are_whole(tmp_path: Path) -> None:
    def put(number: int) -> None:
        with replacing_folder(tmp_path / "report") as folder:
            (folder / "a").write_text(str(number))
            (folder / "b").write_text(str(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(200)))
    assert (tmp_path / "report" / "a").read_text() == (tmp_path / "report" / "b").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_fact_can_be_taken_back(tmp_path: Path) -> None:
    run = Run.new(tmp_path / "run")
    run.note(bird_free={"hours": 1}, commit="1")
    run.forget("bird_free")
    run.forget("bird_free")
    assert run.read_json("provenance.json") == {"commit": "1"}
