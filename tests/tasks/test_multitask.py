"""Both tasks at once: who is heard comes from the labels, and masks are those of any segmentation run."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lightning import Callback, LightningModule, Trainer
from typer.testing import CliRunner

import birdlab
from birdlab import config
from birdlab.build import build_data, build_task
from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.data.folders import ImageFolders
from birdlab.data.multitask import MultitaskData
from birdlab.data.synthetic import Synthetic
from birdlab.errors import BirdlabError
from birdlab.evaluate import evaluate
from birdlab.metrics import ReliabilityCurve
from birdlab.models.resunet import ResUNet
from birdlab.models.two_heads import TwoHeads
from birdlab.predict import app
from birdlab.reporting.comparison import callers_micro_f1, common_samples
from birdlab.reporting.read import RunRecord
from birdlab.reporting.tables import printed_scores
from birdlab.run import Run
from birdlab.train import train

RATE = 32_000
VOICES = {"low": 2000.0, "high": 7000.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve recordings of a second: a low or a high tone, both, or none, with named boxes."""
    for name in ("audio", "labels"):
        (tmp_path / "recordings" / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    time = np.arange(RATE) / RATE
    for number in range(12):
        audio, lines = rng.normal(0, 0.002, RATE), ""
        heard = {0: (), 1: ("low",), 2: ("high",), 3: ("low", "high")}[number % 4]
        for name in heard:
            audio += 0.1 * np.sin(2 * np.pi * VOICES[name] * time) * ((time >= 0.3) & (time < 0.6))
            lines += f"0.3\t0.6\t{name}\n\\\t{VOICES[name] - 300}\t{VOICES[name] + 300}\n"
        soundfile.write(tmp_path / f"recordings/audio/XC{number}.wav", audio, RATE)
        (tmp_path / f"recordings/labels/XC{number}.txt").write_text(lines)
    return tmp_path / "recordings"


def test_who_is_heard_in_a_window(folder: Path) -> None:
    source = AnnotatedAudio(root=folder, window_s=0.25)
    heard = {sample.id: source.callers(sample) for sample in source.splits()["test"]}
    assert heard["XC3@0.000s"] == frozenset()
    assert heard["XC3@0.250s"] == heard["XC3@0.500s"] == {"low", "high"}
    assert heard["XC2@0.500s"] == {"high"}
    assert heard["XC2@0.750s"] == frozenset()


def test_kinds_of_calls_in_synthetic_scenes(tmp_path: Path) -> None:
    source = Synthetic(root=tmp_path, size={"train": 6}, window_s=1.0)
    heard = [source.callers(sample) for sample in source.splits()["train"]]
    assert any(heard)
    assert {"trill", "chirp", "whistle", "seep", "rattle"} & frozenset().union(*heard)


def test_every_fold_names_the_same(folder: Path) -> None:
    """Whoever is heard in tested recordings alone, too: else two folds could not be put together."""
    source = AnnotatedAudio(root=folder, window_s=0.25, folds=4, fold_tests=True, fractions=(0.5, 0.25, 0.25))
    names = [MultitaskData(replace(source, fold=number)).names for number in range(4)]
    assert set(names) == {("high", "low")}


def test_labels_travel_with_their_samples(folder: Path) -> None:
    source = AnnotatedAudio(root=folder, window_s=1.0, fractions=(0.5, 0.25, 0.25), image_size=(16, 16))
    data = MultitaskData(source, cache_dir=folder.parent / "cache", batch_size=4, num_workers=0)
    assert data.names == ("high", "low")
    assert data.settled() == {"task.names": ["high", "low"], "task.classes": 2}
    for batch in data.val_dataloader():
        labelled = data.on_after_batch_transfer(batch, 0)
        for id, label in zip(labelled["id"], labelled["label"], strict=True):
            number = int(id.split("@")[0][2:]) % 4
            assert label.tolist() == [float(number in (2, 3)), float(number in (1, 3))]


def test_sources_whose_labels_do_not_tell_are_refused(tiny_pairs: Path) -> None:
    data = MultitaskData(ImageFolders(root=tiny_pairs))
    with pytest.raises(BirdlabError, match="nothing says who is heard in"):
        data.settled()


def test_labels_that_name_nobody_are_refused(folder: Path) -> None:
    for file in (folder / "labels").iterdir():
        file.write_text("")
    data = MultitaskData(AnnotatedAudio(root=folder, fractions=(1.0, 0.0, 0.0)))
    with pytest.raises(BirdlabError, match="labels of AnnotatedAudio name nobody"):
        data.settled()


def test_the_mask_is_that_of_the_network_without_the_other_head() -> None:
    torch.manual_seed(0)
    two = TwoHeads(classes=3, widths=(4, 8)).eval()
    one = ResUNet(widths=(4, 8)).eval()
    one.load_state_dict({name: value for name, value in two.state_dict().items() if "callers" not in name})
    image = torch.rand(2, 1, 16, 16)
    mask, callers = two.both(image)
    assert torch.equal(mask, two(image))
    assert torch.equal(mask, one(image))
    assert callers.shape == (2, 3)


def words(folder: Path, run: Path) -> list[str]:
    return [
        *("+experiment=multitask", "data=annotated_audio", f"data.root={folder}", "logger=csv"),
        *("data.fractions=[0.5,0.25,0.25]", "data.window_s=1.0", "data.image_size=[32,40]"),
        *("model.widths=[8,16]", "trainer=cpu", "trainer.precision=32-true", "loader.batch_size=3"),
        *("memory_format=contiguous", f"loader.cache_dir={folder.parent / 'cache'}", f"hydra.run.dir={run}"),
    ]


def test_only_networks_with_two_heads(folder: Path) -> None:
    cfg = config.compose([*words(folder, folder), "model=resunet"])
    config.fill(cfg, {"task.names": ["high", "low"], "task.classes": 2})
    with pytest.raises(BirdlabError, match="ResUNet has one head; set model=two_heads"):
        build_task(cfg)


def test_who_is_said_to_be_heard_is_scored_printed_and_kept(folder: Path) -> None:
    """In the terminal, in the scores that reports and cards print, and window by window."""
    cfg = config.compose([*words(folder, folder), "data.fractions=[0,0.5,0.5]"])
    data = build_data(cfg)
    config.fill(cfg, data.settled())
    task = build_task(cfg)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    found = evaluate(task, data, trainer)
    shown = {"callers_average_precision", "callers_roc_auc", "callers_micro_f1"}
    assert shown < found.columns.keys()
    assert "names: mean AP" in [str(cell) for cell in found.table().columns[0].cells]

    blocks = found.as_dict()
    scores = {f"{block}/{name}": blocks[block][name] for block in ("test", "test_tuned") for name in shown}
    rows = [{name: str(value) for name, value in row.items()} for row in found.samples]
    record = RunRecord(Path("run"), "run", "finished", scores=scores, samples=rows)
    assert set(printed_scores([record])) == shown

    for row in found.samples:
        number = int(row["id"].split("@")[0][2:]) % 4
        assert row["label"] == ("nocall", "low", "high", "high low")[number]
        assert {"p_high", "p_low", "iou"} < row.keys()
    keys = common_samples([record])
    statistic = callers_micro_f1(record, keys)
    assert statistic is not None
    assert statistic(np.arange(len(keys))) == pytest.approx(record.score("callers_micro_f1"))
    said = [row[f"p_{name}"] for row in found.samples for name in ("high", "low")]
    there = [name in row["label"].split() for row in found.samples for name in ("high", "low")]
    curve = ReliabilityCurve.of(torch.tensor(said), torch.tensor(there))
    assert blocks["test"]["callers_calibration_error"] == pytest.approx(curve.error, abs=1e-5)


def test_validation_data_say_how_sure_the_names_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temperature of the names is fitted, kept with the weights, and what is said of a window has it."""
    fitted_to: list[tuple[int, ...]] = []

    def fitted(logits: torch.Tensor, truth: torch.Tensor, *, multilabel: bool) -> float:
        assert multilabel
        fitted_to.extend([logits.shape, truth.shape])
        return 2.0

    monkeypatch.setattr("birdlab.tasks.multitask.species_temperature", fitted)
    cfg = config.compose([*words(folder, folder), "data.fractions=[0,0.5,0.5]"])
    data = build_data(cfg)
    config.fill(cfg, data.settled())
    task = build_task(cfg)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    before = evaluate(task, data, trainer).samples
    trainer.validate(task, data, verbose=False)
    assert fitted_to == [(len(data.samples("val")), len(task.names))] * 2
    assert task.get_buffer("callers_temperature") == 2
    for row, unscaled in zip(evaluate(task, data, trainer).samples, before, strict=True):
        odds, those = (math.log(p / (1 - p)) for p in (row["p_high"], unscaled["p_high"]))
        assert odds == pytest.approx(those / 2, rel=1e-3, abs=1e-5)
    older = {key: value for key, value in task.state_dict().items() if key != "callers_temperature"}
    task.load_weights(older, "older")
    assert task.get_buffer("callers_temperature") == 1


def test_weights_choose_what_is_learned(folder: Path) -> None:
    """Neither head alone changes the other's, and what is learned is there whichever is left out."""
    learned = {}
    for part, other in (("mask", "callers"), ("callers", "mask")):
        cfg = config.compose([*words(folder, folder), f"task.module.{other}_weight=0"])
        data = build_data(cfg)
        config.fill(cfg, data.settled())
        task = build_task(cfg)
        batch = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
        task.training_step(batch, 0).backward()
        learned[part] = {name for name, weight in task.named_parameters() if bool((weight.grad != 0).any())}
    assert learned["mask"] & learned["callers"]
    assert any("callers" in name for name in learned["callers"] - learned["mask"])
    assert "net.head.weight" in learned["mask"] - learned["callers"]


def test_weights_that_leave_nothing_to_learn_are_refused(folder: Path) -> None:
    for weights, said in (
        (("mask_weight=0", "callers_weight=0"), "both 0"),
        (("mask_weight=-1",), "mask_weight=-1.*0 or more"),
    ):
        cfg = config.compose([*words(folder, folder), *(f"task.module.{each}" for each in weights)])
        config.fill(cfg, {"task.names": ["high", "low"], "task.classes": 2})
        with pytest.raises(BirdlabError, match=said):
            build_task(cfg)


def test_names_with_spaces_are_chosen_on_the_command_line() -> None:
    """As experiments/multitask/README.md does."""
    cfg = config.compose(["+experiment=multitask", "task.names=[Parus major,Athene noctua]"])
    assert list(cfg.task.datamodule.names) == ["Parus major", "Athene noctua"]


def test_augmentation_that_mixes_windows_is_refused(folder: Path) -> None:
    data = build_data(config.compose([*words(folder, folder), "augment.mix=0.2"]))
    with pytest.raises(BirdlabError, match=r"Set augment\.mix=0"):
        data.settled()


@pytest.mark.slow
def test_it_learns_both_and_predicts_like_any_other(folder: Path, tmp_path: Path) -> None:
    """What it says of who is heard is that of its test, and the events that it marks are named by it."""
    cfg = config.compose([*words(folder, tmp_path / "run"), "epochs=40", "optimizer.lr=0.01"])
    train(cfg, Run.new(tmp_path / "run"))
    scores = json.loads((tmp_path / "run/metrics.json").read_text())["test"]
    assert scores["callers_average_precision"] > 0.9
    assert scores["recall"] > 0.5
    audio = soundfile.read(folder / "audio/XC3.wav", dtype="float32")[0]
    prediction = birdlab.load(tmp_path / "run").predict(audio, RATE)
    middles = {round((event.low_hz + event.high_hz) / 2000) for event in prediction.events}
    assert {2, 7} <= middles

    with (tmp_path / "run/scores.csv").open() as file:
        tested = list(csv.DictReader(file))
    assert tested
    for row in tested:
        window = soundfile.read(folder / f"audio/{row['id'].split('@')[0]}.wav", dtype="float32")[0]
        heard = birdlab.load_species(tmp_path / "run").predict(window, RATE)
        said = [float(row[f"p_{name}"]) for name in heard.species]
        # But for the bytes in which training keeps pictures.
        np.testing.assert_allclose(heard.probabilities[0], said, atol=0.02)
    asked = [str(tmp_path / "run"), str(folder / "audio"), f"--output={tmp_path / 'out'}", "--table=csv"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    labels = {name: _labels(tmp_path / f"out/{name}.csv") for name in ("XC1", "XC2")}
    assert "low" in labels["XC1"]
    assert "high" in labels["XC2"]
    assert CliRunner().invoke(app, [*asked, "--overwrite", "--min-confidence", "0.9999999"]).exit_code == 0
    assert _labels(tmp_path / "out/XC1.csv") <= {"bird"}


def _labels(table: Path) -> set[str]:
    with table.open() as file:
        return {row["label"] for row in csv.DictReader(file)}


def test_a_run_knows_its_names_whatever_it_is_scored_on(folder: Path) -> None:
    data = MultitaskData(AnnotatedAudio(root=folder), names=["high", "wren"])
    assert data.names == ("high", "wren")
    assert data.settled()["task.names"] == ["high", "wren"]


class Killed(Callback):
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 2:
            raise RuntimeError("killed")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_average(folder: Path, tmp_path: Path) -> None:
    """Bit for bit, with all that the frontier has: augmentation on the device, a cosine, averaged weights."""
    states = {}
    for name in ("whole", "killed"):
        run = Run.new(tmp_path / name)
        cfg = config.compose([*words(folder, run.directory), "epochs=3"])
        if name == "killed":
            with pytest.raises(RuntimeError, match="killed"):
                train(cfg, run, [Killed()])
        train(run.config(trust=True) if name == "killed" else cfg, run)
        states[name] = torch.load(run.last, weights_only=True)["state_dict"]
        best = torch.load(run.best, weights_only=True)
        head = "net.head.weight"
        assert not torch.equal(best["state_dict"][head], best["current_model_state"][head])
    assert all(torch.equal(states["whole"][key], states["killed"][key]) for key in states["whole"])
