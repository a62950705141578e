"""Networks from the files that ``birdlab.export`` writes, in onnxruntime: torch isn't needed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from birdlab.audio.grid import Grid
from birdlab.errors import BirdlabError, first_line
from birdlab.prediction.naming import Namer
from birdlab.prediction.network import Network

SCHEMA = 1
Kind = Literal["mask", "species"]
Facts = Mapping[str, Any]
Function = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Audio [n] to probabilities."""

_MEANT = {
    "mask": "export a run of task=segmentation to mark birds (a file of species goes to --species)",
    "species": "export a run of task=classification to name species, or one of both tasks with --names",
}


# A file from elsewhere may ask for anything.
_MOST_COLUMNS = 1_000_000
"""Of a window."""
_MOST_SECONDS = 3_600
"""That are named at once."""
_HIGHEST_RATE = 1_000_000
"""In Hz."""


@dataclass(frozen=True)
class OnnxNetwork:
    """See `Network`; the file takes audio of any length, and is given one window at a time.

    Attributes:
        name, grid, window_columns, classes, threshold, box_threshold: as in the run.
        validation_precision, validation_recall: as in the run.
    """

    name: str
    grid: Grid
    window_columns: int
    classes: Mapping[int, str]
    threshold: float
    box_threshold: float
    validation_precision: Mapping[float, float]
    validation_recall: Mapping[float, float]
    _run: Function = field(repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, *, threads: int | None = None) -> Self:
        """Read a file.

        Args:
            path: of the file.
            threads: of each call; None leaves it to onnxruntime.

        Raises:
            BirdlabError: if it isn't one of birdlab's, or doesn't mark birds.
        """
        return cls.of(path, *_opened(path, "mask", threads))

    @classmethod
    def of(cls, path: Path, facts: Facts, run: Function) -> Self:
        """From what a file says of itself, and its network."""
        with _intact(path):
            columns, threshold = int(facts["window_columns"]), float(facts["threshold"])
            box_threshold = float(facts.get("box_threshold", threshold))  # older files have none
            if not (4 <= columns <= _MOST_COLUMNS and 0 < threshold < 1 and 0 < box_threshold < 1):
                raise ValueError(
                    f"window_columns={columns}, threshold={threshold}, box_threshold={box_threshold}"
                )
            return cls(
                name=str(facts["name"]),
                grid=Grid(sample_rate=_sample_rate(facts), **facts["grid"]),
                window_columns=columns,
                classes={int(value): str(name) for value, name in facts["classes"].items()},
                threshold=threshold,
                box_threshold=box_threshold,
                validation_precision={float(t): float(p) for t, p in facts["precision_curve"].items()},
                # Older files have none.
                validation_recall={float(t): float(r) for t, r in facts.get("recall_curve", {}).items()},
                _run=run,
            )

    def probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Network`."""
        return np.stack([self._run(window) for window in windows])

    def image_probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Network`.

        Raises:
            BirdlabError: always.
        """
        raise BirdlabError("an exported network takes audio: pictures need the run directory itself.")


@dataclass(frozen=True)
class OnnxNamer:
    """See `Namer`.

    Attributes:
        name, sample_rate, seconds, species, multilabel, validation_accuracy: as in the run.
    """

    name: str
    sample_rate: int
    seconds: float
    species: Sequence[str]
    multilabel: bool
    validation_accuracy: Mapping[float, float]
    _run: Function = field(repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, *, threads: int | None = None) -> Self:
        """Read a file; see `OnnxNetwork.open`.

        Raises:
            BirdlabError: if it isn't one of birdlab's, or doesn't name species.
        """
        return cls.of(path, *_opened(path, "species", threads))

    @classmethod
    def of(cls, path: Path, facts: Facts, run: Function) -> Self:
        """From what a file says of itself, and its network."""
        with _intact(path):
            seconds = float(facts["seconds"])
            if not 0 < seconds <= _MOST_SECONDS:
                raise ValueError(f"seconds={seconds}")
            return cls(
                name=str(facts["name"]),
                sample_rate=_sample_rate(facts),
                seconds=seconds,
                species=tuple(map(str, facts["species"])),
                # Older files have neither.
                multilabel=bool(facts.get("multilabel", False)),
                validation_accuracy={float(c): float(a) for c, a in facts.get("accuracy_curve", {}).items()},
                _run=run,
            )

    def scores(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Namer`."""
        return self._run(audio)


