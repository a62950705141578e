"""Labelled recordings, curated as a study needs them, split, and read as stacks."""

import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from rich import box
from rich.table import Table

from birdlab.audio import io
from birdlab.data.curation import Curated, Recording, Rules, curate
from birdlab.data.png import read_image
from birdlab.data.precomputed import MEL_SUFFIXES, read_levels
from birdlab.data.source import SPLITS, Sample, Split
from birdlab.data.species import LabelledStack, Levels, SpeciesSource
from birdlab.data.splits import assign, finish
from birdlab.data.trimming import centred, fullest, loudest, stretched
from birdlab.data.visits import check_divisible, sessions
from birdlab.errors import BirdlabError

_DAYS = 365.25


@dataclass(frozen=True, kw_only=True)
class Recordings(SpeciesSource):
    """Recordings of one labelled species each; subclasses say where the table of them comes from.

    The curation of García, Ortega & Raya, every step a setting and its effect counted in `curated`:
    recordings with another target species in the background are left out; the length of a stack is the mean
    over species of their mean length, a little lowered, or ``segments * segment_s``; longer recordings are
    trimmed to it, shorter ones dropped or repeated; then the species with the most recordings are chosen, and
    as many recordings of each are kept.

    Splits hold whole groups only (`birdlab.data.visits.sessions`) and equal shares of every species.

    Attributes:
        species: how many, or which in this order; None takes all.
        length_factor: on the mean length, where ``segment_s`` is None.
        short: what happens to recordings shorter than a stack: ``drop``, or ``tile``, which repeats them.
            Repetition shows, and where one species' recordings are shorter it tells the species.
        trim: what stays of longer ones: ``centre``, ``energy`` (the stretch with the most above the
            background) or ``mask`` (the stretch with most foreground).
        masks: for ``trim=mask``, the folder that ``birdlab.predict --mask`` wrote for these recordings; or
            one with a PNG of each, by name, whose columns span the whole recording.
        balance: as many recordings of each species as of the rarest.
        exclude_secondary: recordings with another target among their secondary labels are left out; not in
            multi-label mode.
        secondary_target: in multi-label mode, the share of a secondary species; the labelled one has 1.
        session_gap: largest difference between the xeno-canto numbers of one visit.
        fractions: shares of train, val and test.
    """

    species: int | tuple[str, ...] | None = 6
    length_factor: float = 0.9
    short: Literal["drop", "tile"] = "drop"
    trim: Literal["centre", "energy", "mask"] = "centre"
    masks: Path | None = None
    balance: bool = True
    exclude_secondary: bool = True
    secondary_target: float = 0.5
    session_gap: int = 10
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)

    def __post_init__(self) -> None:
        super().__post_init__()
        named: object = self.species
        if named is not None and not isinstance(named, int):
            if not isinstance(named, Sequence) or isinstance(named, str) or len(set(named)) < len(named):
                raise BirdlabError(
                    f"data.species={named}: give how many, or a list that has each species once, such as "
                    "data.species=[owl,wren]."
                )
            object.__setattr__(self, "species", tuple(named))
        if not isinstance(self.session_gap, int) or self.session_gap < 0:
            raise BirdlabError(f"data.session_gap={self.session_gap}: give a whole number, 0 or more.")
        for key, allowed in {"short": ("drop", "tile"), "trim": ("centre", "energy", "mask")}.items():
            if getattr(self, key) not in allowed:
                raise BirdlabError(f"data.{key}={getattr(self, key)}: give one of {', '.join(allowed)}.")
        if (self.trim == "mask") != (self.masks is not None):
            raise BirdlabError(
                f"data.trim={self.trim}, data.masks={self.masks}: trim=mask needs a folder of masks, "
                "which are of no use without it."
            )
        if not self.length_factor > 0:
            raise BirdlabError(f"data.length_factor={self.length_factor}: give a number above 0.")
        if not 0 <= self.secondary_target <= 1:
            raise BirdlabError(f"data.secondary_target={self.secondary_target}: give a share from 0 to 1.")

    @abstractmethod
    def recordings(self) -> list[Recording]:
        """The whole table; of named species, theirs.

        Raises:
            BirdlabError: for whatever is wrong with it or the files.
        """

    @property
    def names(self) -> tuple[str, ...]:
        """See `SpeciesSource.names`."""
        return self.curated.names

    @cached_property
    def seconds(self) -> float:
        """See `SpeciesSource.seconds`."""
        return self.segments * self.segment_s if self.segment_s is not None else self.curated.seconds

    def splits(self) -> dict[Split, list[Sample]]:
        """See `Source.splits`."""
        return self.assigned()

    def assigned(self) -> dict[Split, list[Sample]]:
        """See `SpeciesSource.assigned`. Reads the table and, unless remembered, the headers of all files."""
        table = self.curated.recordings
        # A recording that the curation has left out may be what links two of one visit.
        everything = [each for each in self.recordings() if each.species in self.names]
        groups = sessions(everything, self.session_gap)
        parts = sum(share > 0 for share in self.fractions)
        if self.folds is not None:
            parts = self.folds + (self.fractions[2] > 0 and not self.fold_tests)
        if parts > 1 and not self.multilabel:
            check_divisible(table, groups, parts)
        samples = [self._sample(each, groups[each.id]) for each in table]
        return finish(assign(samples, self.fractions, self.seed), self)

    def report(self, splits: Mapping[Split, Sequence[Sample]]) -> list[Table]:
        """What the curation left, and the seconds of real sound in each stack."""
        samples = [s for split in SPLITS for s in splits[split] if isinstance(s, LabelledStack)]
        return [self.curated.table(), real_sound(samples, self.names, self._stack_s)]

    def levels(self, sample: Sample) -> Levels:
        """See `SpeciesSource.levels`."""
        assert isinstance(sample, LabelledStack)
        file, length = sample.files[0], self.segments * self.frames
        if file.suffix.lower() in MEL_SUFFIXES:
            levels = read_levels(file, self.n_mels)
        elif sample.start_s is not None or self.trim == "centre":
            spare_s = max(0.0, sample.duration_s - self._stack_s) / 2
            start_s = spare_s if sample.start_s is None else sample.start_s
            return self.levels_of(self._heard(file, start_s, self._stack_s))
        else:
            levels = self.levels_of(self._heard(file))
        if levels.min() == levels.max():
            raise BirdlabError(f"{file}: holds nothing but silence in its mel bands. Remove it and its row.")
        total = levels.shape[1]
        if self.trim == "energy":
            first = loudest(levels, length)
        elif self.trim == "mask":
            windows = [np.count_nonzero(read_image(file), axis=0) for file in sample.files[1:]]
            foreground = np.concatenate(windows).astype(np.float64)
            first = fullest(stretched(foreground, total), length)
        else:
            first = centred(total, length)
        return levels[:, first : first + length]

    def settings(self) -> str:
        """See `Source.settings`."""
        return f"{super().settings()} {self.trim}"

    @property
    def _stack_s(self) -> float:
        """Seconds of a stack, its segments being whole frames."""
        return self.samples_in_stack / self.sample_rate

    def _heard(self, file: Path, start_s: float = 0.0, duration_s: float | None = None) -> np.ndarray:
        audio = io.read(file, self.sample_rate, start_s=start_s, duration_s=duration_s)
        # A pause of digital silence is no reason to refuse a recording that holds more.
        if not audio.any() and (duration_s is None or not io.read(file).any()):
            raise _silent(file)
        return audio

    @cached_property
    def curated(self) -> Curated:
        """The recordings that are left, of which species, and how many were left after each step."""
        rules = Rules(
            species=self.species,
            seconds=self.segments * self.segment_s if self.segment_s is not None else None,
            length_factor=self.length_factor,
            exclude_secondary=self.exclude_secondary and not self.multilabel,
            drop_short=self.short == "drop",
            balance=self.balance,
            seed=self.seed,
        )
        return curate(self.recordings(), rules)

    def _sample(self, recording: Recording, group: str) -> LabelledStack:
        shares = dict.fromkeys(recording.secondary, self.secondary_target) if self.multilabel else {}
        shares[recording.species] = 1.0
        return LabelledStack(
            id=recording.id,
            group=group,
            files=(recording.file, *self._mask_of(recording)),
            stratum=recording.species,
            targets=tuple(shares.get(name, 0.0) for name in self.names),
            duration_s=recording.duration_s,
            real_s=min(recording.duration_s, self._stack_s),
            origin=recording.origin,
            prior=_prior(recording),
        )

    def _mask_of(self, recording: Recording) -> tuple[Path, ...]:
        if self.masks is None:
            return ()
        # In one folder or in one for each species, as birdlab.predict leaves them.
        folders = [self.masks, self.masks / recording.species]
        for folder in folders:
            for ending in (".png", ".mask.png"):
                if (file := folder / f"{recording.id}{ending}").is_file():
                    return (file,)
            # One file for each window, named after its start.
            if windows := list((folder / f"{recording.id}.masks").glob("*.png")):
                return tuple(sorted(windows, key=_start_s))
        raise BirdlabError(
            f"{folders[0]}: no {recording.id}.mask.png for {recording.file.name}. Predict it by "
            "birdlab.predict with --mask, or set data.trim=centre."
        )


