"""A sweep: a grid of jobs that its directory knows, so that one that was cut short can be finished.

Each job is a single run with a directory of its own below the sweep's, and ``sweep.json`` lists them all.
How a job went is read from its run directory, whichever process, machine or launcher ran it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from birdlab import config
from birdlab.errors import BirdlabError, first_line
from birdlab.files import write_json
from birdlab.run import Run

SCHEMA = 1
_ABLATION = "ablation"


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: of its directory.
        overrides: what it would be given on the command line as a run of its own.
    """

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """A directory with ``sweep.json`` and one run directory for each job that has begun."""

    directory: Path
    jobs: tuple[Job, ...]

    @property
    def file(self) -> Path:
        return self.directory / "sweep.json"

    @classmethod
    def open(cls, directory: Path) -> "Sweep":
        """A sweep that exists; its file may come from elsewhere, so nothing in it is taken on trust.

        Raises:
            BirdlabError: if the folder is absent or no sweep's, or its file is damaged or made to do harm.
        """
        sweep = cls(directory.resolve(), ())
        if not sweep.file.is_file():
            what = "it has no sweep.json" if directory.is_dir() else "there is no such folder"
            hint = ""
            if (directory / "config.yaml").is_file():
                hint = f" It is a single run: go on with it by resume={config.quoted(str(directory))}."
            raise BirdlabError(f"sweep.resume={directory}: this is no sweep, {what}.{hint}")
        try:
            listed = json.loads(sweep.file.read_text(encoding="utf-8"))["jobs"]
            jobs = tuple(Job(str(job["name"]), tuple(map(str, job["overrides"]))) for job in listed)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BirdlabError(f"{sweep.file} is damaged: {error!r}.") from error
        for job in jobs:
            if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", job.name):
                raise BirdlabError(f"{sweep.file}: {job.name!r} is no name of a run's directory.")
            for word in job.overrides:
                _check_foreign(word, sweep.file, job.name)
        return cls(sweep.directory, jobs)

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Write ``sweep.json`` and keep the directory for this sweep meanwhile.

        Raises:
            BirdlabError: if there is something in the directory already.
        """
        begun_in_vain = (".lock", ".sweep.")
        if self.directory.exists() and any(
            not path.name.startswith(begun_in_vain) for path in self.directory.iterdir()
        ):
            way_out = "choose another folder by hydra.sweep.dir=FOLDER."
            if self.file.is_file():
                there = config.quoted(str(self.directory))
                way_out = f"Finish the sweep in it by sweep.resume={there}, or {way_out}"
            raise BirdlabError(f"{self.directory} is occupied. {way_out[0].upper()}{way_out[1:]}")
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.held():
            if self.file.is_file():
                raise BirdlabError(f"{self.directory} has just been taken by another sweep.")
            write_json(self.file, {"schema": SCHEMA, "jobs": [asdict(job) for job in self.jobs]})
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from running the same sweep meanwhile.

        Raises:
            BirdlabError: if one does.
        """
        try:
            with FileLock(self.directory / ".lock", timeout=0):
                yield
        except Timeout:
            raise BirdlabError(
                f"{self.directory}: another process is running this sweep. Let it finish, or end it first."
            ) from None

    def run(self, job: Job) -> Run:
        """The job's run directory, which may be absent."""
        return Run(self.directory / job.name)

    def pending(self) -> list[Job]:
        """The jobs that are not finished, in order."""
        return [job for job in self.jobs if not self.run(job).finished]

    def words(self, job: Job, *, trust: bool) -> list[str]:
        """What an unfinished job is to be run with: as listed, or going on where it was cut short."""
        return going_on(self.run(job), trust=trust) or list(job.overrides)

    def reason(self, job: Job) -> str:
        """In a line, why a job is not finished."""
        noted = self.run(job).read_json("provenance.json")
        if noted.get("error"):
            return str(noted["error"]).splitlines()[0].removeprefix("birdlab.errors.BirdlabError: ")
        return {None: "never began", "running": "was killed"}.get(
            noted.get("status"), str(noted.get("status"))
        )

    def check_finished(self) -> None:
        """Every job is.

        Raises:
            BirdlabError: with a line for each that is not.
        """
        pending = self.pending()
        if pending:
            lines = "".join(f"\n  {job.name}: {self.reason(job)}" for job in pending)
            raise BirdlabError(
                f"{len(pending)} of the sweep's {len(self.jobs)} runs did not finish:{lines}\n"
                f"Once mended, the others stay as they are: sweep.resume={config.quoted(str(self.directory))}"
            )


def going_on(run: Run, *, trust: bool) -> list[str]:
    """The words that go on with a run, empty if it has not begun."""
    if not run.config_file.is_file():
        return []
    return [f"resume={config.quoted(str(run.directory))}", *(["trust=true"] if trust else [])]


