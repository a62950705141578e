"""The configs in conf/: where they lie, composing them, and the mistakes found before any time is spent."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, TypeGuard

import yaml
from filelock import FileLock
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from birdlab.errors import BirdlabError, first_line

_PACKAGE = Path(__file__).parent
_UNREAD = frozenset({"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "_args_"})
"""Keys of timm's for files that it may unpickle, and arguments without a name, which may be such files;
birdlab reads weights itself, as nothing but tensors."""

CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""Installed, the configs lie inside the package; in a checkout beside it."""

_INSTANTIATE_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
_EXTRAS = {"segmentation_models_pytorch": "smp", "timm": "timm"}
_NAMED_BY_USERS = {"callbacks", "logger"}  # their children are named as one likes


def compose(overrides: Sequence[str], config_dir: Path | None = None) -> DictConfig:
    """The config that ``birdlab.train`` would run with, given the same words on its command line.

    Args:
        overrides: words of the command line.
        config_dir: a folder of the user's own configs, as given by ``--config-dir``.

    Raises:
        BirdlabError: for unknown keys and choices, missing mandatory values and what `check` refuses.
    """
    cfg = compose_unchecked(overrides, config_dir)
    check(cfg)
    return cfg


def compose_unchecked(
    overrides: Sequence[str], config_dir: Path | None = None, root: str = "train"
) -> DictConfig:
    """As `compose`, for a caller who fills in mandatory values afterwards, or has a root of its own."""
    check_overrides(overrides, config_dir)
    searched = [] if config_dir is None else [f"hydra.searchpath=['file://{config_dir.absolute()}']"]
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        try:
            return hydra_compose(config_name=root, overrides=[*overrides, *searched])
        except HydraException as error:
            raise BirdlabError(str(error)) from error


def check_overrides(overrides: Sequence[str], config_dir: Path | None = None) -> None:
    """Refuse a misspelt key on the command line and name the nearest one that exists.

    Keys added with ``+`` are left to `check`, which sees what they were added to.

    Args:
        overrides: words of the command line.
        config_dir: a folder of the user's own configs, as given by Hydra's ``--config-dir``.
    """
    folders = [CONF] if config_dir is None else [CONF, config_dir]
    known = groups().union(*map(keys_below, folders))
    lists = frozenset().union(*map(lists_below, folders))
    for word in overrides:
        key, is_setting, value = word.split("@", 1)[0].partition("=")
        if word.startswith(("-", "~", "hydra")) or not is_setting:
            continue
        if word.endswith("=") and key.lstrip("+") not in groups():
            raise BirdlabError(f"{word} gives no value. Give one, or null for none: {word}null.")
        if key.lstrip("+") in groups():
            _check_choices(key.lstrip("+"), value, folders)
        elif not key.startswith("+") and key not in known:
            raise BirdlabError(f"There is no key {key!r}{_nearest(key, known)}.")
        elif value == "[]" and key.lstrip("+") in known - lists:
            raise BirdlabError(
                f"{word}: this is an empty list. Give {key} a value, or several to sweep over."
            )


def _check_choices(group: str, value: str, folders: list[Path]) -> None:
    known = frozenset(file.stem for folder in folders for file in (folder / group).glob("[!_]*.yaml"))
    for choice in value.split(","):
        if re.fullmatch(r"\w*", choice) and choice != "null" and choice not in known:
            near = _nearest(choice, known) or f"; there are {', '.join(sorted(known))}"
            raise BirdlabError(f"{group}={choice}: there is no such choice{near}.")


_BUILT = ("task", "data", "model", "loss", "optimizer", "scheduler")
_COUNTS = {
    "seed": (0, False),
    "epochs": (1, False),
    "scale.epochs": (1, True),
    "loader.batch_size": (1, False),
    "data.seed": (0, True),
    "data.n_train": (1, True),
    "data.n_val": (1, True),
    "data.n_test": (1, True),
    "trainer.accumulate_grad_batches": (1, True),
}
"""Keys of whole numbers: the least, and whether null will do."""


