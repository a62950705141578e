"""What comes before the first step: mistakes found, data decoded, open choices settled and written down."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from birdlab import config, precision
from birdlab.build import build_data, build_task
from birdlab.callbacks.fitted_head import FittedHead
from birdlab.callbacks.freezing import FrozenEncoder
from birdlab.data.classification import ClassificationData
from birdlab.data.module import SourceData
from birdlab.data.segmentation import SegmentationData
from birdlab.data.source import SPLITS, Source
from birdlab.devices import Devices
from birdlab.errors import BirdlabError
from birdlab.losses import FunctionalLoss, WeightedSum
from birdlab.run import Run
from birdlab.tasks import MultitaskTask, Task
from birdlab.trained_on import STARTS, runs_before, trained_on

RESUMABLE = ("trainer.max_epochs", "trainer.max_time", "trainer.limit_")
"""What may stand beside ``resume=DIR``; everything else comes from that run's config."""


def prepare(cfg: DictConfig, run: Run, devices: Devices) -> SourceData:
    """Find the mistakes that can be known, decode the data, settle what is ``auto``; write it all down."""
    data = build_data(cfg)
    config.fill(cfg, data.settled())
    task = build_task(cfg, pretrained=not run.last.is_file())
    check_same_data(run, data)
    check_start(cfg, data)
    config.check_monitor(cfg, task.logged)
    check_callbacks(cfg, task)
    if cfg.compile and isinstance(task, MultitaskTask):
        raise BirdlabError("compile=true: a network with two heads isn't compiled. Set compile=false.")
    if isinstance(data, ClassificationData):
        check_classifier(task, data)
    data.prepare_data()
    data.setup("fit")
    if isinstance(data, SegmentationData):
        warn_of_one_class(data)
    probed = [key for key in ("trainer.precision", "memory_format") if OmegaConf.select(cfg, key) == "auto"]
    settle_speed(cfg, task, data, devices.first)
    settle_paths(cfg, data)
    run.write_config(cfg)
    run.write_json("splits.json", data.split_ids())
    run.write_json("recordings.json", {split: sorted(data.recordings(split)) for split in SPLITS})
    run.note(
        data_hash=data.manifest_hash(),
        devices=f"{devices.processes} x {devices.kind}",
        precision=cfg.trainer.precision,
        memory_format=cfg.memory_format,
        compile=cfg.compile,
        # What was found and not asked for sets no runs apart; a resumed run was asked before.
        probed=run.read_json("provenance.json").get("probed", probed),
        parameters=sum(weight.numel() for weight in task.net.parameters()),
    )
    return data


def warn_of_one_class(data: SegmentationData) -> None:
    """Say on standard error if no training mask has bird, or none has anything else: scores would be perfect.

    It may be meant, as with the few samples of a trial.
    """
    masks = data.arrays("train")["masks"]
    # The first mask or two answer it, unless there is something to say.
    for found, word in (
        (any(mask.any() for mask in masks), "bird"),
        (not all(map(np.all, masks)), "background"),
    ):
        if not found:
            Console(stderr=True).print(
                f"None of the {len(masks)} training masks has any {word}: a network that learns this scores "
                "1 without knowing a bird. For masks from files, data.classes says what their values mean.",
                style="yellow",
                highlight=False,
            )


def check_callbacks(cfg: DictConfig, task: Task) -> None:
    """Callbacks that draw what a task makes are those of this task: they are called when time has been spent.

    Raises:
        BirdlabError: names one that isn't.
    """
    for name, callback in cfg.callbacks.items():
        kind = get_class(callback._target_)
        if not isinstance(task, getattr(kind, "suits", Task)):
            raise BirdlabError(
                f"callbacks.{name}: {kind.__name__} is not for a {type(task).__name__}. Where masks are "
                "learned, set callbacks=default, early_stopping or averaged; where species are, species, "
                "species_early_stopping, species_averaged, species_frozen or species_fitted."
            )
    if OmegaConf.select(cfg, "optimizer.lr") == 0:
        check_solved(cfg)


def check_solved(cfg: DictConfig) -> None:
    """Without steps all that is new must be solved for, and all else be left as it is.

    Raises:
        BirdlabError: says what isn't.
    """
    by_kind = {get_class(callback._target_): callback for callback in cfg.callbacks.values()}
    if FittedHead not in by_kind:
        wrong = "nothing else is learned (callbacks=species_fitted solves for the last layer)"
    elif FrozenEncoder not in by_kind or by_kind[FrozenEncoder].epochs is not None:
        wrong = "batch norms go on without the last layer (callbacks.frozen.epochs=null)"
    elif cfg.data.get("prior"):
        wrong = "place and date are learned by steps (data.prior=false)"
    else:
        return
    raise BirdlabError(f"optimizer.lr=0, and {wrong}; or give a rate, and some epochs.")


def check_classifier(task: Task, data: ClassificationData) -> None:
    """The loss is of species, and the network takes stacks of this size: not all of torchvision or timm do.

    Raises:
        BirdlabError: says what it said, or what it returned in place of logits.
    """
    if isinstance(task.loss, FunctionalLoss | WeightedSum):
        raise BirdlabError(
            f"loss: {type(task.loss).__name__} is of masks. Set loss=species_cross_entropy, or "
            "loss=species_bce with data.multilabel=true."
        )
    shape, classes = data.source.fields["stacks"].shape, len(data.names)
    way_out = (
        f"Stacks are {' x '.join(map(str, shape))} (segments, bands, frames): set data.n_mels, "
        "data.segment_s or model.encoding, or choose another model."
    )
    # A copy, and numbers of its own: nothing of the run changes.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            logits = deepcopy(task.net).train()(torch.rand(2, *shape))
        except BirdlabError:
            raise
        except Exception as error:
            said = str(error) or type(error).__name__
            raise BirdlabError(f"model: the network can't take the stacks ({said}). {way_out}") from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, classes):
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise BirdlabError(
            f"model: the network returns {found} for two stacks, not logits (2, {classes}). {way_out}"
        )


