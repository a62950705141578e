"""What differs between runs, and which runs are the same but for the seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from birdlab.config import CONF, groups
from birdlab.reporting.crossing import crossed, is_fold
from birdlab.reporting.read import RunRecord, flat
from birdlab.trained_on import STARTS

NUISANCE = (
    *("logger.", "loader.num_workers", "loader.cache_dir", "resume", "trust", "debug"),
    # Those that draw and keep what a training makes, and don't change it.
    *(f"callbacks.{name}." for name in ("panels", "figures", "errors", "progress", "best", "last")),
)
_NAMED = ("name", "ablation")
"""Keys that only name what a run is: a study, and what an ablation changes. The wider one first."""
_ABSENT = "—"
_NO_FILE = frozenset({_ABSENT, "None", "imagenet"})
"""What a network may start from that no run of birdlab left."""
_ONE_EACH = "one each"
"""What runs start from of which each seed has a start of its own."""

Signature = tuple[tuple[str, str], ...]
"""What a config group builds: (key below the group, target) of everything in it."""


@dataclass(frozen=True)
class Condition:
    """Finished runs that are the same but for the seed.

    Attributes:
        label: what sets them apart from the others; the study's name if there are no others.
        factors: the same by key, as it is shown.
        runs: one or more; the folds of a cross-validation are one, see `birdlab.reporting.crossing`.
    """

    label: str
    factors: Mapping[str, str]
    runs: tuple[RunRecord, ...]

    def values(self, name: str) -> list[float]:
        """A test score of each run that has it."""
        return [value for run in self.runs if (value := run.score(name)) is not None]

    def facts(self, name: str) -> list[float]:
        """What a run took, e.g. ``wall_s``, of each run that says so."""
        return [value for run in self.runs if (value := run.cost(name)) is not None]


def conditions(records: Sequence[RunRecord]) -> list[Condition]:
    """The finished runs, grouped; in the order in which conditions first occur."""
    columns = factors([record for record in records if record.config])
    with_config = iter(zip(*columns.values(), strict=True)) if columns else None
    grouped: dict[tuple[str, ...], list[RunRecord]] = {}
    for record in records:
        values = next(with_config, ()) if record.config and with_config is not None else ()
        if record.status == "finished":
            grouped.setdefault(tuple(values), []).append(record)
    short = short_names(columns)
    return [
        Condition(
            label=_label([short[key] for key in columns], values)
            or str(runs[0].config.get("name", "all runs")),
            factors=dict(zip(columns, values, strict=False)),
            runs=tuple(crossed(runs)),
        )
        for values, runs in grouped.items()
    ]


def with_repeats_marked(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs, of which those that another one is once more are ``repeated``: a seed counts once.

    Of runs with the same config and data, but for where they log and load, the one that began last stays.
    """
    alike: dict[Any, list[RunRecord]] = {}
    for record in records:
        if record.status == "finished" and record.config:
            alike.setdefault(_identity(record), []).append(record)
    later: dict[str, RunRecord] = {}
    for runs in alike.values():
        *before, last = sorted(runs, key=lambda record: float(record.facts.get("began") or 0))
        later |= {record.name: last for record in before}
    return [
        replace(record, status="repeated", reason=f"{later[record.name].name} is the same, and began later")
        if record.name in later
        else record
        for record in records
    ]


def _identity(record: RunRecord) -> tuple[Any, ...]:
    """What two runs have in common of which one repeats the other."""
    data_hash = record.facts.get("data_hash")
    return data_hash, *(
        (key, shown(value))
        for key, value in sorted(record.config.items())
        if not key.startswith(NUISANCE)
        # The hash says it better than where the data lie.
        and not (data_hash and key.startswith("data.") and "/" in shown(value))
    )


def overridden(records: Sequence[RunRecord]) -> list[str]:
    """Every config key in which the runs differ, but for where they log and load."""
    keys = dict.fromkeys(key for record in records for key in record.config)
    readable = [record for record in records if record.config]
    hashes = {record.facts.get("data_hash") for record in readable} - {None}  # failed before it was known
    one_data_set = len(hashes) == 1
    probed = [record.facts.get("probed") for record in readable]
    return [
        key
        for key in keys
        if not key.startswith(NUISANCE)
        # Found by a probe in every run that lasted so long, and asked for in none.
        and not (any(probed) and all(key in found for found in probed if isinstance(found, list)))
        and len(values := set(_column(readable, key))) > 1
        # The same data in another folder, on another machine.
        and not (one_data_set and key.startswith("data.") and all("/" in value for value in values))
    ]