def check(cfg: DictConfig) -> None:
    """What spans keys, and keys that no shipped config and no constructor knows.

    Raises:
        BirdlabError: says what was given, what is allowed and which key to set.
    """
    if absent := [group for group in _BUILT if group not in cfg]:
        raise BirdlabError(f"There is no {absent[0]} in the config. Choose one: {absent[0]}=NAME.")
    check_keys(cfg)
    _check_choice(cfg, "monitor.mode", ["min", "max"])
    _check_choice(cfg, "memory_format", ["auto", "contiguous", "channels_last"])
    for key, (least, may_be_null) in _COUNTS.items():
        value = OmegaConf.select(cfg, key)
        whole = _is_whole(value) and least <= value < 2**32
        if not (whole or (value is None and may_be_null)):
            raise BirdlabError(f"{key}={value}, but it must be a whole number, at least {least}.")
    size = OmegaConf.select(cfg, "data.image_size")
    if size is not None and not _is_size(size):
        raise BirdlabError(
            f"data.image_size={size}: give rows and columns, two whole numbers: data.image_size=[128,192]."
        )
    _check_imagenet(cfg)
    for key, least in (("trainer.max_epochs", -1), ("optimizer.lr", 0)):
        value = OmegaConf.select(cfg, key)
        if not (value is None or (_is_number(value) and value >= least)):
            raise BirdlabError(f"{key}={value}, but it must be a number, at least {least}.")
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        if OmegaConf.select(cfg, f"trainer.{key}") in (0, False):
            raise BirdlabError(f"trainer.{key}=0: nothing would be trained. Give more, or leave it out.")
    for split in ("train", "val", "test"):
        value = OmegaConf.select(cfg, f"trainer.limit_{split}_batches")
        # What Lightning takes: shares up to 1.0, and above counts, which are whole.
        if value is not None and not (_is_number(value) and value >= 0 and (value <= 1 or value % 1 == 0)):
            raise BirdlabError(
                f"trainer.limit_{split}_batches={value}: give how many, or a share from 0.0 to 1.0."
            )
    for key, allowed in (("limit_val_batches", True), ("limit_test_batches", True), ("fast_dev_run", False)):
        value = OmegaConf.select(cfg, f"trainer.{key}")
        if value is not None and bool(value) != allowed:
            raise BirdlabError(
                f"trainer.{key}={value}: a run validates, keeps its best epoch and tests it. "
                "For one batch of everything there is debug=fast."
            )


def _check_imagenet(cfg: DictConfig) -> None:
    """Networks that know no weights themselves start from a file or a run alone."""
    if OmegaConf.select(cfg, "model.weights") != "imagenet":
        return
    if "weights" not in parameters(cfg.model._target_):
        way_out = "for this network say model.encoder_weights=imagenet"
        if "encoder_name" not in cfg.model:
            way_out = "there are none for this network; set model.weights=null, or choose another model"
        raise BirdlabError(f"model.weights=imagenet: {way_out}.")


def _is_size(value: object) -> bool:
    if not isinstance(value, ListConfig) or len(value) != 2:
        return False
    return all(_is_whole(side) and side > 0 for side in value)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, float) or _is_whole(value)


def check_keys(cfg: DictConfig) -> None:
    """Every value is there, every key is known, and whatever a value looks up is found.

    Raises:
        BirdlabError: names the key.
    """
    for key in _unknown_keys(OmegaConf.to_container(cfg, resolve=False)):
        raise BirdlabError(f"There is no key {key!r}{_nearest(key, shipped_keys() | groups())}.")
    try:
        if missing := sorted(OmegaConf.missing_keys(cfg)):
            raise BirdlabError(f"{missing[0]} has no value. Set it on the command line: {missing[0]}=...")
        OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        # What one task's configs look up, the other one's don't have.
        hint = ""
        if isinstance(error, InterpolationKeyError):
            hint = ". Data, model, loss and task have to be of one kind, as those of a study: +experiment=..."
        raise BirdlabError(f"{error.full_key}: {error.msg}{hint}") from error


def check_monitor(cfg: DictConfig, logged: Mapping[str, str]) -> None:
    """Every metric that is monitored is one that the task logs, and "best" means the right end of it.

    Args:
        cfg: the composed config.
        logged: the task's metrics by name, each with the mode (``min`` or ``max``) that is better.
    """
    monitors = [("monitor.metric", "monitor.mode"), ("scheduler.monitor", "scheduler.scheduler.mode")]
    monitors += [(f"callbacks.{name}.monitor", f"callbacks.{name}.mode") for name in cfg.callbacks]
    for key, mode_key in monitors:
        metric, mode = OmegaConf.select(cfg, key), OmegaConf.select(cfg, mode_key)
        if metric is None:
            continue
        if metric not in logged:
            known = ", ".join(sorted(logged))
            raise BirdlabError(f"{key}={metric} is not logged{_nearest(metric, logged)}. There are {known}.")
        if mode != logged[metric]:
            raise BirdlabError(f"{mode_key}={mode}, but of {metric} the {logged[metric]} is best.")