def _start_s(window: Path) -> float:
    start = re.search(r"@([\d.]+)s", window.name)
    if start is None:
        raise BirdlabError(f"{window}: no mask of birdlab.predict, which calls it NAME@SECONDSs.png.")
    return float(start[1])


def real_sound(samples: Sequence[LabelledStack], names: Sequence[str], stack_s: float) -> Table:
    """The seconds of each stack that aren't repetition, by species: what padding gives away."""
    table = Table(
        title=f"Seconds of real sound in stacks of {stack_s:.2f} s",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
    )
    table.add_column("species", no_wrap=True)
    for heading in ("recordings", "least", "mean", "repeated"):
        table.add_column(heading, justify="right")
    for index, name in enumerate(names):
        real = [sample.real_s for sample in samples if sample.targets[index] == 1]
        if real:
            short = np.mean(np.array(real) < stack_s - 1e-9)
            table.add_row(name, str(len(real)), f"{min(real):.1f}", f"{np.mean(real):.1f}", f"{short:.0%}")
    return table


def _prior(recording: Recording) -> tuple[float, float, float, float]:
    latitude, longitude = recording.latitude, recording.longitude
    place = (latitude / 90, longitude / 180) if latitude is not None and longitude is not None else (0.0, 0.0)
    if recording.day is None:
        return (*place, 0.0, 0.0)
    turn = 2 * math.pi * recording.day / _DAYS
    return (*place, math.sin(turn), math.cos(turn))


def _silent(file: Path) -> BirdlabError:
    return BirdlabError(f"{file}: holds nothing but silence. Remove it, or set data.on_error=skip.")
