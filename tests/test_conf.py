"""Every file in conf/ composes into a config that passes all checks."""

from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf

from birdlab import config
from birdlab.build import build_source
from birdlab.sweep import plan
from birdlab.tasks.segmentation import foreground_logits

MANDATORY = {
    "birdsounds_denoising": ["data.root=x"],
    "annotated_audio": ["data.root=x"],
    "mixtures": ["data.calls=x", "data.noise=x"],
    "birdclef": ["data.root=x"],
    "frontier": [f"data.parts.{key}=x" for key in ("mixtures.calls", "mixtures.noise", "boxes.root")],
    "joined": ["data.parts={}"],
}
SPECIES = {
    "birdclef",
    "classification",
    "compact_mobilenet",
    "efficientnet_b0",
    "efficientnet_lite0",
    "efficientnet_rows",
    "resnet18",
    "resnet18_pretrained",
    "resnet50",
    "species",
    "species_bce",
    "species_cross_entropy",
    "species_averaged",
    "species_fitted",
    "species_frozen",
    "synthetic_species",
}
"""Choices of the other task."""
MULTITASK = {"multitask", "two_heads"}
CHOICES = sorted(
    (file.parent.name, file.stem)
    for file in config.CONF.glob("*/*.yaml")
    if not file.stem.startswith("_") and file.parent.name not in {"experiment", "sweep", "hydra", "backbone"}
)
"""Of `birdlab.train`; backbones are composed in test_probe.py."""
STUDIES = sorted(file.stem for file in (config.CONF / "experiment").glob("[!_]*.yaml"))
SPECIES_STUDIES = {
    *("mobilenet_optimizers", "resnet18_pretraining", "species_comparison", "input_encoding"),
    "species_frontier",
    "multilabel",
}
SWEEPS = {
    "pretrained_vs_scratch": ["+experiment=resnet18_pretraining"],
    "species_comparison": ["+experiment=species_comparison"],
    "input_encoding": ["+experiment=input_encoding"],
    "frontier_parts": ["data=frontier", *MANDATORY["frontier"]],
    "species_frontier_parts": ["data=birdclef", *MANDATORY["birdclef"]],
}
"""Sweeps over what the default network doesn't have, with a study whose network has it."""


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=lambda name: name)
def test_each_choice_composes(group: str, choice: str) -> None:
    study = ["+experiment=mobilenet_optimizers"] if choice in SPECIES else []
    study = ["+experiment=multitask"] if choice in MULTITASK else study
    config.compose([*study, f"{group}={choice}", *MANDATORY.get(choice, [])])


@pytest.mark.parametrize("words", [["+experiment=species_frontier"], ["+experiment=multilabel"], ["probe"]])
def test_recipes_for_recordings_of_one_s_own_leave_out_no_species(
    words: list[str], species_files: ModuleType, tmp_path: Path
) -> None:
    """The paper's six are the default of its own studies alone."""
    species = [f"bird{number}" for number in range(8)]
    species_files.birdclef_files(tmp_path, dict.fromkeys(species, (0.3,)))
    data = ["data=birdclef", f"data.root={tmp_path}"]
    cfg = (
        config.compose_unchecked(data, root="probe")
        if words == ["probe"]
        else config.compose([*words, *data])
    )
    assert build_source(cfg).names == tuple(species)


@pytest.mark.parametrize("choice", ["synthetic_species", "birdclef"])
def test_species_data_sets_are_built_with_what_their_configs_say(choice: str) -> None:
    words = ["+experiment=mobilenet_optimizers", f"data={choice}", "data.root=x", "data.trim=energy"]
    source = instantiate(config.compose(words).data, _convert_="all")
    assert (source.segments, source.n_mels, source.trim) == (10, 64, "energy")
    defaults = type(source)(root="x", trim="energy")
    assert source == defaults


@pytest.mark.parametrize("study", STUDIES)
def test_each_study_composes_with_any_data_set(study: str) -> None:
    for data, settings in MANDATORY.items():
        if (data in SPECIES) != (study in SPECIES_STUDIES):
            continue
        cfg = config.compose([f"+experiment={study}", f"data={data}", *settings])
        assert cfg.name == study


composed = cache(config.compose)


def jobs_of(name: str, *typed: str) -> list[tuple[str, ...]]:
    sweeper = yaml.safe_load((config.CONF / "sweep" / f"{name}.yaml").read_text())["hydra"]["sweeper"]
    words = [f"+sweep={name}", *typed]
    planned = plan(Path("sweep"), sweeper["params"], sweeper.get("together", {}), words)
    return [job.overrides for job in planned.jobs]


@pytest.mark.parametrize("name", sorted(file.stem for file in (config.CONF / "sweep").glob("*.yaml")))
def test_each_job_of_each_sweep_composes_and_has_three_seeds(name: str) -> None:
    study = SWEEPS.get(name, ["+experiment=focal_tversky"])
    jobs = jobs_of(name, *study)
    seeds = [[word for word in job if word.startswith("seed=")] for job in jobs]
    assert {word for (word,) in seeds} == {"seed=0", "seed=1", "seed=2"}
    assert len(set(jobs)) == len(jobs) >= 3
    first_seed = jobs_of(name, *study, "seed=0")
    assert 3 * len(first_seed) == len(jobs)
    for job in first_seed:  # the seed changes nothing of how a job is composed
        composed(job)


