"""Every file in conf/ composes into a config that passes all checks."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from birdlab import config
from birdlab.tasks.segmentation import foreground_logits

MANDATORY = {
    "birdsounds_denoising": ["data.root=x"],
    "annotated_audio": ["data.root=x"],
    "mixtures": ["data.calls=x", "data.noise=x"],
}
SPECIES = {"birdclef", "synthetic_species"}  # data sets of another task
CHOICES = sorted(
    (file.parent.name, file.stem)
    for file in config.CONF.glob("*/*.yaml")
    if not file.stem.startswith("_") and file.parent.name not in {"experiment", "sweep"}
    if file.stem not in SPECIES
)
STUDIES = sorted(file.stem for file in (config.CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=lambda name: name)
def test_each_choice_composes(group: str, choice: str) -> None:
    config.compose([f"{group}={choice}", *MANDATORY.get(choice, [])])


@pytest.mark.parametrize("choice", sorted(SPECIES))
def test_species_data_sets_are_built_with_what_their_configs_say(choice: str) -> None:
    node = config.compose_unchecked([f"data={choice}", "data.root=x", "data.trim=energy"]).data
    source = instantiate(node, _convert_="all")
    assert (source.segments, source.n_mels, source.trim) == (10, 64, "energy")
    defaults = type(source)(root="x", trim="energy")
    assert source == defaults


@pytest.mark.parametrize("study", STUDIES)
def test_each_study_composes_with_any_data_set(study: str) -> None:
    for data, settings in MANDATORY.items():
        cfg = config.compose([f"+experiment={study}", f"data={data}", *settings])
        assert cfg.name == study


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