def factors(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """What differs, without what follows from it: by name the value in each run.

    A group that builds another thing counts as one factor, by the name of the choice where that is known
    (``optimizer``: adam, sgd); what is copied from another key, or belongs to the choice, is left out. So is
    what belongs to a study's name, or to that of an ablation; and what a run starts from, where each seed or
    fold has a start of its own: such runs are repetitions from the very beginning.
    """
    all_differing = overridden(records)
    # Runs that differ in these alone are repetitions of one condition; the counts are those of a fold.
    repeated = [key for key in all_differing if key in ("seed", "task.counts") or is_fold(key)]
    seeds = [_column(records, key) for key in repeated]
    found: dict[str, list[str]] = {}
    differing = [key for key in all_differing if key not in repeated]
    for group in sorted(groups()):
        signatures = [_signature(record.config, group) for record in records]
        if len(set(signatures)) < 2:
            continue
        named: dict[Signature, str] = {}
        for record, signature in zip(records, signatures, strict=True):
            named.setdefault(signature, _choice(group, record.config))
        found[group] = [named[signature] for signature in signatures]
        differing = [
            key
            for key in differing
            if not f"{key}.".startswith(f"{group}.") or not _follows(_column(records, key), signatures)
        ]
    for key in sorted(differing, key=lambda key: (key.count("."), key)):
        column = _column(records, key)
        # Interpolations leave copies of one value under several keys, of which some runs have none.
        if column not in found.values() and not any(_copies(column, seed) for seed in seeds):
            found[key] = column
    starts = {key: found.pop(key) for key in STARTS if key in found}
    all_else = [tuple(column[place] for column in found.values()) for place in range(len(records))]
    for key, column in starts.items():
        merged = _with_one_each(column, all_else, seeds)
        if len(set(merged)) > 1:
            found[key] = merged
    for key in reversed(_NAMED):
        if key in found:  # what it says is all that it stands for
            names = found.pop(key)
            found = {key: names} | {other: col for other, col in found.items() if not _follows(col, names)}
    return found


def short_names(keys: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    """The last words of dotted keys, as many as tell them apart."""
    names: dict[str, str] = {}
    for key in keys:
        words = key.split(".")
        names[key] = next(
            tail
            for length in range(1, len(words) + 1)
            if sum(f".{other}".endswith(f".{(tail := '.'.join(words[-length:]))}") for other in keys) == 1
            or length == len(words)
        )
    return names


def shown(value: Any) -> str:
    """A config's value as a cell of a table."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _label(names: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(
        value if name in groups() | set(_NAMED) else f"{name} {value}"
        for name, value in zip(names, values, strict=False)
    )


def _column(records: Sequence[RunRecord], key: str) -> list[str]:
    return [shown(record.config[key]) if key in record.config else _ABSENT for record in records]


def _copies(column: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the one is the other wherever it is there."""
    return all(value in (_ABSENT, copied) for value, copied in zip(column, other, strict=True))


def _follows(column: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether the one is a function of the other."""
    return len(set(zip(other, column, strict=True))) == len(set(other))


def _with_one_each(
    starts: Sequence[str], all_else: Sequence[Any], repeated: Sequence[Sequence[str]]
) -> list[str]:
    """What runs start from, as one where each seed, each fold, or each fold of a seed has its own.

    Args:
        starts: of each run.
        all_else: what else sets it apart; only runs that are the same in this repeat one another.
        repeated: seeds, and folds, of each run.
    """
    merged = list(starts)
    together = [tuple(column[place] for column in repeated) for place in range(len(starts))]
    for group in set(all_else):
        places = [place for place, other in enumerate(all_else) if other == group]
        files = [place for place in places if starts[place] not in _NO_FILE]
        for repetition in (*repeated, together):
            pairs = {(starts[place], repetition[place]) for place in files}
            one_to_one = len(pairs) == len({start for start, _ in pairs}) == len({each for _, each in pairs})
            # Starts that some seed lacks may be choices of which too few have run yet.
            everywhere = {each for _, each in pairs} == {repetition[place] for place in places}
            if len(pairs) > 1 and one_to_one and everywhere:
                merged = [_ONE_EACH if place in files else start for place, start in enumerate(merged)]
    return merged


def _signature(config: Mapping[str, Any], group: str, without: tuple[str, ...] = NUISANCE) -> Signature:
    """What is built in a group, leaving out keys that begin ``without``."""
    below = f"{group}."
    found = []
    for key, value in config.items():
        if key.startswith(below) and not key.startswith(without):
            # Lists are leaves; augmentations are lists of what is built.
            found += [
                (f"{key.removeprefix(below)}.{inner}".removesuffix("."), target)
                for inner, target in _targets(value)
            ]
            if key.endswith("._target_"):
                found.append((key.removeprefix(below), str(value)))
    return tuple(sorted(found))


def _targets(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, list):
        return []
    return [
        (f"{number}.{key}", str(target))
        for number, item in enumerate(value)
        if isinstance(item, dict)
        for key, target in flat(item).items()
        if key.rsplit(".", 1)[-1] == "_target_"
    ]


def _choice(group: str, config: Mapping[str, Any]) -> str:
    """``adam``, ``bce_dice``: the choice of conf/ that builds the same, else the names of the classes."""
    signature = _signature(config, group)
    for without in ((), NUISANCE):
        wanted = _signature(config, group, without)
        for name, shipped in _shipped_choices(group).items():
            if wanted and _signature(shipped, group, without) == wanted:
                return name
    if not signature:
        return "none"
    return " + ".join(target.rsplit(".", 1)[-1] for _, target in signature)


@cache
def _shipped_choices(group: str) -> dict[str, dict[str, Any]]:
    files = sorted((CONF / group).glob("[!_]*.yaml"))
    return {file.stem: flat({group: _composed(file)}) for file in files}


def _composed(file: Path) -> dict[str, Any]:
    """A choice with those that its defaults name, as Hydra puts them together."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    composed: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        choice, _, package = str(entry).partition("@")
        if choice == "_self_" or not (file.parent / f"{choice}.yaml").is_file():
            continue
        node = composed
        for word in package.split(".") if package else []:
            node = node.setdefault(word, {})
        node.update(_merged(node, _composed(file.parent / f"{choice}.yaml")))
    return _merged(composed, content)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = OmegaConf.to_container(OmegaConf.merge(one, other))  # type: ignore[assignment]
    return merged