def fill(cfg: DictConfig, settled: Mapping[str, Any]) -> None:
    """Fill in what is null in the config and only the data say: which species there are, for instance.

    Raises:
        BirdlabError: if the config names other species, as that of a run does whose data have changed.
    """
    check_species(cfg, settled)
    for key, value in settled.items():
        if OmegaConf.select(cfg, key) is None:
            OmegaConf.update(cfg, key, value)


def check_species(cfg: DictConfig, settled: Mapping[str, Any]) -> None:
    """A network's logits stand for the species of the data, in the same order.

    Raises:
        BirdlabError: if not; names those that differ.
    """
    known, found = OmegaConf.select(cfg, "task.names"), settled.get("task.names")
    if known is not None and list(known) != found:
        raise BirdlabError(
            f"The network names {len(known)} species, {', '.join(known)}; the data set holds "
            f"{', '.join(found or ['none'])}. Set data.species=[{','.join(known)}]."
        )


def check_trusted(cfg: DictConfig, group: str = "") -> None:
    """Refuse a config from elsewhere that would build or look up what birdlab does not ship.

    Args:
        cfg: the config.
        group: what is shipped is what this group's configs build; of all groups if empty.

    Raises:
        BirdlabError: names the key and the target, and the way out.
    """
    plain = OmegaConf.to_container(cfg, resolve=False)
    for key, value in _leaves(plain):
        *_, name = names = key.split(".")
        # A target that is a list has its leaves below it; none is ever right.
        foreign = "_target_" in names and (name != "_target_" or value not in shipped_targets(group))
        if foreign or not _UNREAD.isdisjoint(names):
            raise BirdlabError(
                f"{key}={value}: this config builds what birdlab doesn't ship, which could run any program. "
                "If you trust whoever made it, add --trust (with resume=: trust=true)."
            )
        if "${" in key or (isinstance(value, str) and "${" in value):
            raise BirdlabError(
                f"{key}={value}: a run's config holds plain values, and this one would look something up on "
                "your machine. If you trust whoever made it, add --trust (with resume=: trust=true)."
            )


