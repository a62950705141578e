"""What a machine doesn't have is refused before anything else happens."""

from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from birdlab import devices
from birdlab.config import compose
from birdlab.devices import Devices, settle, use_one
from birdlab.errors import BirdlabError
from birdlab.run import Run
from birdlab.train import train


def machine(monkeypatch: pytest.MonkeyPatch, *, gpus: int = 0, cores: int = 4) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(devices, "cpu_count", lambda: cores)


@pytest.mark.parametrize(
    ("gpus", "overrides", "expected"),
    [
        (0, ["trainer=auto"], Devices("cpu", (0,))),
        (2, ["trainer=auto"], Devices("cuda", (0,))),
        (2, ["trainer=gpu", "trainer.devices=2"], Devices("cuda", (0, 1))),
        (3, ["trainer=ddp"], Devices("cuda", (0, 1, 2))),
        (3, ["trainer=ddp", "trainer.devices=[0,2]"], Devices("cuda", (0, 2))),
        (2, ["trainer=ddp", "trainer.num_nodes=4"], Devices("cuda", (0, 1), nodes=4)),
        (2, ["trainer=ddp_cpu"], Devices("cpu", (0, 1))),
        (2, ["trainer=cpu", "trainer.devices=auto"], Devices("cpu", (0,))),
    ],
)
def test_devices_are_those_asked_for(
    monkeypatch: pytest.MonkeyPatch, gpus: int, overrides: list[str], expected: Devices
) -> None:
    machine(monkeypatch, gpus=gpus)
    assert settle(compose(overrides)) == expected


def test_all_devices_are_written_down_as_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=3)
    cfg = compose(["trainer=ddp"])
    assert settle(cfg).processes == 3
    assert cfg.trainer.devices == 3


@pytest.mark.parametrize(
    ("gpus", "overrides", "said"),
    [
        (
            2,
            ["trainer=ddp", "trainer.devices=8"],
            r"devices=8, but this machine has 2 GPU.*trainer\.devices=2",
        ),
        (2, ["trainer=ddp", "trainer.devices=[0,2]"], r"devices=\[0, 2\], but this machine has 2 GPU"),
        (2, ["trainer=ddp", "trainer.devices=[1,1]"], r"devices=\[1, 1\]"),
        (0, ["trainer=gpu"], r"accelerator=gpu, but PyTorch .* finds no GPU here.*trainer=cpu"),
        (0, ["trainer=ddp"], r"finds no GPU here"),
        (2, ["trainer=mps"], r"accelerator=mps, .* finds no Apple GPU"),
        (
            0,
            ["trainer=ddp_cpu", "trainer.devices=5"],
            r"devices=5, but this machine has room for 4 processes",
        ),
        (0, ["trainer.devices=0"], r"trainer\.devices=0: give a number from 1"),
        (0, ["trainer.devices=many"], r"trainer\.devices=many"),
        (0, ["trainer.num_nodes=0"], r"trainer\.num_nodes=0"),
        (0, ["compile=no"], r"compile=no, but it must be true or false"),
        (0, ["trainer.accelerator=tpu"], r"accelerator=tpu, but it must be one of auto, cpu"),
        (0, ["trainer.precision=16-mixed"], r"precision=16-mixed needs a GPU.*bf16-mixed or 32-true"),
        (0, ["trainer.precision=16"], r"precision=16 needs a GPU"),
        (2, ["trainer.precision=16-true"], r"precision=16-true, but it must be one of auto, 32-true"),
    ],
)
def test_what_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, gpus: int, overrides: list[str], said: str
) -> None:
    machine(monkeypatch, gpus=gpus)
    with pytest.raises(BirdlabError, match=said):
        settle(compose(overrides))


@pytest.mark.parametrize(("alias", "name"), [("32", "32-true"), ("16", "16-mixed"), ("bf16", "bf16-mixed")])
def test_short_names_of_precisions(monkeypatch: pytest.MonkeyPatch, alias: str, name: str) -> None:
    machine(monkeypatch, gpus=1)
    cfg = compose([f"trainer.precision={alias}"])
    settle(cfg)
    assert cfg.trainer.precision == name


def test_what_cannot_be_compiled_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(function: object) -> object:
        raise RuntimeError("no working compiler\nand much more")

    machine(monkeypatch)
    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(
        BirdlabError, match=r"compile=true, .*\(no working compiler\)\. Install a C\+\+ compiler"
    ):
        settle(compose(["compile=true"]))


def test_a_run_is_read_on_one_device_of_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def used(*overrides: str) -> DictConfig:
        cfg = compose(overrides)
        use_one(cfg)
        return cfg.trainer

    machine(monkeypatch)
    here = used("trainer=ddp", "trainer.devices=4", "trainer.num_nodes=2", "trainer.precision=16-mixed")
    assert (here.accelerator, here.devices, here.num_nodes, here.precision) == ("auto", 1, 1, "32-true")
    machine(monkeypatch, gpus=1)
    here = used("trainer=ddp", "trainer.devices=4", "trainer.precision=16-mixed")
    assert (here.accelerator, here.devices, here.precision) == ("gpu", 1, "16-mixed")


def test_nothing_is_made_for_a_machine_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch)
    with pytest.raises(BirdlabError, match="finds no GPU"):
        train(compose(["trainer=ddp", f"data.root={tmp_path / 'scenes'}"]), Run.new(tmp_path / "run"))
    assert not (tmp_path / "scenes").exists()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["provenance.json"]  # which says why
