"""What is settled before the first step."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from torch import nn

from birdlab import config
from birdlab.build import build_data, build_task
from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.data.joined import Joined
from birdlab.data.source import Field, Sample
from birdlab.devices import Devices
from birdlab.errors import BirdlabError
from birdlab.prepare import (
    check_callbacks,
    check_classifier,
    check_same_data,
    check_solved,
    check_start,
    prepare,
    resumed_config,
    settle_paths,
    warn_of_one_class,
)
from birdlab.run import Run


def data_testing(*ids: str) -> SimpleNamespace:
    """A data set that tests these."""
    samples = [Sample(id=id, group=id) for id in ids]
    return SimpleNamespace(recordings=lambda *_: {name for each in samples for name in each.recordings()})


def test_recordings_that_the_weights_have_seen_are_not_tested(tmp_path: Path) -> None:
    splits = {
        "train": ["boxes/XC1@0.000s", "mixtures/train_00001"],
        "val": ["boxes/XC2@0.000s"],
        "test": ["XC3"],
    }
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    cfg = OmegaConf.create({"start_from": str(tmp_path)})
    check_start(cfg, data_testing("XC3@1.000s", "boxes/XC4@0.000s"))  # type: ignore[arg-type]
    for seen in ("XC1@2.000s", "boxes/XC2"):
        with pytest.raises(
            BirdlabError, match=r"trained on 1 recordings that are to be tested now, e\.g\. XC\d"
        ):
            check_start(cfg, data_testing("XC3", seen))  # type: ignore[arg-type]
    # A mixture of it is named after neither.
    (tmp_path / "recordings.json").write_text(json.dumps({"train": ["XC5"], "val": []}))
    with pytest.raises(BirdlabError, match=r"trained on 1 recordings .* XC5"):
        check_start(cfg, data_testing("XC5@0.000s"))  # type: ignore[arg-type]
    (tmp_path / "recordings.json").unlink()
    check_start(OmegaConf.create({"start_from": None}), data_testing("XC1"))  # type: ignore[arg-type]
    for start in (tmp_path, tmp_path / "checkpoints" / "best.ckpt"):
        cfg = OmegaConf.create({"start_from": str(start)})
        with pytest.raises(BirdlabError, match="was trained on 1 recordings"):
            check_start(cfg, data_testing("XC1_right"))  # type: ignore[arg-type]
    weights = OmegaConf.create({"model": {"weights": str(tmp_path)}})
    with pytest.raises(BirdlabError, match=r"model\.weights=.* was trained on 1 recordings"):
        check_start(weights, data_testing("XC2"))  # type: ignore[arg-type]


def test_recordings_that_choose_the_epoch_and_are_known_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["XC1"], "val": ["XC2"], "test": []}))
    cfg = OmegaConf.create({"start_from": str(tmp_path)})
    data = data_testing("XC3")
    data.recordings = lambda split: {"test": {"XC3"}, "val": {"XC2", "XC4"}}[split]
    check_start(cfg, data)  # type: ignore[arg-type]
    assert not capsys.readouterr().err
    data.recordings = lambda split: {"test": {"XC3"}, "val": {"XC1", "XC2"}}[split]
    check_start(cfg, data)  # type: ignore[arg-type]
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "was trained on 1 of the 2 recordings that choose the epoch and the threshold now, e.g. XC1" in said
    )


class Refusing(nn.Module):
    def forward(self, _: torch.Tensor) -> torch.Tensor:
        raise AssertionError


def test_a_run_goes_on_with_its_own_data_alone(tmp_path: Path) -> None:
    run, data = Run.new(tmp_path / "run"), SimpleNamespace(manifest_hash=lambda: "now")
    check_same_data(run, data)  # type: ignore[arg-type]
    run.note(data_hash="before")
    check_same_data(run, data)  # type: ignore[arg-type]  # nothing has been learned yet
    run.last.parent.mkdir(exist_ok=True)
    run.last.touch()
    with pytest.raises(BirdlabError, match=r"run began with other data.*Bring the data back, or begin anew"):
        check_same_data(run, data)  # type: ignore[arg-type]
    run.note(data_hash="now")
    check_same_data(run, data)  # type: ignore[arg-type]


def test_a_schedule_is_not_made_longer(tmp_path: Path) -> None:
    for name, words in (
        ("plateau", []),
        ("cosine", ["scheduler=cosine"]),
        ("steps", ["trainer.max_steps=9"]),
    ):
        Run.new(tmp_path / name).write_config(config.compose(["+experiment=focal_tversky", *words]))
    runs = {path.name: Run(path) for path in tmp_path.iterdir()}
    longer = resumed_config(runs["plateau"], ["trainer.max_epochs=90"], trust=False)
    assert longer.trainer.max_epochs == 90
    assert resumed_config(runs["cosine"], ["trainer.max_time=1"], trust=False).trainer.max_epochs == 40
    with pytest.raises(
        BirdlabError, match=r"max_epochs=90 can't stand beside resume=.*its rate falls over 40"
    ):
        resumed_config(runs["cosine"], ["trainer.max_epochs=90"], trust=False)
    with pytest.raises(BirdlabError, match=r"end after trainer\.max_steps=9"):
        resumed_config(runs["steps"], [], trust=False)


@pytest.mark.parametrize("name", ["dice", "bce_dice"])
def test_a_loss_of_masks_is_refused_where_species_are_learned(name: str) -> None:
    cfg = config.compose(["+experiment=mobilenet_optimizers", f"loss={name}", "model.weights=null"])
    config.fill(cfg, {"task.names": ["a", "b"], "task.counts": [1, 1], "task.classes": 2})
    with pytest.raises(BirdlabError, match=r"loss: \w+ is of masks\. Set loss=species_cross_entropy"):
        check_classifier(build_task(cfg), SimpleNamespace())  # type: ignore[arg-type]


class Named(nn.Sequential):
    def forward(self, stack: torch.Tensor) -> object:
        return SimpleNamespace(logits=super().forward(stack))


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (Refusing(), r"can't take the stacks \(AssertionError\).* 4 x 8 x 16 \(segments, bands, frames\)"),
        (nn.Conv2d(3, 2, 3), r"can't take the stacks \(Given groups=1.*"),
        (Named(nn.Flatten(), nn.Linear(512, 3)), r"returns SimpleNamespace for two stacks, not .*\(2, 3\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(512, 4)), r"returns \(2, 4\) for two stacks"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused_before_data_are_decoded(net: nn.Module, said: str) -> None:
    data = SimpleNamespace(
        source=SimpleNamespace(fields={"stacks": Field((4, 8, 16), "float16")}), names=("a", "b", "c")
    )
    with pytest.raises(BirdlabError, match=said):
        check_classifier(SimpleNamespace(net=net, loss=None), data)  # type: ignore[arg-type]


def test_trying_a_classifier_changes_nothing() -> None:
    data = SimpleNamespace(
        source=SimpleNamespace(fields={"stacks": Field((4, 8, 16), "float16")}), names=("a", "b")
    )
    net = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(512, 2)).eval()
    before = [value.clone() for value in net.state_dict().values()]
    drawn = torch.get_rng_state()
    check_classifier(SimpleNamespace(net=net, loss=None), data)  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(before, net.state_dict().values(), strict=True))
    assert torch.equal(drawn, torch.get_rng_state())
    assert not net.training


def test_training_starts_from_another_run(tmp_path: Path) -> None:
    words = ["+experiment=focal_tversky", "model.widths=[4,8]", "data.image_size=[16,16]"]
    first = build_task(config.compose(words))
    run = Run.new(tmp_path / "run")
    run.write_config(config.compose(words))
    run.checkpoints.mkdir()
    torch.save({"epoch": 0, "state_dict": first.state_dict()}, run.best)
    second = build_task(config.compose([*words, "seed=1", f"start_from={run.directory}"]))
    assert all(
        torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True)
    )
    with pytest.raises(BirdlabError, match="weights of another network"):
        build_task(config.compose([*words, "model.skips=false", f"start_from={run.directory}"]))
    with pytest.raises(BirdlabError, match="start_from"):
        build_task(config.compose([*words, f"start_from={tmp_path / 'nowhere'}"]))


def test_a_network_that_cannot_be_built_is_refused_before_data_are_made(tmp_path: Path) -> None:
    words = ["data=synthetic", f"data.root={tmp_path / 'scenes'}", "model.dropout=2"]
    with pytest.raises(BirdlabError, match="dropout"):
        prepare(config.compose(words), Run.new(tmp_path / "run"), Devices("cpu", (0,)))
    assert not (tmp_path / "scenes").exists()


def test_paths_of_parts_are_said_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("audio", "labels"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    soundfile.write(tmp_path / "mine/audio/a.wav", torch.zeros(32_000).numpy(), 32_000)
    cfg = OmegaConf.create({"data": {"parts": {"boxes": {"root": "mine"}}}})
    source = Joined(parts={"boxes": AnnotatedAudio(root=Path("mine"))})
    settle_paths(cfg, SimpleNamespace(source=source))  # type: ignore[arg-type]
    assert cfg.data.parts.boxes.root == str(tmp_path / "mine")


def test_what_a_network_starts_from_is_said_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs/first").mkdir(parents=True)
    cfg = OmegaConf.create(
        {"data": {}, "start_from": "outputs/first", "model": {"weights": "imagenet"}, "augment": None}
    )
    settle_paths(cfg, SimpleNamespace(source=SimpleNamespace()))  # type: ignore[arg-type]
    assert (cfg.start_from, cfg.model.weights) == (str(tmp_path / "outputs/first"), "imagenet")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("mobilenet_optimizers", "early_stopping"), "callbacks.panels: PredictionPanels"),
        (("focal_tversky", "species_frozen"), "callbacks.figures: SpeciesFigures"),
    ],
)
def test_callbacks_of_another_task_are_refused(words: tuple[str, str], named: str) -> None:
    study, callbacks = words
    cfg = config.compose([f"+experiment={study}", f"callbacks={callbacks}"])
    if "names" in cfg.task:
        cfg.task.names, cfg.task.classes = ["owl", "wren"], 2
    with pytest.raises(BirdlabError, match=named):
        check_callbacks(cfg, build_task(cfg))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["callbacks=species"], "nothing else is learned"),
        (["callbacks=species_frozen"], "nothing else is learned"),
        (["callbacks.frozen.epochs=0"], "batch norms go on"),
        (["~callbacks.frozen"], "batch norms go on"),
        (["data.prior=true"], "place and date are learned by steps"),
    ],
)
def test_without_steps_the_last_layer_is_solved_for_and_nothing_else_is_new(
    words: list[str], said: str
) -> None:
    recipe = ["+experiment=species_frontier", "data=synthetic_species"]
    check_solved(config.compose(recipe))
    with pytest.raises(BirdlabError, match=f"optimizer.lr=0, and {said}"):
        check_solved(config.compose([*recipe, *words]))


@pytest.mark.parametrize("words", [("mobilenet_optimizers", "levels"), ("focal_tversky", "species")])
def test_augmentation_of_another_task_is_refused(words: tuple[str, str]) -> None:
    study, augment = words
    with pytest.raises(BirdlabError, match="augment"):
        build_data(config.compose([f"+experiment={study}", f"augment={augment}"]))


@pytest.mark.parametrize(
    ("masks", "said"), [([0, 0], "any bird"), ([1, 1], "any background"), ([0, 1], ""), ([1, 0], "")]
)
def test_masks_of_one_class_are_spoken_of(
    masks: list[int], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = {"masks": np.stack([np.full((2, 3), value, np.uint8) for value in masks])}
    warn_of_one_class(SimpleNamespace(arrays=lambda split: arrays))  # type: ignore[arg-type]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (f"None of the 2 training masks has {said}" in captured.err) if said else captured.err == ""
