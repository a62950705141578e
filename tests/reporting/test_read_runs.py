"""Reading run directories that may be anything."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from birdlab.callbacks.errors import reliability_table
from birdlab.errors import BirdlabError
from birdlab.files import write_csv
from birdlab.metrics import ReliabilityCurve
from birdlab.reporting.read import find_runs, flat, read_run, read_runs

MakeRun = Callable[..., Path]


def test_every_run_is_found_once_and_named_apart(tmp_path: Path, made_run: MakeRun) -> None:
    for study in ("a", "b"):
        made_run(tmp_path / study / "000_seed-0")
    found = find_runs([tmp_path, tmp_path / "a", tmp_path / "a" / "000_seed-0"])
    assert [record.name for record in read_runs(found)] == ["a/000_seed-0", "b/000_seed-0"]


def test_there_must_be_runs(tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match="no such folder"):
        find_runs([tmp_path / "gone"])
    with pytest.raises(BirdlabError, match=r"no runs in .*a run directory holds config\.yaml"):
        find_runs([tmp_path])


def test_a_finished_run_says_all(tmp_path: Path, made_run: MakeRun) -> None:
    record = read_run(made_run(tmp_path / "run", seed=3, pictures=True), "run")
    assert (record.status, record.reason, record.block) == ("finished", "", "test_tuned")
    assert record.config["seed"] == 3
    assert record.score("iou") == record.scores["test_tuned/iou"]
    assert record.references["energy threshold"]["iou"] == 0.35
    assert record.cost("parameters") == 1_986_817
    assert len(record.samples) == 40
    assert [picture.id for picture in record.pictures] == ["test_00000", "test_00001", "test_00002"]
    assert record.pictures[0].axes == "3 s, 0 to 16 kHz"


@pytest.mark.parametrize(
    ("file", "content", "status", "reason"),
    [
        ("metrics.json", "{", "damaged", "metrics.json is damaged"),
        ("metrics.json", "[1]", "damaged", "metrics.json"),
        ("config.yaml", "a: [", "damaged", "config.yaml is damaged"),
        ("config.yaml", "- a", "damaged", "it holds list, not a mapping"),
        ("config.yaml", "\xff\xfe", "damaged", "config.yaml is damaged"),
        ("provenance.json", "nonsense", "damaged", "provenance.json"),
        ("provenance.json", '{"status": "elsewhere"}', "damaged", "doesn't say how the run ended"),
        ("metrics.csv", "epoch,step\nx,1\n", "finished", "metrics.csv is damaged"),
        ("scores.csv", "id,iou\na\n", "finished", "scores.csv is damaged"),
        ("scores.csv", "name\na\n", "finished", "no column id"),
        ("figures/samples/samples.json", '{"samples": []}', "finished", "figures/samples is damaged"),
    ],
)
def test_damage_is_said_and_nothing_else_is_lost(
    tmp_path: Path, made_run: MakeRun, file: str, content: str, status: str, reason: str
) -> None:
    folder = made_run(tmp_path / "run", pictures=True)
    (folder / file).write_bytes(content.encode("latin-1"))
    record = read_run(folder, "run")
    assert record.status == status
    assert reason in record.reason
    assert str(tmp_path) not in record.reason


def test_scores_that_are_no_numbers_are_left_out(tmp_path: Path, made_run: MakeRun) -> None:
    folder = made_run(tmp_path / "run")
    (folder / "metrics.json").write_text(
        '{"test": {"iou": 0.5, "dice": null, "a": "b", "c": [1], "d": true}}'
    )
    scores = read_run(folder, "run").scores
    assert {name: value for name, value in scores.items() if name.startswith("test")} == {"test/iou": 0.5}


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", "..", "secret.txt", "link.png"])
def test_a_run_cannot_carry_other_files_into_a_report(tmp_path: Path, made_run: MakeRun, name: str) -> None:
    folder = made_run(tmp_path / "run", pictures=True)
    samples = folder / "figures" / "samples"
    for secret in (tmp_path / "run" / "secret.png", samples / "secret.txt"):
        secret.write_text("secret")
    (samples / "link.png").symlink_to(samples / "0_image.png")
    content = json.loads((samples / "samples.json").read_text())
    content["samples"][1]["truth"] = name
    (samples / "samples.json").write_text(json.dumps(content))
    record = read_run(folder, "run")
    assert record.pictures == []
    assert "figures/samples is damaged" in record.reason


def test_a_config_that_explodes_is_refused() -> None:
    node: object = {"x": 1}
    for _ in range(20):
        node = {"a": node, "b": node}
    with pytest.raises(ValueError, match="more than 5000 keys"):
        flat(node)


def test_reliability_is_read_as_runs_write_it(tmp_path: Path, made_run: MakeRun) -> None:
    """A bin without predictions has no probability."""
    folder = made_run(tmp_path / "run")
    curve = ReliabilityCurve.of(torch.tensor([0.1, 0.2, 0.9]), torch.tensor([False, True, True]), bins=4)
    write_csv(folder / "figures" / "calibration.csv", reliability_table(curve, "pixels"))
    (read,) = read_runs(find_runs([tmp_path]))
    assert not read.reason
    ((counted, found),) = read.reliability
    assert counted == "pixels"
    for name, expected in vars(curve).items():
        torch.testing.assert_close(getattr(found, name), expected, equal_nan=True)


def test_what_a_network_starts_from_is_said_as_one_would_type_it(
    tmp_path: Path, made_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_run(tmp_path / "run")
    with (run / "config.yaml").open("a") as file:
        file.write(f"start_from: {tmp_path / 'outputs/first'}\n")
    monkeypatch.chdir(tmp_path)
    assert read_run(run, "run").config["start_from"] == "outputs/first"
    monkeypatch.chdir(run)
    assert read_run(run, "run").config["start_from"] == str(tmp_path / "outputs/first")
