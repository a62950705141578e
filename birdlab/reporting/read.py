"""Run directories as they are found: finished, failed, cut short or damaged, all of them untrusted."""

import csv
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import yaml

from birdlab.errors import BirdlabError
from birdlab.loggers import read_history
from birdlab.metrics import ReliabilityCurve
from birdlab.run import Run
from birdlab.trained_on import STARTS

Status = Literal["finished", "failed", "interrupted", "pruned", "running", "damaged", "repeated"]
Content = TypeVar("Content")

MARKER = "birdlab_report.json"
"""In the folder of a report: what wrote it, so that a later report may replace it."""
_MOST_KEYS = 5_000
"""Of a config; one with more is no config but an attack on the reader."""


@dataclass(frozen=True)
class Picture:
    """A test sample that the run keeps as grey PNGs, the highest frequency on top.

    Attributes:
        id: of the sample.
        image: file of the spectrogram.
        truth: file of the true mask, 0 or 255.
        probability: file of what was predicted, 255 standing for 1.
        axes: what width and height stand for, in words.
        threshold: of the run's probabilities.
    """

    id: str
    image: Path
    truth: Path
    probability: Path
    axes: str
    threshold: float


@dataclass(frozen=True)
class RunRecord:
    """What a run directory says, as far as it can be read.

    Attributes:
        directory: where it lies.
        name: unique in the report.
        status: how the run ended; ``damaged`` if it says it finished and lacks what a finished run has,
            ``repeated`` if another one is the same once more.
        reason: why it is not finished, or what of a finished run can't be used; empty if nothing is amiss.
        config: leaves by dotted key.
        scores: test scores as ``BLOCK/NAME``, e.g. ``test_tuned/iou``; and of validation
            ``best_epoch/val/iou``, by which settings may be chosen, and ``last_epoch/val/loss``, which papers
            often report.
        references: scores of what networks stand beside, by its name.
        facts: the rest of ``metrics.json`` and ``provenance.json``: threshold, wall_s, commit, ...
        history: one mapping of metrics an epoch.
        samples: rows of ``scores.csv``.
        reference_samples: rows of ``references.csv``.
        reliability: what was predicted, ``pixels`` for one, and how reliably; one of each fold.
        splits: how many samples there are of each.
        pictures: of some test samples.
        folds: how many runs of a cross-validation it was put together from.
    """

    directory: Path
    name: str
    status: Status
    reason: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    samples: Sequence[Mapping[str, str]] = ()
    reference_samples: Sequence[Mapping[str, str]] = ()
    reliability: Sequence[tuple[str, ReliabilityCurve]] = ()
    splits: Mapping[str, int] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    folds: int = 1

    @property
    def block(self) -> str:
        """Which scores count: those at the threshold that validation data chose, where there is one."""
        return "test_tuned" if any(name.startswith("test_tuned/") for name in self.scores) else "test"

    def score(self, name: str) -> float | None:
        """A test score that counts, e.g. ``iou``."""
        return self.scores.get(f"{self.block}/{name}")

    def cost(self, name: str) -> float | None:
        """A fact that is a number, e.g. ``wall_s``."""
        return _numbers(self.facts).get(name)


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Run directories in and below the folders, sorted.

    Raises:
        BirdlabError: if a folder is absent, or there are no runs at all.
    """
    found = set()
    for folder in folders:
        if not folder.is_dir():
            raise BirdlabError(
                f"{folder}: there is no such folder. Give run directories, or folders of them."
            )
        for parent, below, files in os.walk(folder):
            if {"provenance.json", "config.yaml"} & set(files):
                found.add(Path(parent).resolve())
            if {"provenance.json", "config.yaml", MARKER} & set(files):
                below.clear()
    if not found:
        raise BirdlabError(
            f"There are no runs in {', '.join(map(str, folders))}: a run directory holds config.yaml or "
            "provenance.json. birdlab.train writes them to outputs/NAME/."
        )
    return sorted(found)


def read_runs(directories: Sequence[Path]) -> list[RunRecord]:
    """Every run, readable or not, named after its path below the folder that holds them all."""
    parent = common_parent(directories)
    return [read_run(directory, directory.relative_to(parent).as_posix()) for directory in directories]


def common_parent(directories: Sequence[Path]) -> Path:
    """The deepest folder that holds all run directories."""
    return Path(os.path.commonpath([directory.parent for directory in directories]))


def _from_here(config: Mapping[str, Any]) -> dict[str, Any]:
    """What networks start from, as one would type it here: a run's config says it in full."""
    here = Path.cwd()
    starts = {key: Path(config[key]) for key in STARTS if isinstance(config.get(key), str)}
    near = {key: str(path.relative_to(here)) for key, path in starts.items() if path.is_relative_to(here)}
    return {**config, **near}