@cache
def groups() -> frozenset[str]:
    """Names of the config groups, e.g. ``data`` and ``model``."""
    return frozenset(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")


def names_species(cfg: DictConfig) -> bool:
    """Whether a run of this config names species and marks no pixels."""
    return _task(cfg) == "ClassificationTask"


def marks_and_names(cfg: DictConfig) -> bool:
    """Whether a run of this config does both at once."""
    return _task(cfg) == "MultitaskTask"


def _task(cfg: DictConfig) -> str:
    return str(OmegaConf.select(cfg, "task.module._target_")).rsplit(".", 1)[-1]


@cache
def shipped_keys() -> frozenset[str]:
    """Every dotted key that some shipped config has."""
    return keys_below(CONF)


def keys_below(folder: Path) -> frozenset[str]:
    """Every dotted key that some config in a folder has, wherever it is packaged to."""
    return frozenset(key for key, _ in _entries(folder))


def lists_below(folder: Path) -> frozenset[str]:
    """The keys that hold a list in some config of a folder."""
    return frozenset(key for key, value in _entries(folder) if isinstance(value, list))


def _entries(folder: Path) -> Iterator[tuple[str, Any]]:
    for file in _files(folder):
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(text) or {}
        group = file.parent.relative_to(folder).as_posix()
        prefix = "" if group == "." or "@package _global_" in text else f"{group}."
        for key, value in _nodes(content):
            if key.split(".")[0] not in {"defaults", "hydra"}:
                yield prefix + key, value
        if prefix:
            yield group, content


@cache
def shipped_targets(group: str = "") -> frozenset[str]:
    """Everything that the shipped configs instantiate, of one group or of all."""
    contents = (yaml.safe_load(file.read_text(encoding="utf-8")) or {} for file in _files(CONF / group))
    return frozenset(target for content in contents for target in targets(content))


def register_resolvers() -> None:
    """What configs compute: a single run's directory (conf/train.yaml), the fewer of two (conf/scale)."""
    OmegaConf.register_new_resolver("fewer", min, replace=True)
    # The same name however often it is asked for.
    OmegaConf.register_new_resolver("run_directory", _run_directory, replace=True, use_cache=True)


def _run_directory(resume: str | None, name: str, overrides: ListConfig) -> str:
    if resume is not None:
        return resume
    # The study itself is what the folder is named after.
    common = ("+experiment=", "+sweep=", "logger=", "name=")
    return str(new_directory(Path("outputs") / name, [o for o in overrides if not o.startswith(common)]))


def new_directory(parent: Path, overrides: Sequence[str]) -> Path:
    """Make the next numbered directory; runs that ask at the same moment get different numbers."""
    parent.mkdir(parents=True, exist_ok=True)
    with FileLock(parent.parent / ".lock"):
        taken = [int(found[1]) for path in parent.glob("*") if (found := re.match(r"(\d+)_", path.name))]
        directory = parent / job_name(max(taken, default=-1) + 1, overrides)
        directory.mkdir()
    return directory


def job_name(number: int, overrides: Sequence[str]) -> str:
    """``003_adam_lr-0.01_seed-0``: the job's number and what differs from others, at most 120 characters."""
    words, seed = [], "seed-0"
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == "seed":
            seed = f"seed-{value}"
        elif "/" not in value and "\\" not in value:
            words.append(value if key in groups() else f"{key.rsplit('.', 1)[-1]}-{value.strip('{}[]')}")
    start, *rest, end = (
        re.sub(r"[^A-Za-z0-9._-]+", "-", word).strip("-") for word in (f"{number:03d}", *words, seed)
    )
    return "_".join([start, *rest])[: 119 - len(end)] + f"_{end}"


def quoted(text: str) -> str:
    """A value as Hydra's grammar takes it, quoted where it must be."""
    return text if re.fullmatch(r"[A-Za-z0-9_./-]+", text) else QuotedString(text, Quote.double).with_quotes()


def _files(folder: Path) -> list[Path]:
    """All configs of experiments in a folder; those below hydra/ are Hydra's own."""
    return [file for file in sorted(folder.rglob("*.yaml")) if file.relative_to(folder).parts[0] != "hydra"]


def _check_choice(cfg: DictConfig, key: str, allowed: list[str]) -> None:
    value = OmegaConf.select(cfg, key)
    if value not in allowed:
        raise BirdlabError(f"{key}={value}, but it must be one of {', '.join(allowed)}.")


def _unknown_keys(node: Any, path: str = "", free: bool = False) -> Iterator[str]:
    """Keys that no shipped config has and no constructor takes; ``free`` nodes are named as one likes."""
    target = node.get("_target_")
    accepted = parameters(target) if isinstance(target, str) else frozenset()
    for key, value in node.items():
        full = f"{path}.{key}" if path else str(key)
        shipped = full in shipped_keys() or key in _INSTANTIATE_KEYS
        if not (free or shipped or key in accepted or "**" in accepted):
            yield full
        elif isinstance(value, dict):
            # A mapping that is an argument, such as data.size or loss.losses, is checked by its constructor.
            argument = target is not None and "_target_" not in value
            yield from _unknown_keys(value, full, free=argument or full in _NAMED_BY_USERS)


def targets(node: Any) -> Iterator[str]:
    """Every ``_target_`` of a config, the innermost last."""
    plain = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
    return (str(value) for key, value in _leaves(plain) if key.rsplit(".", 1)[-1] == "_target_")


@cache
def parameters(target: str) -> frozenset[str]:
    """The names of what a ``_target_`` takes; ``**`` where it takes any.

    Raises:
        BirdlabError: if it can't be imported.
    """
    try:
        accepted = signature(get_object(target)).parameters
    except (ImportError, ValueError, AttributeError) as error:
        extra = _EXTRAS.get(target.split(".")[0])
        way_out = f"; install it with pip install 'birdlab[{extra}]'" if extra else ""
        raise BirdlabError(f"_target_={target} can't be imported ({first_line(error)}){way_out}.") from error
    return frozenset("**" if p.kind is p.VAR_KEYWORD else name for name, p in accepted.items())


def _nearest(key: str, known: Mapping[str, Any] | frozenset[str]) -> str:
    """``; nearest: a, b, c``, or nothing where nothing is near."""
    names = sorted(str(name) for name in known if not str(name).rsplit(".", 1)[-1].startswith("_"))
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.6)
    return f"; nearest: {', '.join(near)}" if near else ""


def _nodes(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}", value
            yield from _nodes(value, f"{prefix}{key}.")


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict | list):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
