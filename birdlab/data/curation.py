"""From a table of recordings to those that a study uses: each step a pure function, its effect counted."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from birdlab.data.pairs import listed
from birdlab.data.splits import drawn
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


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a study keeps of a table.

    Attributes:
        species: how many, those with the most recordings; or which; None for all.
        seconds: of a stack; None takes the common length.
        length_factor: on the common length.
        exclude_secondary: recordings in which another target is heard are left out.
        drop_short: so are recordings shorter than a stack.
        balance: as many recordings of each species as of the rarest.
        seed: of the draw for balance.
    """

    species: int | tuple[str, ...] | None
    seconds: float | None
    length_factor: float
    exclude_secondary: bool
    drop_short: bool
    balance: bool
    seed: int


@dataclass(frozen=True)
class Curated:
    """What is left of a table.

    Attributes:
        recordings: in order of id.
        names: the species.
        seconds: of a stack.
        steps: how many recordings of each species were left after each step.
    """

    recordings: tuple[Recording, ...]
    names: tuple[str, ...]
    seconds: float
    steps: Mapping[str, Counter[str]]

    def table(self) -> Table:
        """The steps: one row for each species that was chosen, one for all others, one for the sum."""
        table = Table(
            title="Recordings left after each step of the curation",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            collapse_padding=True,
        )
        table.add_column("species", no_wrap=True)
        for step in self.steps:
            table.add_column(step, justify="right")
        counts = list(self.steps.values())
        for name in self.names:
            table.add_row(name, *(str(count[name]) for count in counts))
        others = set().union(*counts) - set(self.names)
        if others:
            left = [sum(count[name] for name in others) for count in counts]
            table.add_row(f"{len(others)} others", *map(str, left))
        table.add_row("all", *(str(count.total()) for count in counts))
        return table


def curate(table: Sequence[Recording], rules: Rules) -> Curated:
    """Apply the rules, in the order in which García, Ortega & Raya describe them.

    Which recordings hold another target depends on the targets, and these on the recordings that are left:
    the species that would be chosen anyway are the first targets, and those chosen then join them until
    no more come.

    Raises:
        BirdlabError: if nothing is left, or fewer species than were asked for.
    """
    if not table:
        raise BirdlabError("There are no recordings. Check data.root and data.species.")
    if isinstance(rules.species, tuple):
        check_known(rules.species, {each.species for each in table})
    targets = set(_chosen(table, rules))
    while True:
        clean = without_secondary(table, targets) if rules.exclude_secondary else table
        if not clean:
            raise BirdlabError("data.exclude_secondary=true leaves no recording: set it to false.")
        seconds = common_length(clean, rules.length_factor) if rules.seconds is None else rules.seconds
        long = long_enough(clean, seconds) if rules.drop_short else clean
        names = _chosen(long, rules, f": stacks last {seconds:.1f} s")
        if set(names) <= targets:
            break
        targets |= set(names)
    kept = of_species(long, names)
    left: dict[str, Sequence[Recording]] = {"found": table}
    if rules.exclude_secondary:
        left["no other target"] = clean
    if rules.drop_short:
        left[f"{seconds:.1f} s or longer"] = long
    left["chosen species"] = kept
    if rules.balance:
        left["balanced"] = kept = balanced(kept, rules.seed)
    return Curated(
        recordings=tuple(sorted(kept, key=lambda each: each.id)),
        names=names,
        seconds=seconds,
        steps={step: Counter(each.species for each in recordings) for step, recordings in left.items()},
    )


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
    """Those that last at least so long, to a microsecond: lengths are sums and shares of others."""
    return [each for each in recordings if each.duration_s >= seconds - 1e-6]


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
    for recording in sorted(recordings, key=lambda each: drawn(seed, each.id)):
        if taken[recording.species] < least:
            taken[recording.species] += 1
            kept.append(recording)
    return kept


def check_known(names: Collection[str], found: Mapping[str, object] | Collection[str]) -> None:
    """Every species asked for is there.

    Raises:
        BirdlabError: naming those that aren't.
    """
    if unknown := sorted(set(names) - set(found)):
        raise BirdlabError(
            f"data.species: no recordings of {listed(unknown)}. There are {listed(sorted(found))}."
        )


def _chosen(table: Sequence[Recording], rules: Rules, why: str = "") -> tuple[str, ...]:
    if not isinstance(rules.species, tuple):
        return most_recorded(table, rules.species)
    if lost := sorted(set(rules.species) - {each.species for each in table}):
        raise BirdlabError(
            f"data.species: the curation leaves no recording of {listed(lost)}{why}. Set data.short=tile or "
            "a smaller data.segment_s, or leave the species out."
        )
    return rules.species