@pytest.mark.parametrize("name", ["ablations", "architectures", "losses", "rate_and_batch", "train_size"])
def test_a_sweep_over_parts_of_focal_tversky_is_one_of_it_unless_another_study_is_typed(name: str) -> None:
    alone = jobs_of(name, "seed=0")
    typed = jobs_of(name, "+experiment=focal_tversky", "seed=0")
    assert [composed(job) for job in alone] == [composed(job) for job in typed]
    assert {composed(job).name for job in alone} == {"focal_tversky"}
    other = jobs_of(name, "+experiment=unet_cross_entropy", "seed=0")
    assert len(other) == len(alone)
    assert all("+experiment=unet_cross_entropy" in job for job in other)
    assert not any("+experiment=focal_tversky" in job for job in other)
    unlike_unet = ("residual", "plain", "excitation")  # switches that a plain U-Net hasn't
    assert {
        composed(job).name for job in other if not any(word in " ".join(job) for word in unlike_unet)
    } == {"unet_cross_entropy"}


def test_the_optimizer_grid_is_what_the_paper_says() -> None:
    cells = [
        composed(job).optimizer for job in jobs_of("optimizer_grid", "+experiment=focal_tversky", "seed=0")
    ]
    kinds = {cell._target_.rpartition(".")[2] for cell in cells}
    assert kinds == {"Adam", "AdamW", "RMSprop", "Adagrad", "SGD"}
    assert {(cell._target_, cell.lr) for cell in cells} == {
        (f"torch.optim.{kind}", rate) for kind in kinds for rate in (0.01, 0.0001)
    }
    assert {cell.weight_decay for cell in cells if cell._target_ == "torch.optim.AdamW"} == {1e-4}
    assert all(cell.momentum > 0 for cell in cells if "momentum" in cell)


def test_cross_entropy_is_swept_over_with_the_two_logits_that_make_it_another_loss() -> None:
    logits = {
        next(word for word in job if word.startswith("loss=")): composed(job).model.out_channels
        for job in jobs_of("losses", "seed=0")
    }
    assert logits.pop("loss=cross_entropy") == 2
    assert set(logits.values()) == {1}
    assert len(logits) == 8


def test_focal_tversky_is_what_the_paper_says() -> None:
    cfg = config.compose(["+experiment=focal_tversky"])
    assert list(cfg.data.image_size) == [128, 128]
    assert cfg.data.channels == 1
    assert cfg.loader.batch_size == 16
    assert cfg.trainer.max_epochs == 40
    assert cfg.trainer.precision == "32-true"
    assert (cfg.optimizer._target_, cfg.optimizer.lr) == ("torch.optim.Adam", 0.01)
    assert cfg.scheduler.scheduler._target_.endswith("ReduceLROnPlateau")
    assert cfg.model._target_ == "birdlab.models.resunet.ResUNet"
    assert cfg.model.dropout == 0.3
    assert {loss._target_ for loss in cfg.loss.losses.values()} == {
        "birdlab.losses.BCELoss",
        "birdlab.losses.FocalTverskyLoss",
    }
    assert cfg.augment is None


def test_unet_cross_entropy_is_what_the_paper_says() -> None:
    cfg = config.compose(["+experiment=unet_cross_entropy"])
    assert cfg.model._target_ == "birdlab.models.unet.UNet"
    assert len(cfg.model.widths) == 5 + 1  # blocks and bottleneck
    assert cfg.model.out_channels == 2
    assert (cfg.optimizer._target_, cfg.optimizer.lr) == ("torch.optim.Adam", 0.001)
    assert cfg.scheduler
    assert (cfg.loader.batch_size, cfg.trainer.max_epochs) == (8, 35)
    stopping = cfg.callbacks.early_stopping
    assert (stopping.monitor, stopping.mode, stopping.patience) == ("val/loss", "min", 10)
    assert set(cfg.callbacks) > set(config.compose([]).callbacks)
    kinds = {transform._target_.rpartition(".")[2] for transform in cfg.augment.transforms}
    assert kinds == {
        "Affine",  # rotation and scaling
        "HorizontalFlip",
        "VerticalFlip",
        "RandomResizedCrop",
        "RandomBrightnessContrast",
    }
    official = config.compose(["+experiment=unet_cross_entropy", "data=birdsounds_denoising", "data.root=x"])
    assert list(official.data.fractions) == [0.7, 0.2, 0.1]


def test_cnn_unet_differs_from_unet_cross_entropy_in_its_augmentation_only() -> None:
    one, other = (config.compose([f"+experiment={study}"]) for study in ("unet_cross_entropy", "cnn_unet"))
    a, b = (OmegaConf.to_container(cfg, resolve=False) for cfg in (one, other))
    assert {key for key in a if a[key] != b[key]} == {"name", "augment"}
    (affine,) = other.augment.transforms
    assert {"rotate", "scale"} < set(affine)


def test_resnet34_bce_is_what_the_paper_says() -> None:
    cfg = config.compose(["+experiment=resnet34_bce"])
    assert (list(cfg.data.image_size), cfg.data.channels) == ([512, 512], 3)
    assert cfg.model._target_ == "birdlab.models.resnet_decoder.ResNetDecoder"
    assert (cfg.model.weights, cfg.model.in_channels, cfg.model.out_channels) == ("imagenet", 3, 1)
    assert cfg.loss._target_ == "birdlab.losses.BCELoss"
    assert (cfg.optimizer._target_, cfg.optimizer.lr) == ("torch.optim.Adam", 0.0001)
    assert (cfg.loader.batch_size, cfg.trainer.max_epochs) == (16, 30)
    assert (cfg.augment, cfg.scheduler) == (None, {})


def test_cross_entropy_is_softmax_cross_entropy_of_two_classes() -> None:
    torch.manual_seed(0)
    logits = 5 * torch.randn(4, 2, 8, 8, dtype=torch.float64)
    truth = torch.rand(4, 8, 8) < 0.2
    loss = instantiate(config.compose(["loss=cross_entropy"]).loss)
    expected = torch.nn.functional.cross_entropy(logits, truth.long())
    assert loss(foreground_logits(logits), truth.byte()).item() == pytest.approx(expected.item())
