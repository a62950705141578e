"""The run directory: everything that a training leaves behind, readable whatever happened to it."""

import errno
import json
import os
import platform
import shutil
import subprocess
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from birdlab import __version__
from birdlab.config import check_trusted, quoted
from birdlab.data.names import recording_of
from birdlab.errors import BirdlabError
from birdlab.files import write_json, write_text
from birdlab.untrusted import load_plain

METRICS_SCHEMA = 1
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Run:
    """A run directory: ``config.yaml``, ``checkpoints/``, ``metrics.json``, ``metrics.csv``, ``splits.json``
    (ids of its samples), ``recordings.json`` (what is heard in them), ``scores.csv`` (a row a test sample; of
    species also ``references.csv``), ``provenance.json`` and ``figures/``."""

    directory: Path

    @property
    def config_file(self) -> Path:
        return self.directory / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.ckpt"

    @property
    def scores(self) -> Path:
        return self.directory / "scores.csv"

    @property
    def references(self) -> Path:
        return self.directory / "references.csv"

    @property
    def figures(self) -> Path:
        return self.directory / "figures"

    @classmethod
    def new(cls, directory: Path) -> "Run":
        """A run in a folder that is absent or empty.

        Raises:
            BirdlabError: if something is there already; nothing is ever overwritten.
        """
        if not nothing_began(directory):
            raise BirdlabError(
                f"{directory} is occupied. Go on with that run by resume={quoted(str(directory))}, or choose "
                "another folder by hydra.run.dir=FOLDER."
            )
        directory.mkdir(parents=True, exist_ok=True)
        return cls(directory.resolve())

    @classmethod
    def open(cls, directory: Path) -> "Run":
        """A run that exists.

        Raises:
            BirdlabError: if the folder is absent or is no run directory.
        """
        run = cls(directory.resolve())
        if not run.directory.is_dir():
            raise BirdlabError(f"{directory}: there is no such run directory.{_runs_near(directory)}")
        if not run.config_file.is_file():
            raise BirdlabError(
                f"{directory} is no run directory: it has no config.yaml.{_runs_near(directory)}"
            )
        return run

    @property
    def finished(self) -> bool:
        """Whether it has been trained and tested to the end."""
        return self.read_json("provenance.json").get("status") == "finished"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training in the directory meanwhile.

        Raises:
            BirdlabError: if one does.
        """
        if getattr(rank_zero_only, "rank", 0) != 0:
            yield  # the first process of the same training holds it
            return
        try:
            with FileLock(self.directory / ".lock", timeout=0):
                yield
        except Timeout:
            raise BirdlabError(
                f"{self.directory} is being trained by another process. Let it finish, or end it first."
            ) from None

    def split_ids(self, *splits: str) -> list[str]:
        """The samples of these splits, as far as the run says."""
        ids = self.read_json("splits.json")
        return [id for split in splits for id in ids.get(split, [])]

    def recordings(self, *splits: str) -> set[str]:
        """What is heard in the samples of these splits, as far as the run says."""
        named = self.read_json("recordings.json")
        if not named:  # a run of an earlier birdlab
            return {recording_of(id) for id in self.split_ids(*splits)}
        return {name for split in splits for name in named.get(split, [])}

    def config(self, *, trust: bool = False) -> DictConfig:
        """The run's resolved config; a foreign one is read as plain values and checked.

        Raises:
            BirdlabError: if it can't be read, or builds what birdlab doesn't ship and ``trust`` is False.
        """
        try:
            plain = yaml.safe_load(self.config_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise BirdlabError(f"{self.config_file} can't be read: {error}") from error
        if not isinstance(plain, dict):
            raise BirdlabError(f"{self.config_file} holds no config but {type(plain).__name__}.")
        cfg = OmegaConf.create(plain)
        if not trust:
            check_trusted(cfg)
        return cfg

    def write_config(self, cfg: DictConfig) -> None:
        """Write the config with every value resolved, so that nothing needs to be looked up again."""
        plain = OmegaConf.to_container(cfg, resolve=True)
        write_text(self.config_file, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))

    def checkpoint(self, path: Path) -> dict[str, Any]:
        """A checkpoint's content, never unpickled: a checkpoint is untrusted input.

        Raises:
            BirdlabError: if it is absent, damaged, or holds more than tensors and plain values.
        """
        if not path.is_file():
            raise BirdlabError(f"{path} is absent: {self.directory} has no finished epoch yet.")
        content = load_plain(path)
        if not isinstance(content, dict) or "state_dict" not in content:
            raise BirdlabError(f"{path} is no checkpoint of birdlab: it has no state_dict.")
        return content

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        write_json(self.directory / name, content)

    def read_json(self, name: str) -> dict[str, Any]:
        """The content of one of the run's files; empty if it is not written yet."""
        path = self.directory / name
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BirdlabError(f"{path} is damaged: {error}") from error
        return dict(content)

    def write_metrics(self, **content: Any) -> None:
        """Write ``metrics.json``: scores by split, the threshold, the best epoch. Nothing older is kept."""
        self.write_json("metrics.json", {"schema": METRICS_SCHEMA} | content)

    def note_command(self, words: Sequence[str]) -> None:
        """Add words of ``birdlab.train`` to those that make this run: of a key the last one counts."""
        known = self.read_json("provenance.json").get("command", ["birdlab.train"])
        self.note(command=[*(word for word in known if word not in words), *words])

    def note(self, **facts: Any) -> None:
        """Add facts to ``provenance.json``."""
        self.write_json("provenance.json", self.read_json("provenance.json") | facts)

    def forget(self, fact: str) -> None:
        """Take a fact out of ``provenance.json``, where it is."""
        facts = self.read_json("provenance.json")
        if fact in facts:
            del facts[fact]
            self.write_json("provenance.json", facts)

    @contextmanager
    def recorded(self, **facts: Any) -> Iterator[None]:
        """Keep ``provenance.json`` true: running, then finished, interrupted or failed.

        Time adds up over all parts of a run that was cut short, and commits of code are kept of each.
        """
        # A start that was refused counts for nothing.
        earlier = {} if nothing_began(self.directory) else self.read_json("provenance.json")
        now = environment()
        if earlier.get("commit") not in (None, now["commit"]):
            facts["earlier_commits"] = [*earlier.get("earlier_commits", []), earlier["commit"]]
        before = earlier.get("wall_s", 0.0)
        if earlier.get("status") == "running" and self.last.is_file():
            # It was killed: what is known to have been trained is what its last checkpoint holds.
            before += max(0.0, self.last.stat().st_mtime - earlier.get("began", time.time()))
        started = time.monotonic()
        self.note(status="running", error=None, began=time.time(), wall_s=before, **now, **facts)
        status, error = "failed", None
        try:
            yield
            status = "finished"
        except (KeyboardInterrupt, SystemExit):
            status = "interrupted"
            raise
        except BaseException as exception:
            error = "".join(traceback.format_exception_only(exception)).strip()
            if isinstance(exception, OSError) and exception.errno in DISK_FULL:
                raise BirdlabError(
                    f"{exception.filename or self.directory}: {exception.strerror}. What is finished is "
                    f"kept: make room and go on with resume={quoted(str(self.directory))}."
                ) from exception
            raise
        finally:
            # On a full disk this may fail, too; what failed first is what the user must hear.
            with suppress(OSError) if error else nullcontext():
                wall_s = round(before + time.monotonic() - started, 1)
                self.note(status=status, error=error, wall_s=wall_s)