def open_file(path: Path, *, threads: int | None = None) -> OnnxNetwork | OnnxNamer:
    """A network of either kind; see `OnnxNetwork.open`."""
    facts, run = _opened(path, None, threads)
    kind = OnnxNamer if facts["task"] == "species" else OnnxNetwork
    return kind.of(path, facts, run)


def mask_facts(network: Network) -> Facts:
    """What a file that marks birds must say of itself, from which `OnnxNetwork` reads it again."""
    grid = {name: value for name, value in asdict(network.grid).items() if name != "sample_rate"}
    return {
        "schema": SCHEMA,
        "task": "mask",
        "name": network.name,
        "sample_rate": network.grid.sample_rate,
        "grid": grid,
        "window_columns": network.window_columns,
        "classes": dict(network.classes),
        "threshold": network.threshold,
        "box_threshold": network.box_threshold,
        "precision_curve": dict(network.validation_precision),
        "recall_curve": dict(network.validation_recall),
    }


def species_facts(namer: Namer) -> Facts:
    """What a file that names species must say of itself, from which `OnnxNamer` reads it again."""
    return {
        "schema": SCHEMA,
        "task": "species",
        "name": namer.name,
        "sample_rate": namer.sample_rate,
        "seconds": namer.seconds,
        "species": list(namer.species),
        "multilabel": namer.multilabel,
        "accuracy_curve": dict(namer.validation_accuracy),
    }


def written(facts: Facts) -> dict[str, str]:
    """Facts as the metadata of an ONNX file, which are strings: each as JSON."""
    return {key: json.dumps(value, ensure_ascii=False) for key, value in facts.items()}


def run_file(path: Path) -> Function:
    """A file's network, whatever it says of itself.

    Raises:
        BirdlabError: if onnxruntime can't run it.
    """
    return _function(_session(path, threads=None))


def _opened(path: Path, kind: Kind | None, threads: int | None) -> tuple[Facts, Function]:
    """What a file says of itself, and its network.

    Raises:
        BirdlabError: if it isn't one of birdlab's, or of another task.
    """
    session = _session(path, threads)
    found = session.get_modelmeta().custom_metadata_map
    if "schema" not in found or "task" not in found:
        raise BirdlabError(f"{path} wasn't written by birdlab.export: it doesn't say what it is.")
    with _intact(path):
        facts = {key: json.loads(value) for key, value in found.items()}
    if facts["schema"] != SCHEMA:
        raise BirdlabError(
            f"{path} was written by another version of birdlab ({facts.get('birdlab')}): export it again."
        )
    if kind is not None and facts["task"] != kind:
        raise BirdlabError(f"{path} was trained for another task ({facts['task']}): {_MEANT[kind]}.")
    return facts, _function(session)


def _sample_rate(facts: Facts) -> int:
    rate = int(facts["sample_rate"])
    if not 0 < rate <= _HIGHEST_RATE:
        raise ValueError(f"sample_rate={rate}")
    return rate


@contextmanager
def _intact(path: Path) -> Iterator[None]:
    """Around reading metadata."""
    try:
        yield
    except BirdlabError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BirdlabError(f"{path}: its metadata are damaged ({error!r}). Export it again.") from error


def _function(session: Any) -> Function:
    def run(audio: NDArray[np.float32]) -> NDArray[np.float32]:
        (result,) = session.run(None, {"audio": np.ascontiguousarray(audio, np.float32)})
        probabilities: NDArray[np.float32] = result
        return probabilities

    return run


def _session(path: Path, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BirdlabError(f"{path} needs onnxruntime: pip install 'birdlab[onnx]'.") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, too
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise BirdlabError(f"{path}: cannot be read ({error.strerror}).") from error
    except Exception as error:
        first = first_line(error)
        raise BirdlabError(f"{path} is no ONNX file that onnxruntime can run ({first}).") from error
