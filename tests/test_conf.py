"""Every file in conf/ composes into a config that passes all checks."""

import pytest

from birdlab import config

MANDATORY = {
    "birdsounds_denoising": ["data.root=x"],
    "annotated_audio": ["data.root=x"],
    "mixtures": ["data.calls=x", "data.noise=x"],
}
CHOICES = sorted(
    (file.parent.name, file.stem)
    for file in config.CONF.glob("*/*.yaml")
    if not file.stem.startswith("_") and file.parent.name not in {"experiment", "sweep"}
)
STUDIES = sorted(file.stem for file in (config.CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=lambda name: name)
def test_each_choice_composes(group: str, choice: str) -> None:
    config.compose([f"{group}={choice}", *MANDATORY.get(choice, [])])


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