def nothing_began(directory: Path) -> bool:
    """Whether a folder is absent, empty, or holds no more than the note of a run that never began."""
    notes = ("provenance.json", ".provenance.", ".lock")
    return all(path.name.startswith(notes) for path in directory.glob("*"))


@contextmanager
def gone_if_refused(directory: Path) -> Iterator[None]:
    """Around the making of a run: after a mistake that let nothing begin, its directory is removed."""
    try:
        yield
    except BirdlabError:
        if nothing_began(directory):
            shutil.rmtree(directory, ignore_errors=True)
        raise


def environment() -> dict[str, Any]:
    """What else decides the numbers: code, versions, machine."""
    packages = ("torch", "lightning", "torchmetrics", "hydra-core", "albumentations", "numpy")
    return {
        "birdlab": __version__,
        **_commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "device": device_name("cuda" if torch.cuda.is_available() else "cpu"),
        "cpu_threads": torch.get_num_threads(),
    }


def _commit() -> dict[str, Any]:
    source = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=source, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    # An installed birdlab may lie below somebody else's repository, whose commit says nothing of it.
    if commit is None or git("ls-files", "--error-unmatch", "run.py") is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--", "..", ":!../outputs"))}


def device_name(kind: str) -> str:
    """Of this machine's GPU (``cuda``), or of its CPU."""
    if kind == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _runs_near(directory: Path) -> str:
    """Runs below the nearest existing parent, newest first, to choose from."""
    parent = directory
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    runs = [Path(found) for found, _, files in os.walk(parent) if "provenance.json" in files]
    runs.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return " Runs near it: " + ", ".join(str(path) for path in runs[:3]) + "." if runs else ""