def plan(
    directory: Path,
    params: Mapping[str, Any],
    together: Mapping[str, Sequence[str]],
    typed: Sequence[str],
    loader: ConfigLoader | None = None,
) -> Sweep:
    """The sweep over every combination of values, not written yet.

    Args:
        directory: of the sweep.
        params: a sweep config's values by key; a key that is typed as well has only the typed values.
        together: what the jobs that have a certain word are given, too, in the place of the config's other
            values of a key, but not of what is typed.
        typed: words of the command line.
        loader: knows the choices of a group, for ``model=glob(*)``.

    Raises:
        BirdlabError: for a key without any value, or words that Hydra's grammar rejects.
    """
    words = [*(f"{key}={'null' if value is None else value}" for key, value in params.items()), *typed]
    overrides = parsed(words, loader)
    for override in overrides:
        if override.is_discrete_sweep() and not list(override.sweep_string_iterator()):
            raise BirdlabError(f"{override.input_line}: this is an empty list, so the sweep has no jobs.")
        if override.is_interval_sweep():
            raise BirdlabError(
                f"{override.input_line}: a grid can't try all of an interval; birdlab.tune can."
            )
    (grid,) = BasicSweeper.split_arguments(overrides, None)
    _check_ablations(grid, params, together, typed)
    jobs = [_with(job, together, {_key(word) for word in typed}) for job in grid]
    varying = {word for job in jobs for word in job} - set[str].intersection(*map(set, jobs))
    return Sweep(
        directory.resolve(),
        tuple(
            Job(
                config.job_name(number, [word for word in job if word in varying or _key(word) == "seed"]),
                tuple(job),
            )
            for number, job in enumerate(jobs)
        ),
    )


def parsed(words: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    """Words of the command line, by Hydra's grammar.

    Raises:
        BirdlabError: if it rejects one.
    """
    parser, overrides = OverridesParser.create(loader), []
    for word in words:
        try:
            overrides.append(parser.parse_override(word))
        except HydraException as error:
            raise BirdlabError(f"{word}: this can't be read ({first_line(error)}).") from error
    return overrides


def _check_foreign(word: str, file: Path, name: str) -> None:
    """A word of a sweep from elsewhere sets values and chooses configs that are there, and no more."""
    refusal = BirdlabError(f"{file}: the job {name} has {word!r}, which changes more than its own settings.")
    if re.match(r"[+~]*(hydra|-)", word):
        raise refusal
    (override,) = parsed([word])
    key = override.key_or_group
    if override.package is not None or re.match(r"(hydra|resume|trust)(\.|$)|sweep\.", key):
        raise refusal
    # A choice that is a path could be any file; +sweep=NAME, which listed the jobs, is one by name.
    if key in config.groups() and not re.fullmatch(r"\w+", str(override.value())):
        raise refusal


def _check_ablations(
    grid: Sequence[Sequence[str]],
    params: Mapping[str, Any],
    together: Mapping[str, Sequence[str]],
    typed: Sequence[str],
) -> None:
    """A job that is called after an ablation makes it: by itself ``ablation=NAME`` is a name and no more.

    Raises:
        BirdlabError: for a name that the sweep doesn't have, or one whose settings are typed otherwise. How
            long a run is (``epochs``, ``trainer``) may be typed.
    """
    made = {word: words for word, words in together.items() if _key(word) == _ABLATION}
    if not made:
        return
    names = [f"{_ABLATION}={name.strip()}" for name in str(params.get(_ABLATION, "")).split(",")]
    asked = dict.fromkeys(word for job in grid for word in job if _key(word) == _ABLATION)
    for word in asked:
        if word not in {*names, *made}:
            raise BirdlabError(
                f"{word}: this sweep has no such ablation; there are "
                f"{', '.join(name.partition('=')[2] for name in names)}."
            )
    by_hand = {_key(word): word for word in typed}
    undone = {
        word: by_hand[key]
        for word in asked
        for key in map(_key, made.get(word, ()))
        if key in by_hand and key != "epochs" and not key.startswith("trainer.")
    }
    if undone:
        left = ",".join(word.partition("=")[2] for word in asked if word not in undone)
        way_out = f", or them: {_ABLATION}={left}" if left else ""
        raise BirdlabError(
            f"{next(iter(undone.values()))} takes the place of what makes {', '.join(undone)}, "
            f"which would be names alone. Leave it out{way_out}."
        )


def _with(job: list[str], together: Mapping[str, Sequence[str]], typed: AbstractSet[str]) -> list[str]:
    more = [word for given, words in together.items() if given in job for word in words]
    added = [word for word in more if _key(word) not in typed]
    replaced = {_key(word) for word in added}
    return [*(word for word in job if _key(word) not in replaced), *added]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")
