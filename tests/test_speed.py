"""How fast networks are, said and kept; no test depends on how fast that is."""

import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from birdlab import speed
from birdlab.reporting.read import read_run

FACTS = ("real_time_1_core", "real_time_2_cores")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "REPEATS", 1)
    monkeypatch.setattr(speed, "cpu_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def test_of_runs_of_both_tasks(runs: ModuleType, tmp_path: Path) -> None:
    """It is said, and kept beside what else is known of the run."""
    masks = runs.mask_run(tmp_path / "masks")
    species = runs.species_run(tmp_path / "species")
    masks.note(wall_s=60.0)
    done = CliRunner().invoke(speed.app, [str(masks.directory), str(species.directory), "--minutes", "1"])
    assert done.exit_code == 0, done.output
    for run in (masks, species):
        facts = run.read_json("provenance.json")
        assert all(facts[name] > 0 for name in FACTS)
        assert facts["speed_device"]
        assert read_run(run.directory, "run").cost(FACTS[0]) == facts[FACTS[0]]
        said = rf"{run.directory.name}: times real time: [\d.e+]+ on one core, [\d.e+]+ on two cores"
        assert re.search(said, done.output)
    assert masks.read_json("provenance.json")["wall_s"] == 60.0


def test_all_audio_is_heard_each_time(
    runs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stretch of this network is a second: twenty to warm up, sixty that count."""
    from birdlab.prediction.run_species import RunNamer

    namer = RunNamer.open(runs.species_run(tmp_path / "species").directory)
    heard = []
    monkeypatch.setattr(RunNamer, "scores", lambda self, audio: heard.append(len(audio)))
    assert speed.times_real_time(namer, 60, cores=2) > 0
    assert heard == [namer.sample_rate] * 80


def test_of_an_exported_file(runs: ModuleType, tmp_path: Path) -> None:
    """It is said; there is no run to keep it."""
    pytest.importorskip("onnxruntime")
    from birdlab.export import export

    file = export(runs.mask_run(tmp_path / "run").directory, tmp_path / "model.onnx").path
    done = CliRunner().invoke(speed.app, [str(file), "--minutes", "1"])
    assert done.exit_code == 0, done.output
    assert "model.onnx: times real time:" in done.output
    assert "real_time" not in json.dumps([path.name for path in tmp_path.iterdir()])


def test_what_is_no_network(tmp_path: Path) -> None:
    done = CliRunner().invoke(speed.app, [str(tmp_path / "absent")])
    assert done.exit_code == 2
    assert "no such run directory" in done.stderr.replace("\n", " ")
