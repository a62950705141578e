"""How fast networks are, said and kept; no test depends on how fast that is."""

import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from birdlab import speed
from birdlab.prediction.opening import open_any
from birdlab.prediction.run_network import RunNetwork
from birdlab.prediction.run_species import RunNamer
from birdlab.reporting.read import read_run
from birdlab.run import device_name

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
        assert all(facts[f"{name}_device"] == device_name("cpu") for name in FACTS)
        assert read_run(run.directory, "run").cost(FACTS[0]) == facts[FACTS[0]]
        said = rf"{run.directory.name}: times real time: [\d.e+]+ on one core, [\d.e+]+ on two cores"
        assert re.search(said, done.output)
    assert masks.read_json("provenance.json")["wall_s"] == 60.0


def test_all_audio_is_heard_each_time(
    runs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stretch of this network is a second: twenty to warm up, sixty that count."""
    namer = RunNamer.open(runs.species_run(tmp_path / "species").directory)
    heard = []
    monkeypatch.setattr(RunNamer, "scores", lambda self, audio: heard.append(len(audio)))
    assert speed.times_real_time(namer, 60, cores=2) > 0
    assert heard == [namer.sample_rate] * 80


@pytest.mark.parametrize("kind", ["mask_run", "species_run"])
def test_cores_are_measured_where_there_is_a_gpu(
    kind: str, runs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each figure where it says, with the device beside it. The GPU is one that computes nothing."""
    heard = []

    def times(network: RunNetwork | RunNamer, seconds: float, at_once: int) -> float:
        heard.append((network.task.device.type, at_once))
        assert "model" not in vars(network)  # whose tables would lie where it was before
        if network.task.device.type == "cpu":
            assert network.model
        return 10.0

    network = open_any(getattr(runs, kind)(tmp_path / "run").directory)
    monkeypatch.setattr(speed, "open_any", lambda *args, **settings: network)
    monkeypatch.setattr(speed, "times_real_time", times)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Some GPU")
    on = speed._on
    monkeypatch.setattr(speed, "_on", lambda device, network: on(device.replace("cuda", "meta"), network))
    done = CliRunner().invoke(speed.app, [str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert heard == [("cpu", 1), ("cpu", 2), ("meta", 2)]
    facts = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert facts["real_time_gpu_device"] == "Some GPU"
    assert facts["real_time_2_cores_device"] == device_name("cpu") != "Some GPU"
    assert "10 on the GPU" in done.output
    assert done.output.rstrip().endswith("; Some GPU).")


def test_of_an_exported_file(runs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said; there is no run to keep it."""
    pytest.importorskip("onnxruntime")
    from birdlab.export import export

    file = export(runs.mask_run(tmp_path / "run").directory, tmp_path / "model.onnx").path
    # onnxruntime computes on the CPU whatever else there is.
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    done = CliRunner().invoke(speed.app, [str(file), "--minutes", "1"])
    assert done.exit_code == 0, done.output
    assert "model.onnx: times real time:" in done.output
    assert "GPU" not in done.output
    assert "real_time" not in json.dumps([path.name for path in tmp_path.iterdir()])


def test_what_is_no_network(tmp_path: Path) -> None:
    done = CliRunner().invoke(speed.app, [str(tmp_path / "absent")])
    assert done.exit_code == 2
    assert "no such run directory" in done.stderr.replace("\n", " ")