def check_same_data(run: Run, data: SourceData) -> None:
    """A run goes on with the data it began with: others would be dealt anew, trained ones to the test split.

    Raises:
        BirdlabError: if they have changed.
    """
    began_with = run.read_json("provenance.json").get("data_hash")
    if run.last.is_file() and began_with not in (None, data.manifest_hash()):
        raise BirdlabError(
            f"{run.directory} began with other data: files were added, removed or changed since, and its "
            "splits (splits.json) would be others. Bring the data back, or begin anew."
        )


def check_start(cfg: DictConfig, data: SourceData) -> None:
    """What a network is tested on was not trained on by the run that it starts from, or by one before it.

    What it is validated on should not have been either; where it was, that is said.

    Raises:
        BirdlabError: names a recording that is to be tested, and was trained on.
    """
    for key, before in runs_before(cfg):
        if both := sorted(data.recordings("test") & trained_on(before)):
            raise BirdlabError(
                f"{key}={OmegaConf.select(cfg, key)} was trained on {len(both)} recordings that are to be "
                f"tested now, e.g. {both[0]}: scores would be too good. Start from a run that has the same "
                "test split. Recordings are known by their names: rename those that are others."
            )
        validated = data.recordings("val")
        if both := sorted(validated & trained_on(before, "train")):
            Console(stderr=True).print(
                f"{key}={OmegaConf.select(cfg, key)} was trained on {len(both)} of the {len(validated)} "
                f"recordings that choose the epoch and the threshold now, e.g. {both[0]}: both will suit "
                "what is known. Split as that run did (data.fractions, data.seed).",
                style="yellow",
                highlight=False,
            )


def settle_speed(cfg: DictConfig, task: Task, data: SourceData, device: torch.device) -> None:
    """Replace ``precision=auto`` and ``memory_format=auto`` by what a short probe finds fastest."""
    if "auto" not in (cfg.trainer.precision, cfg.memory_format):
        return
    batch = next(iter(data.train_dataloader()))
    on_device = {name: value.to(device) for name, value in batch.items() if isinstance(value, torch.Tensor)}
    pinned = {"precision": cfg.trainer.precision, "memory_format": cfg.memory_format}
    choice = precision.choose(task.net.to(device), task.to(device).inputs(on_device), **pinned)
    Console().print(str(choice), highlight=False)
    cfg.trainer.precision, cfg.memory_format = choice.precision, choice.memory_format


def settle_paths(cfg: DictConfig, data: SourceData) -> None:
    """Say in full where the data are, and what a network starts from: the run can be read from any folder."""
    _settle_paths_of(cfg.data, data.source)
    if noise := OmegaConf.select(cfg, "augment.noise"):
        cfg.augment.noise = _in_full(Path(noise).expanduser())
    for key in STARTS:
        start = OmegaConf.select(cfg, key)
        if start and (path := Path(str(start)).expanduser()).exists():
            OmegaConf.update(cfg, key, _in_full(path))


def _settle_paths_of(cfg: DictConfig, source: Source) -> None:
    for name, value in vars(source).items():
        if isinstance(value, Path):
            cfg[name] = _in_full(value)
        elif isinstance(value, dict):
            for part, inner in value.items():
                if isinstance(inner, Source):
                    _settle_paths_of(cfg[name][part], inner)


def _in_full(path: Path) -> str:
    return str(path.absolute()).replace("${", r"\${")


def resumed_config(run: Run, overrides: list[str], *, trust: bool) -> DictConfig:
    """The config of a run that goes on, with the trainer's limits as said now.

    Raises:
        BirdlabError: if anything else is to be changed: the run would not be what its config says. Nor would
            one that is longer than its schedule.
    """
    cfg = run.config(trust=trust)
    if OmegaConf.select(cfg, "trainer.max_steps") not in (None, -1):
        raise BirdlabError(
            f"{run.directory} is to end after trainer.max_steps={cfg.trainer.max_steps}: Lightning can't go "
            "on exactly where such a run stopped. Begin anew, with trainer.max_epochs in its place."
        )
    for override in overrides:
        key, _, value = override.partition("=")
        if key in {"resume", "trust"}:
            continue
        if not key.startswith(RESUMABLE):
            raise BirdlabError(
                f"{override} can't stand beside resume={run.directory}: a run goes on with its own config. "
                "Only trainer.max_epochs, max_time and limit_* may change."
            )
        if key == "trainer.max_epochs" and OmegaConf.select(cfg, "scheduler.steps_argument"):
            raise BirdlabError(
                f"{override} can't stand beside resume={run.directory}: its rate falls over "
                f"{cfg.trainer.max_epochs} epochs and would rise again. Begin another run at its weights "
                f"instead: start_from={run.directory}."
            )
        OmegaConf.update(cfg, key, OmegaConf.from_dotlist([f"value={value}"]).value)
    return cfg
