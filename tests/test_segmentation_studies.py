"""Each segmentation study trains two steps, is tested, and is read back; each job of its sweeps composes."""

from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from birdlab import config
from birdlab.build import build_task
from birdlab.evaluate import evaluate_run
from birdlab.run import Run
from birdlab.train import train

TINY = [
    "data=birdsounds_denoising",
    "data.image_size=[64,64]",
    "loader.batch_size=4",
    "loader.num_workers=0",
    "trainer=cpu",
    "trainer.precision=32-true",
    "memory_format=contiguous",
    "logger=csv",
    "epochs=1",
]
STUDIES = {
    "unet_cross_entropy": ["model.widths=[2,4,4,4,4,4]"],
    "cnn_unet": ["model.widths=[2,4,4,4,4,4]"],
    "resnet34_bce": ["model.weights=null", "model.widths=[8,8,8,4,4]"],
}


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_study_trains_two_steps_and_is_read_back(study: str, tmp_path: Path, tiny_pairs: Path) -> None:
    places = [f"data.root={tiny_pairs}", f"loader.cache_dir={tmp_path / 'cache'}"]
    cfg = config.compose([f"+experiment={study}", *TINY, *places, *STUDIES[study]])
    run = Run.new(tmp_path / "run")
    scores = train(cfg, run)
    assert scores.network["images"] == 4
    assert torch.load(run.last, weights_only=True)["global_step"] == 2
    assert evaluate_run(run).network["iou"] == pytest.approx(scores.network["iou"])


def jobs(sweep: str) -> list[list[str]]:
    """The words of each job of conf/sweep/SWEEP.yaml with the seed 0."""
    text = (config.CONF / "sweep" / f"{sweep}.yaml").read_text(encoding="utf-8")
    sweeper = yaml.safe_load(text)["hydra"]["sweeper"]
    values = {key: str(value).replace(" ", "").split(",") for key, value in sweeper["params"].items()}
    assert values.pop("seed") == ["0", "1", "2"]
    grid = [
        [f"{key}={value}" for key, value in zip(values, job, strict=True)]
        for job in product(*values.values())
    ]
    together = sweeper.get("together", {})
    assert set(together) <= {word for job in grid for word in job}, "words that no job has"
    return [[*job, *(more for word in job for more in together.get(word, []))] for job in grid]


def flat(cfg: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(cfg, dict):
        return {prefix: cfg}
    return {key: leaf for name, part in cfg.items() for key, leaf in flat(part, f"{prefix}.{name}").items()}


def differences(words: list[str], study: str = "focal_tversky") -> dict[str, object]:
    """What a job's config has other than its study's."""
    one, other = (
        flat(OmegaConf.to_container(config.compose(given), resolve=True))
        for given in ([f"+experiment={study}"], words)
    )
    return {key[1:]: value for key, value in other.items() if key not in one or one[key] != value}


def test_each_ablation_turns_one_switch_of_focal_tversky() -> None:
    found = {}
    for words in jobs("ablations"):
        changed = differences(words)
        found[changed.pop("ablation")] = changed
    assert found.pop("none") == {}
    assert found.pop("no_residual") == {"model.residual": False}
    assert found.pop("no_skips") == {"model.skips": False}
    assert found.pop("plain") == {"model.residual": False, "model.skips": False}
    assert found.pop("no_batch_norm") == {"model.batch_norm": False}
    assert found.pop("no_dropout") == {"model.dropout": 0}
    assert found.pop("squeeze_excitation") == {"model.squeeze_excitation": True}
    for side in (256, 512):
        assert found.pop(f"resolution_{side}") == {"data.image_size": [side, side]}
    assert found.pop("mobilenet_encoder")["model.encoder_name"] == "mobilenet_v2"
    without, pretrained = (found.pop(f"efficientnet_{name}") for name in ("encoder", "imagenet"))
    assert without["model.encoder.model_name"] == "tf_efficientnet_lite0"
    assert pretrained == without | {"model.weights": "imagenet"}
    for name in ("physical", "paper001", "paper003"):
        changed = found.pop(f"augment_{name}")
        assert {key.split(".")[0] for key in changed} == {"augment"}
    assert found == {}


@pytest.mark.parametrize(("sweep", "groups"), [("architectures", {"model"}), ("losses", {"loss", "model"})])
def test_networks_and_losses_are_compared_with_all_else_alike(sweep: str, groups: set[str]) -> None:
    made = [differences(words) for words in jobs(sweep)]
    assert {} in made  # the study itself
    assert {key.split(".")[0] for changed in made for key in changed} == groups
    if sweep == "losses":
        (two,) = (changed for changed in made if "model.out_channels" in changed)
        assert two["model.out_channels"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("words", jobs("architectures"), ids=lambda words: words[1])
def test_each_network_of_the_architectures_trains_two_steps(
    words: list[str], tmp_path: Path, tiny_pairs: Path
) -> None:
    places = [f"data.root={tiny_pairs}", f"loader.cache_dir={tmp_path / 'cache'}"]
    run = Run.new(tmp_path / "run")
    scores = train(config.compose([*words, *TINY, *places]), run)
    assert torch.load(run.last, weights_only=True)["global_step"] == 2
    assert 0 <= scores.network["iou"] <= 1


def test_each_network_of_the_ablations_is_built() -> None:
    for words in jobs("ablations"):
        build_task(config.compose(words), pretrained=False)


def test_learning_rate_and_batch_size_are_a_grid_around_the_study_s() -> None:
    made = [differences(words) for words in jobs("rate_and_batch")]
    assert {} in made
    assert len({str(sorted(each.items())) for each in made}) == 4 * 3
    moved = {"optimizer.lr", "loader.batch_size", "task.datamodule.batch_size"}
    assert set().union(*made) == moved


def test_fewer_masks_are_trained_on_for_more_epochs() -> None:
    made = [config.compose(words) for words in jobs("train_size")]
    assert [(cfg.data.n_train, cfg.trainer.max_epochs) for cfg in made] == [
        (10, 640),
        (30, 320),
        (100, 160),
        (300, 80),
        (1000, 40),
    ]
    assert all(cfg.data.n_val is None for cfg in made)


def test_few_masks_are_trained_on_to_the_end_in_every_study() -> None:
    other = "+experiment=unet_cross_entropy"
    made = [
        config.compose([other, *(word for word in words if not word.startswith("+experiment"))])
        for words in jobs("train_size")
    ]
    assert not any("early_stopping" in cfg.callbacks for cfg in made)
