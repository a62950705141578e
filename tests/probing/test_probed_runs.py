"""birdlab's runs as backbones."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from birdlab.errors import BirdlabError
from birdlab.models.classifier import head_of
from birdlab.probing.runs import SegmentationRun, SpeciesRun, of_run


def noise(backbone: SpeciesRun | SegmentationRun, count: int) -> np.ndarray:
    n = round(backbone.seconds * backbone.sample_rate)
    return np.random.default_rng(0).normal(0, 0.05, (count, n)).astype(np.float32)


@pytest.mark.parametrize("encoding", ["stacked", "voting"])
def test_a_species_run_gives_what_its_last_layer_gets(
    tmp_path: Path, runs: ModuleType, encoding: str
) -> None:
    run = runs.species_run(tmp_path / "run", f"model.encoding={encoding}")
    backbone = of_run(run.directory)
    assert isinstance(backbone, SpeciesRun)
    assert (backbone.sample_rate, backbone.seconds) == (16_000, pytest.approx(1.0))
    windows = noise(backbone, 2)
    made = backbone.embed(windows)
    head = head_of(backbone._namer.task.net)
    assert made.shape == (2, head.in_features)
    assert not head._forward_pre_hooks
    # A linear layer commutes with the mean, so voting's logits are those of the mean.
    with torch.inference_mode():
        probability = head(torch.from_numpy(made)).softmax(dim=1).numpy()
    np.testing.assert_allclose(probability[1], backbone._namer.scores(windows[1]), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "width"),
    [
        ([], 8),
        (["model=segnet", "model.widths=[4,6]", "model.convolutions=[1,1]"], 6),
        (
            ["task=multitask", "model=two_heads", "model.widths=[4,8]", "task.names=[owl]", "task.classes=1"],
            8,
        ),
    ],
)
def test_a_segmentation_run_gives_what_its_encoder_ends_in(
    tmp_path: Path, runs: ModuleType, settings: list[str], width: int
) -> None:
    run = runs.mask_run(tmp_path / "run", *settings)
    backbone = of_run(run.directory)
    assert isinstance(backbone, SegmentationRun)
    windows = noise(backbone, 3)
    made = backbone.embed(windows)
    assert made.shape == (3, width)
    assert not np.allclose(made[0], made[1])
    np.testing.assert_allclose(backbone.embed(windows[2:])[0], made[2], atol=1e-5)
    assert not backbone._deepest._forward_hooks


def test_another_epoch_is_another_name(tmp_path: Path, runs: ModuleType) -> None:
    one = runs.mask_run(tmp_path / "one")
    other = runs.mask_run(tmp_path / "other", "seed=1")
    assert of_run(one.directory).name == of_run(one.directory).name != of_run(other.directory).name


def test_a_network_without_an_encoder_is_refused(tmp_path: Path, runs: ModuleType) -> None:
    backbone = of_run(runs.mask_run(tmp_path / "run").directory)
    assert isinstance(backbone, SegmentationRun)
    network = backbone._network
    object.__setattr__(network.task, "net", torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(BirdlabError, match="Conv2d has no part called encoder"):
        SegmentationRun(network)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match=r"config\.yaml"):
        of_run(tmp_path)
