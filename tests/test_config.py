"""Mistakes in settings are found before any time is spent, and the way out is named."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from birdlab import config
from birdlab.build import build_task, build_trainer
from birdlab.errors import BirdlabError
from birdlab.run import Run


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optimizer.lrr=0.1"], r"no key 'optimizer.lrr'; nearest: optimizer.lr"),
        (["+data.wimdow_s=3"], r"no key 'data.wimdow_s'; nearest: data.window_s"),
        (["+modle.dropout=0.1"], r"no key 'modle'"),
        (["+loss.losses.bce.positive_wait=2"], r"no key 'loss.losses.bce.positive_wait'"),
        (["modell=resunet"], r"no key 'modell'; nearest: model"),
        (["data=mixtures"], r"data.calls has no value"),
        (["data=nowhere"], r"data=nowhere: there is no such choice; there are annotated_audio, "),
        (
            ["+experiment=focal_tversy"],
            r"experiment=focal_tversy: there is no such choice; nearest: focal_tve",
        ),
        (["optimizer=adam,sdg"], r"optimizer=sdg: there is no such choice; nearest: sgd"),
        (["monitor.mode=best"], r"monitor.mode=best, but it must be one of min, max"),
        (["loader.batch_size=0"], r"loader.batch_size=0"),
        (["memory_format=fast"], r"memory_format=fast"),
        (["optimizer.lr="], r"optimizer.lr= gives no value.*optimizer.lr=null"),
        (["optimizer.lr=[]"], r"optimizer.lr=\[\]: this is an empty list"),
        (["~loss"], r"There is no loss in the config. Choose one: loss=NAME"),
        (["data.seed=-1"], r"data.seed=-1, but it must be a whole number, at least 0"),
        (["loader.batch_size=true"], r"loader.batch_size=True, but it must be a whole number"),
        (["trainer.accumulate_grad_batches=0"], r"trainer.accumulate_grad_batches=0, but it must be"),
        (["trainer.max_epochs=0"], r"trainer.max_epochs=0: nothing would be trained"),
        (["trainer.limit_train_batches=0.0"], r"trainer.limit_train_batches=0: nothing would be trained"),
        (["trainer.limit_train_batches=-1"], r"trainer.limit_train_batches=-1: give how many, or a share"),
        (["trainer.limit_test_batches=2.5"], r"trainer.limit_test_batches=2.5: give how many, or a share"),
        (["trainer.limit_test_batches=true"], r"trainer.limit_test_batches=True: give how many, or a share"),
        (["optimizer.lr=true"], r"optimizer.lr=True, but it must be a number, at least 0"),
        (["optimizer.lr=-1"], r"optimizer.lr=-1, but it must be a number, at least 0"),
        (["seed=-1"], r"seed=-1, but it must be a whole number, at least 0"),
        (["data.n_train=0"], r"data.n_train=0, but it must be a whole number, at least 1"),
        (["trainer.max_epochs=abc"], r"trainer.max_epochs=abc, but it must be a number"),
        (["data.image_size=128"], r"data.image_size=128: give rows and columns, two whole numbers"),
        (["data.image_size=[128]"], r"data.image_size=\[128\]: give rows"),
        (["data.image_size=[0,128]"], r"data.image_size=\[0, 128\]: give rows"),
        (["data.image_size=[128,true]"], r"data.image_size=\[128, True\]: give rows"),
        (["data.image_size=[a,b]"], r"data.image_size=\['a', 'b'\]: give rows"),
        (["loss=species_cross_entropy"], r"have to be of one kind, as those of a study"),
        (["model=resnet18"], r"have to be of one kind, as those of a study"),
        (["data=synthetic_species"], r"have to be of one kind, as those of a study"),
        (["optimizer.lr=abc"], r"optimizer.lr=abc, but it must be a number"),
        (["trainer.limit_val_batches=0"], r"trainer.limit_val_batches=0: a run validates.*debug=fast"),
        (["+trainer.fast_dev_run=true"], r"trainer.fast_dev_run=True: .*debug=fast"),
    ],
)
def test_mistakes_are_named_with_the_way_out(overrides: list[str], said: str) -> None:
    with pytest.raises(BirdlabError, match=said):
        config.compose(overrides)


def test_an_argument_that_no_config_has_but_the_constructor_takes_is_no_mistake() -> None:
    cfg = config.compose(["+optimizer.amsgrad=true"])
    assert cfg.optimizer.amsgrad is True


def test_monitor_must_be_logged_and_its_better_end_right() -> None:
    logged = {"val/loss": "min", "val/iou_resized": "max"}
    config.check_monitor(config.compose([]), logged)
    with pytest.raises(BirdlabError, match=r"val/iou is not logged; nearest: .*val/iou_resized"):
        config.check_monitor(config.compose(["monitor.metric=val/iou"]), logged)
    with pytest.raises(BirdlabError, match=r"monitor.mode=max, but of val/loss the min is best"):
        config.check_monitor(config.compose(["monitor.metric=val/loss"]), logged)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["optimizer=adam", "optimizer.lr=0.01", "seed=0"], "003_adam_lr-0.01_seed-0"),
        (["data.root=/my/birds (1)"], "003_seed-0"),
        (["data.size={train:4,val:2}", "seed=7"], "003_size-train-4-val-2_seed-7"),
        ([f"+data.key{i}=value" for i in range(40)], None),
    ],
)
def test_job_names_say_what_differs_in_safe_characters(overrides: list[str], name: str | None) -> None:
    made = config.job_name(3, overrides)
    assert len(made) <= 120
    assert all(letter.isalnum() or letter in "._-" for letter in made)
    assert name is None or made == name


def test_however_long_a_name_the_seed_stands_at_its_end() -> None:
    overrides = ["seed=7", *(f"+data.key{i}=value" for i in range(40))]
    assert config.job_name(3, overrides).endswith("_seed-7")
    assert len(config.job_name(3, overrides)) == 120


def test_jobs_whose_long_names_begin_alike_are_told_apart_by_their_number() -> None:
    overrides = [f"+data.key{i}=value" for i in range(40)]
    assert config.job_name(1, overrides) != config.job_name(2, overrides)


def test_single_runs_are_numbered_on(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = config._run_directory(None, "study", ["seed=1"])
    assert first == "outputs/study/000_seed-1"
    assert config._run_directory(None, "study", ["+experiment=study", "seed=2"]) == "outputs/study/001_seed-2"
    assert config._run_directory(first, "study", []) == first


def test_an_empty_list_may_be_what_a_key_wants() -> None:
    assert config.compose(["augment=paper001", "augment.transforms=[]"]).augment.transforms == []


def test_runs_that_begin_at_once_get_numbers_of_their_own(tmp_path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda seed: config.new_directory(tmp_path / "study", [f"seed={seed}"]), range(32))
        )
    assert sorted(int(directory.name[:3]) for directory in made) == list(range(32))


def _timm(**settings):
    """A network that birdlab ships, told to read a file that timm may unpickle."""
    return {"model": {"build": {"_target_": "timm.create_model"} | settings}}


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ({"model": {"_target_": "os.system", "command": "true"}}, "os.system"),
        ({"loss": {"losses": {"bce": {"_target_": "builtins.eval"}}}}, "builtins.eval"),
        ({"name": "${oc.env:HOME}"}, "look something up"),
        ({"model": {"_target_": ["os.system"]}}, "os.system"),
        ({"callbacks": {"a": {"b": [{"_target_": "subprocess.Popen"}]}}}, "subprocess.Popen"),
        (_timm(checkpoint_path="x.pth"), r"checkpoint_path=x\.pth"),
        (_timm(checkpoint_path=["x.pth"]), r"checkpoint_path\.0=x\.pth"),
        (_timm(pretrained_cfg={"file": "x.pth"}), r"pretrained_cfg\.file=x\.pth"),
        (_timm(_args_=["resnet18", False, None, None, "x.pth"]), "_args_"),
    ],
)
def test_a_foreign_config_builds_only_what_birdlab_ships(tmp_path, planted, said) -> None:
    plain = OmegaConf.to_container(config.compose([]), resolve=True)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain | planted))
    run = Run.open(tmp_path)
    with pytest.raises(BirdlabError, match=said) as refused:
        run.config()
    assert "--trust" in str(refused.value)
    assert run.config(trust=True) is not None


def test_a_package_that_a_network_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config.compose(["+experiment=frontier", "model.weights=null"])
    monkeypatch.setitem(sys.modules, "timm", None)
    config.parameters.cache_clear()
    with pytest.raises(BirdlabError, match=r"pip install 'birdlab\[timm\]'"):
        build_task(cfg)


def test_every_target_that_is_shipped_can_be_imported() -> None:
    for target in config.shipped_targets():
        config.parameters(target)


@pytest.mark.parametrize(
    ("rate", "window_s", "columns", "proposed"),
    [
        (44_100, 3.0, 192, 132_288),
        (32_000, 5.0, 192, 159_936),
        (22_050, 3.0, 192, 66_240),
        (32_000, 3.0, 64, None),
    ],
)
def test_windows_that_do_not_divide_into_columns_are_refused_with_one_that_does(
    rate: int, window_s: float, columns: int, proposed: int | None
) -> None:
    words = ["+experiment=frontier", "data=mixtures", "data.calls=x", "data.noise=x", "model=resunet"]
    settings = [f"data.sample_rate={rate}", f"data.image_size=[128,{columns}]"]
    small = ["model.widths=[2,4,4,4,4,4]"]
    if proposed is not None:
        with pytest.raises(BirdlabError, match=rf"{columns} columns .*set data\.window_s=") as told:
            build_task(config.compose([*words, *settings, *small, f"data.window_s={window_s}"]))
        window_s = float(str(told.value).split("data.window_s=")[-1].removesuffix("."))
        assert round(window_s * rate) == proposed
    build_task(config.compose([*words, *settings, *small, f"data.window_s={window_s}"]))


@pytest.mark.parametrize(("words", "epochs"), [([], 20), (["epochs=5"], 5), (["epochs=50"], 20)])
def test_a_scale_asks_for_fewer_epochs_and_never_for_more(words: list[str], epochs: int) -> None:
    assert config.compose(["scale=demo", *words]).trainer.max_epochs == epochs


@pytest.mark.parametrize("limit", ["2", "2.0", "0.5", "1.0"])
def test_batches_are_limited_by_a_count_or_a_share(limit: str) -> None:
    cfg = config.compose([f"trainer.limit_test_batches={limit}"])
    assert cfg.trainer.limit_test_batches == float(limit)


def test_what_lightning_refuses_is_said_without_its_traceback(tmp_path: Path) -> None:
    cfg = config.compose(["+trainer.overfit_batches=1.5", "trainer.precision=32-true", "logger=csv"])
    with pytest.raises(BirdlabError, match=r"lightning\.Trainer: .*1\.5 for overfit_batches"):
        build_trainer(cfg, Run(tmp_path))