def read_run(directory: Path, name: str) -> RunRecord:
    """One run; what can't be read is left out and said in ``reason``."""
    run = Run(directory)
    problems: list[str] = []

    def tried(file: str, read: Callable[[], Content]) -> Content | None:
        try:
            return read()
        except (
            BirdlabError,
            OSError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            yaml.YAMLError,
        ) as error:
            said = (str(error) or type(error).__name__).replace(f"{directory}{os.sep}", "")
            problems.append(said if file in said else f"{file} is damaged: {said}")
            return None

    provenance = tried("provenance.json", lambda: run.read_json("provenance.json")) or {}
    metrics = tried("metrics.json", lambda: run.read_json("metrics.json")) or {}
    config = tried("config.yaml", lambda: _from_here(flat(_plain_config(run)))) or {}
    history = tried("metrics.csv", lambda: read_history(directory / "metrics.csv")) or []
    samples = tried("scores.csv", lambda: _read_table(run.scores)) or []
    reference_samples = tried("references.csv", lambda: _read_table(run.references)) or []
    reliability = tried("figures/calibration.csv", lambda: _read_reliability(run.figures)) or []
    splits = tried("splits.json", lambda: run.read_json("splits.json")) or {}
    pictures = tried("figures/samples", lambda: _read_pictures(run.figures / "samples")) or []
    scores = {
        f"{block}/{score}": value
        for block, values in metrics.items()
        if isinstance(values, dict) and block != "references"
        for score, value in _numbers(values).items()
    }
    if scores:
        scores |= _validation(history, metrics.get("best_epoch"))
    references = metrics.get("references")
    references = references if isinstance(references, dict) else {}
    status, reason = _status(provenance, bool(scores and config), history, config)
    return RunRecord(
        directory=directory,
        name=name,
        status=status,
        reason="; ".join(filter(None, [reason, *problems])),
        config=config,
        scores=scores,
        references={
            str(key): _numbers(values) for key, values in references.items() if isinstance(values, dict)
        },
        facts=provenance | {key: value for key, value in metrics.items() if not isinstance(value, dict)},
        history=history,
        samples=samples,
        reference_samples=reference_samples,
        reliability=reliability,
        splits={str(split): len(ids) for split, ids in splits.items() if isinstance(ids, list)},
        pictures=pictures,
    )


def _validation(history: Sequence[Mapping[str, float]], best_epoch: Any) -> dict[str, float]:
    best = next((row for row in history if row["epoch"] == best_epoch), {})
    last = history[-1] if history else {}
    return {
        f"{which}/{name}": value
        for which, row in (("best_epoch", best), ("last_epoch", last))
        for name, value in row.items()
        if name.startswith("val/")
    }


def flat(node: Any) -> dict[str, Any]:
    """Leaves by dotted key; lists, and mappings without entries, are leaves.

    Raises:
        ValueError: if there are absurdly many.
    """
    leaves = dict(islice(_leaves(node, ""), _MOST_KEYS + 1))
    if len(leaves) > _MOST_KEYS:
        raise ValueError(f"more than {_MOST_KEYS} keys")
    return leaves


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, node


def _plain_config(run: Run) -> dict[str, Any]:
    if not run.config_file.is_file():
        return {}
    content = yaml.safe_load(run.config_file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"it holds {type(content).__name__}, not a mapping")
    return content


def _status(
    provenance: Mapping[str, Any],
    whole: bool,
    history: Sequence[Mapping[str, float]],
    config: Mapping[str, Any],
) -> tuple[Status, str]:
    status, epochs = provenance.get("status"), config.get("trainer.max_epochs", "?")
    trained = f"{len(history)} of {epochs} epochs trained"
    if status == "finished":
        return ("finished", "") if whole else ("damaged", "it says it finished, but there are no test scores")
    if status == "failed":
        return "failed", str(provenance.get("error") or "it doesn't say why")
    if status == "pruned":
        return "pruned", f"given up by the search; {trained}"
    if status == "interrupted":
        return "interrupted", f"stopped by its user or the system; {trained}"
    if status == "running":
        return "running", f"still running, or killed; {trained}"
    return "damaged", "provenance.json is absent or doesn't say how the run ended"


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        str(name): value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _read_table(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    rows = _read_rows(file)
    if rows and "id" not in rows[0]:
        raise ValueError("it has no column id")
    return rows


def _read_rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a row has more or fewer cells than there are columns")
    return rows


def _read_reliability(folder: Path) -> list[tuple[str, ReliabilityCurve]]:
    file = folder / "calibration.csv"
    if not file.is_file():
        return []
    rows = _read_rows(file)
    if not rows:
        raise ValueError("there are no rows")
    (counted,) = rows[0].keys() - {"low", "high", "probability", "frequency"}
    count, probability, frequency = (
        torch.tensor([float(row[name] or "nan") for row in rows], dtype=torch.float64)
        for name in (counted, "probability", "frequency")
    )
    return [(counted, ReliabilityCurve(count.long(), probability, frequency))]


def _read_pictures(folder: Path) -> list[Picture]:
    if not (folder / "samples.json").is_file():
        return []
    content = json.loads((folder / "samples.json").read_text(encoding="utf-8"))
    threshold = float(content["threshold"])
    return [
        Picture(
            id=str(entry["id"]),
            image=_inside(folder, entry["image"]),
            truth=_inside(folder, entry["truth"]),
            probability=_inside(folder, entry["probability"]),
            axes=_axes(entry),
            threshold=threshold,
        )
        for entry in content["samples"]
    ]


def _axes(entry: Mapping[str, Any]) -> str:
    top = float(entry["sample_rate"]) / 2000
    low = f"−{top:g}" if entry["sides"] == "two" else "0"
    return f"{float(entry['duration_s']):.2g} s, {low} to {top:g} kHz"


def _inside(folder: Path, name: Any) -> Path:
    """A picture of this folder: what a foreign run names mustn't carry other files into a report."""
    path = folder / str(name)
    if path.name != name or path.is_symlink() or not path.is_file():
        raise ValueError(f"{name!r} is no file of this folder")
    if not path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError(f"{name} is no PNG")
    return path
