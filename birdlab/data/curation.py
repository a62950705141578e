"""From a table of recordings to those that a study uses: each step a pure function, its effect counted."""

import hashlib
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from rich import box
from rich.table import Table

from birdlab.data.pairs import listed
from birdlab.errors import BirdlabError


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A row of the table.

    Attributes:
        file: the recording, or its precomputed mel spectrogram.
        species: the primary label.
        duration_s: seconds.
        secondary: other species that are heard.
        author: who recorded it; empty if not known.
        latitude, longitude: degrees; None if not known.
        day: of the year, 1 to 366; None if not known.
        origin: the collection that it comes from; empty if not known.
    """

    file: Path
    species: str
    duration_s: float
    secondary: tuple[str, ...] = ()
    author: str = ""
    latitude: float | None = None
    longitude: float | None = None
    day: int | None = None
    origin: str = ""

    @property
    def id(self) -> str:
        """The file's name without its ending, e.g. ``XC41136``."""
        return self.file.stem


@dataclass
class Curation:
    """How many recordings of each species were left after each step."""

    steps: dict[str, Counter[str]] = field(default_factory=dict)

    def note(self, step: str, recordings: Iterable[Recording]) -> None:
        """Count what is left after a step."""
        self.steps[step] = Counter(recording.species for recording in recordings)

    def table(self, names: Sequence[str]) -> Table:
        """One row for each species that was chosen, one for all others, one for the sum."""
        table = Table(
            title="Recordings left after each step of the curation",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            collapse_padding=True,
        )
        table.add_column("species", no_wrap=True)
        for step in self.steps:
            table.add_column(step, justify="right")
        for name in names:
            table.add_row(name, *(str(counts[name]) for counts in self.steps.values()))
        others = [counts.total() - sum(counts[name] for name in names) for counts in self.steps.values()]
        if any(others):
            kinds = set().union(*self.steps.values()) - set(names)
            table.add_row(f"{len(kinds)} others", *map(str, others))
        table.add_row("all", *(str(counts.total()) for counts in self.steps.values()))
        return table


def without_secondary(recordings: Sequence[Recording], targets: Collection[str]) -> list[Recording]:
    """Those in which none of the target species is heard beside the one that is labelled."""
    unwanted = set(targets)
    return [each for each in recordings if not (unwanted - {each.species}) & set(each.secondary)]


def common_length(recordings: Sequence[Recording], factor: float) -> float:
    """The mean over species of their recordings' mean length, times ``factor``, in seconds."""
    durations: defaultdict[str, list[float]] = defaultdict(list)
    for recording in recordings:
        durations[recording.species].append(recording.duration_s)
    return factor * statistics.fmean(statistics.fmean(each) for each in durations.values())


def long_enough(recordings: Sequence[Recording], seconds: float) -> list[Recording]:
    """Those that last at least so long."""
    return [each for each in recordings if each.duration_s >= seconds]


def most_recorded(recordings: Sequence[Recording], count: int | None) -> tuple[str, ...]:
    """The species with the most recordings, in order of name; of equals the first by name.

    Args:
        recordings: the table.
        count: how many; None for all.

    Raises:
        BirdlabError: if there are fewer.
    """
    counts = Counter(recording.species for recording in recordings)
    if count is None:
        return tuple(sorted(counts))
    if not 1 <= count <= len(counts):
        raise BirdlabError(
            f"data.species={count}: there are recordings of {len(counts)} species left: "
            f"{listed(sorted(counts))}. Ask for that many at most, or relax the curation (data.short=tile)."
        )
    return tuple(sorted(sorted(counts, key=lambda name: (-counts[name], name))[:count]))


def of_species(recordings: Sequence[Recording], names: Collection[str]) -> list[Recording]:
    """Those of the species named."""
    return [each for each in recordings if each.species in set(names)]


def balanced(recordings: Sequence[Recording], seed: int) -> list[Recording]:
    """As many of every species as there are of the rarest, drawn by (seed, id) whatever their order."""
    least = min(Counter(each.species for each in recordings).values())
    taken: Counter[str] = Counter()
    kept = []
    for recording in sorted(recordings, key=lambda each: _draw(seed, each.id)):
        if taken[recording.species] < least:
            taken[recording.species] += 1
            kept.append(recording)
    return kept


def sessions(recordings: Sequence[Recording], gap: int) -> dict[str, str]:
    """What was recorded by one person, or on one visit: recordings that look alike for that reason alone.

    One author is one group. Numbers of xeno-canto are given out in order of upload, and people upload a
    visit's recordings one after the other: recordings of one species whose numbers differ by ``gap`` at most
    are one group, too. Groups that share a recording are one.

    Args:
        recordings: the table.
        gap: largest difference of neighbouring numbers; 0 goes by author only.

    Returns:
        The group of each recording by id: the id of one of its recordings.
    """
    leader = {each.id: each.id for each in recordings}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    def join(one: str, other: str) -> None:
        low, high = sorted((find(one), find(other)))
        leader[high] = low

    first_of: dict[str, str] = {}
    numbered: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for each in recordings:
        if each.author:
            join(first_of.setdefault(each.author, each.id), each.id)
        if number := re.fullmatch(r"XC(\d+)", each.id):
            numbered[each.species].append((int(number[1]), each.id))
    for visits in numbered.values():
        visits.sort()
        for (before, one), (after, other) in pairwise(visits):
            if after - before <= gap:
                join(one, other)
    return {each.id: find(each.id) for each in recordings}


def check_known(names: Collection[str], found: Mapping[str, object] | Collection[str]) -> None:
    """Every species asked for is there.

    Raises:
        BirdlabError: naming those that aren't.
    """
    if unknown := sorted(set(names) - set(found)):
        raise BirdlabError(
            f"data.species: no recordings of {listed(unknown)}. There are {listed(sorted(found))}."
        )


def _draw(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
