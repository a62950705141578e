"""Exported files say what the run says, about any length of audio, and what they are."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import birdlab
from birdlab.audio import io
from birdlab.audio.grid import Grid
from birdlab.errors import BirdlabError
from birdlab.export import TOLERANCE, app, export
from birdlab.predict import app as predict_app
from birdlab.prediction.naming import confidence_for
from birdlab.prediction.network import threshold_for
from birdlab.prediction.onnx_network import OnnxNamer, OnnxNetwork, run_file
from birdlab.prediction.run_callers import RunCallers
from birdlab.prediction.run_network import RunNetwork
from birdlab.prediction.run_species import RunNamer
from birdlab.prediction.stream import joined, stitched

onnx = pytest.importorskip("onnx")

RATE, SPECIES_RATE = 32_000, 16_000


@pytest.fixture(scope="module")
def masks(runs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that marks birds, and its file."""
    run = runs.mask_run(tmp_path_factory.mktemp("masks") / "run", temperature=0.5)
    run.write_metrics(box_threshold=0.65)
    directory = run.directory
    return directory, export(directory, directory / "model.onnx").path


@pytest.fixture(scope="module")
def species(runs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that names species, and its file."""
    directory = runs.species_run(tmp_path_factory.mktemp("species") / "run", temperature=0.5).directory
    return directory, export(directory, directory / "model.onnx", licence="CC BY-NC 4.0").path


def noise(seconds: float, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def real(folder: Path, seconds: float, rate: int = RATE) -> np.ndarray:
    file = min((folder / "boxes" / "audio").iterdir())
    audio = io.read(file, rate)
    return np.tile(audio, 4)[: round(seconds * rate)]


@pytest.mark.parametrize("seconds", [1 / RATE, 0.003, 2.9, 2.999, 3.0, 7.7])
def test_masks_of_any_length_are_those_of_the_run(masks: tuple[Path, Path], seconds: float) -> None:
    """Shorter than a frame, than a window, just as long, and longer: windows, cross-fades and all."""
    audio = noise(seconds)
    in_torch = joined(list(stitched(RunNetwork.open(masks[0]), [audio])))
    in_onnx = run_file(masks[1])(audio)
    assert in_onnx.shape == (513, Grid().covering_columns(len(audio)))
    np.testing.assert_allclose(in_onnx, in_torch, atol=TOLERANCE)
    assert in_torch.std() > 10 * TOLERANCE
    streamed = joined(list(stitched(OnnxNetwork.open(masks[1]), [audio])))
    np.testing.assert_allclose(streamed, in_torch, atol=TOLERANCE)


@pytest.mark.parametrize("seconds", [0.5, 3.0, 7.7])
def test_masks_of_levels(runs: ModuleType, tmp_path: Path, seconds: float) -> None:
    directory = runs.levels_run(tmp_path / "run").directory
    audio = noise(seconds)
    in_torch = joined(list(stitched(RunNetwork.open(directory), [audio])))
    in_onnx = run_file(export(directory, tmp_path / "model.onnx").path)(audio)
    np.testing.assert_allclose(in_onnx, in_torch, atol=TOLERANCE)
    assert in_torch.std() > 10 * TOLERANCE


@pytest.mark.parametrize("seconds", [1.7, 8.2])
def test_masks_of_real_sound(masks: tuple[Path, Path], real_data: Path, seconds: float) -> None:
    audio = real(real_data, seconds)
    in_torch = joined(list(stitched(RunNetwork.open(masks[0]), [audio])))
    np.testing.assert_allclose(run_file(masks[1])(audio), in_torch, atol=TOLERANCE)


@pytest.mark.parametrize("seconds", [1 / SPECIES_RATE, 0.02, 0.4, 1.0, 2.5])
def test_species_of_any_length_are_those_of_the_run(species: tuple[Path, Path], seconds: float) -> None:
    audio = noise(seconds, SPECIES_RATE)
    in_torch = RunNamer.open(species[0]).scores(audio)
    assert in_torch.shape == (3,)
    assert in_torch.sum() == pytest.approx(1)
    np.testing.assert_allclose(OnnxNamer.open(species[1]).scores(audio), in_torch, atol=TOLERANCE)


def test_of_both_tasks_marks_and_names_are_a_file_each(runs: ModuleType, tmp_path: Path) -> None:
    directory = runs.callers_run(tmp_path / "run").directory
    in_torch = RunCallers.open(directory)
    in_onnx = OnnxNamer.open(export(directory, tmp_path / "names.onnx", names=True).path)
    for name in ("name", "sample_rate", "seconds", "species", "multilabel", "validation_accuracy"):
        assert getattr(in_onnx, name) == getattr(in_torch, name)
    said = [in_torch.scores(noise(seconds)) for seconds in (1 / RATE, 0.5, 3.0, 7.7)]
    assert all(scores.shape == (2,) for scores in said)
    assert np.std(said, axis=0).min() > 10 * TOLERANCE
    for seconds, scores in zip((1 / RATE, 0.5, 3.0, 7.7), said, strict=True):
        np.testing.assert_allclose(in_onnx.scores(noise(seconds)), scores, atol=TOLERANCE)
    assert OnnxNetwork.open(export(directory, tmp_path / "model.onnx").path).name == in_onnx.name


def test_who_marks_alone_has_no_names_to_export(masks: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match="names nobody: it is no run of task=multitask"):
        export(masks[0], tmp_path / "names.onnx", names=True)


@pytest.mark.parametrize("seconds", [0.6, 3.1])
def test_species_of_real_sound(species: tuple[Path, Path], real_data: Path, seconds: float) -> None:
    audio = real(real_data, seconds, SPECIES_RATE)
    in_torch = RunNamer.open(species[0]).scores(audio)
    np.testing.assert_allclose(OnnxNamer.open(species[1]).scores(audio), in_torch, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["task.module.front_end.kind=pcen"],
        ["data.multilabel=true", "loss=species_bce"],
        ["data.prior=true", "memory_format=channels_last"],
    ],
)
def test_species_trained_in_other_ways(runs: ModuleType, tmp_path: Path, settings: list[str]) -> None:
    directory = runs.species_run(tmp_path / "run", *settings).directory
    assert export(directory, tmp_path / "model.onnx").difference < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["data.sides=one", "data.window_s=1.3"],
        ["model.out_channels=2", "loss=cross_entropy"],
        ["data.channels=3", "memory_format=channels_last"],
        ["model=unet", "model.widths=[4,8,8,8,8]"],
    ],
)
def test_masks_trained_in_other_ways(runs: ModuleType, tmp_path: Path, settings: list[str]) -> None:
    directory = runs.mask_run(tmp_path / "run", *settings).directory
    assert export(directory, tmp_path / "model.onnx").difference < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deeplabv3plus", "segformer", "resnet34_decoder", "segnet"])
def test_networks_of_all_kinds(runs: ModuleType, tmp_path: Path, name: str) -> None:
    settings = [f"model={name}", "data.image_size=[64,64]"]
    directory = runs.mask_run(tmp_path / "run", *settings).directory
    assert export(directory, tmp_path / "model.onnx").difference < TOLERANCE


def test_a_file_says_what_it_is(masks: tuple[Path, Path], species: tuple[Path, Path]) -> None:
    model = onnx.load(masks[1])
    onnx.checker.check_model(model)
    facts = {each.key: json.loads(each.value) for each in model.metadata_props}
    assert facts.items() >= {
        "task": "mask",
        "sample_rate": RATE,
        "grid": {"window_length": 128, "hop": 64, "n_fft": 1024, "sides": "two"},
        "window_columns": 1499,
        "classes": {"0": "background", "255": "bird"},
        "threshold": RunNetwork.open(masks[0]).threshold,
        "run": "run",
        "commit": None,
        "data": "birdlab.data.synthetic.Synthetic",
        "licence_of_training_data": "none: synthetic sounds, made by birdlab",
    }.items()  # fmt: skip
    network, file = RunNetwork.open(masks[0]), OnnxNetwork.open(masks[1])
    for name in (
        "name",
        "window_columns",
        "classes",
        "threshold",
        "box_threshold",
        "validation_precision",
        "validation_recall",
    ):
        assert getattr(file, name) == getattr(network, name)
    assert threshold_for(file, 0.3) == threshold_for(network, 0.3)
    namer, file_namer = RunNamer.open(species[0]), OnnxNamer.open(species[1])
    for name in ("name", "sample_rate", "seconds", "species", "validation_accuracy"):
        assert getattr(file_namer, name) == getattr(namer, name)
    assert confidence_for(file_namer, 0.9) == confidence_for(namer, 0.9) == 0.6
    about = {each.key: json.loads(each.value) for each in onnx.load(species[1]).metadata_props}
    assert about["licence_of_training_data"] == "CC BY-NC 4.0"


def test_temperatures_are_part_of_the_files(
    masks: tuple[Path, Path], species: tuple[Path, Path], runs: ModuleType, tmp_path: Path
) -> None:
    """The files' probabilities are compared with torch's above; here with those of a temperature of 1."""
    assert OnnxNetwork.open(masks[1]).threshold == pytest.approx(1 / (1 + (0.6 / 0.4) ** 2))
    audio = noise(3.0)
    plain = RunNetwork.open(runs.mask_run(tmp_path / "masks").directory).probabilities(audio[None])[0]
    odds = (plain / (1 - plain)) ** 2
    np.testing.assert_allclose(run_file(masks[1])(audio), (odds / (1 + odds))[:, :1499], atol=TOLERANCE)
    sound = noise(1.0, SPECIES_RATE)
    said = RunNamer.open(runs.species_run(tmp_path / "species").directory).scores(sound).astype(float)
    np.testing.assert_allclose(
        OnnxNamer.open(species[1]).scores(sound), said**2 / (said**2).sum(), atol=TOLERANCE
    )


def test_files_that_cannot_predict_say_why(
    masks: tuple[Path, Path], species: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(BirdlabError, match=r"another task \(mask\).*task=classification"):
        OnnxNamer.open(masks[1])
    with pytest.raises(BirdlabError, match=r"another task \(species\).*--species"):
        birdlab.load(species[1])
    (tmp_path / "noise.onnx").write_bytes(b"no network")
    with pytest.raises(BirdlabError, match=r"noise\.onnx is no ONNX file"):
        birdlab.load(tmp_path / "noise.onnx")
    model = onnx.load(masks[1])
    for change, message in (
        ({"grid": '{"hop": 0}'}, "expected 0 < hop"),
        ({"window_columns": '"many"'}, "metadata are damaged"),
        ({"sample_rate": "32 kHz"}, "metadata are damaged"),
        ({"sample_rate": "0"}, r"metadata are damaged.*sample_rate=0"),
        ({"schema": "99"}, "another version of birdlab"),
    ):
        facts = {each.key: each.value for each in model.metadata_props}
        onnx.helper.set_model_props(model, facts | change)
        onnx.save(model, tmp_path / "changed.onnx")
        with pytest.raises(BirdlabError, match=message):
            birdlab.load(tmp_path / "changed.onnx")
        onnx.helper.set_model_props(model, facts)
    names = onnx.load(species[1])
    named = {each.key: each.value for each in names.metadata_props}
    onnx.helper.set_model_props(names, named | {"seconds": "0.0"})
    onnx.save(names, tmp_path / "names.onnx")
    with pytest.raises(BirdlabError, match=r"metadata are damaged.*seconds=0"):
        OnnxNamer.open(tmp_path / "names.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(BirdlabError, match=r"foreign\.onnx wasn't written by birdlab\.export"):
        birdlab.load(tmp_path / "foreign.onnx")
    with pytest.raises(BirdlabError, match="pictures need the run directory"):
        OnnxNetwork.open(masks[1]).image_probabilities(np.zeros((1, 1024, 10), np.uint8))


def test_the_command(runs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = runs.mask_run(tmp_path / "my run (1)").directory
    done = CliRunner().invoke(app, [str(directory)])
    assert done.exit_code == 0, done.output
    assert "audio at 32000 Hz to probabilities" in done.stdout
    before = (directory / "model.onnx").read_bytes()
    again = CliRunner().invoke(app, [str(directory)])
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert (directory / "model.onnx").read_bytes() == before
    absent = CliRunner().invoke(app, [str(tmp_path / "absent")])
    assert absent.exit_code == 2
    assert "no such run directory" in absent.stderr


def test_a_file_that_says_something_else_is_not_written(
    masks: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("birdlab.export.run_file", lambda path: lambda audio: run_file(path)(audio) + 0.001)
    with pytest.raises(BirdlabError, match=r"differ by 0\.001 from torch's"):
        export(masks[0], tmp_path / "model.onnx")
    assert not any(tmp_path.iterdir())


BLOCKED = ("torch", "torchvision", "torchmetrics", "lightning", "hydra", "omegaconf", "wandb", "onnx")
PROGRAM = """
import sys
for name in {blocked}:
    sys.modules[name] = None
sys.argv = ["birdlab.predict", *{words}]
from birdlab.predict import app
app()
"""


def predicted(words: list[str], blocked: tuple[str, ...] = BLOCKED) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(blocked=blocked, words=words)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_files_predict_without_torch_what_the_runs_predict(
    masks: tuple[Path, Path], species: tuple[Path, Path], tmp_path: Path
) -> None:
    """Everything the command makes; only the network's last bits may differ."""
    (tmp_path / "in").mkdir()
    # The network is untrained, and its probabilities are all near one value.
    middle = float(np.median(run_file(masks[1])(noise(4))))
    soundfile.write(tmp_path / "in/a.wav", noise(4), RATE)
    common = [str(tmp_path / "in"), "--threshold", f"{middle:.6f}", "--table", "csv", "--workers", "1"]
    for name, mask, namer in (("run", masks[0], species[0]), ("file", masks[1], species[1])):
        words = [str(mask), *common, "--species", str(namer), "--output", str(tmp_path / name)]
        if name == "run":
            assert CliRunner().invoke(predict_app, words).exit_code == 0
        else:
            done = predicted(words)
            assert done.returncode == 0, done.stderr
    run, file = (
        {str(path.relative_to(folder)) for path in folder.rglob("*")}
        for folder in (tmp_path / "run", tmp_path / "file")
    )
    assert run == file
    assert {"a.csv", "a.masks", "a.overlay.png", "a.denoised.flac", "_summary.html"} <= file
    ours, theirs = (soundfile.read(tmp_path / name / "a.denoised.flac")[0] for name in ("run", "file"))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    rows = [(tmp_path / name / "a.csv").read_text().splitlines() for name in ("run", "file")]
    assert len(rows[0]) == pytest.approx(len(rows[1]), rel=0.05)
    assert any(row.split(",")[6] in {"dipper", "owl", "wren"} for row in rows[1])


def test_little_is_enough_for_tables_and_sound(masks: tuple[Path, Path], tmp_path: Path) -> None:
    """onnxruntime, numpy, soundfile and soxr, and for the command line typer and rich."""
    soundfile.write(tmp_path / "a.wav", noise(1), RATE)
    words = [str(masks[1]), str(tmp_path / "a.wav"), "--output", str(tmp_path / "out")]
    words += ["--no-mask", "--no-overlay", "--no-page"]
    more = ("cv2", "scipy", "matplotlib", "jinja2", "albumentations", "yaml", "PIL", "filelock")
    done = predicted(words, (*BLOCKED, *more))
    assert done.returncode == 0, done.stderr
    assert {"a.selections.txt", "a.denoised.flac"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_species_of_longer_audio_are_those_of_its_middle(species: tuple[Path, Path]) -> None:
    namer = RunNamer.open(species[0])
    audio = noise(3, SPECIES_RATE)
    np.testing.assert_allclose(namer.scores(audio), namer.scores(audio[16_000:32_000]), atol=1e-6)
    with torch.inference_mode():
        levels = namer.model.levels(torch.from_numpy(audio[:4000]))
    np.testing.assert_array_equal(levels[:, :16], levels[:, 16:32])  # a quarter of a second, four times
