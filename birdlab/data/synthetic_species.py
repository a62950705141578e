"""The embedded data set of species: recordings from a seeded generator, in the layout of BirdCLEF 2021."""

import csv
import hashlib
import io as text
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from birdlab.audio import io
from birdlab.data.curation import Recording, check_known
from birdlab.data.recordings import Recordings
from birdlab.data.source import SPLITS, Sample, Split
from birdlab.data.synthesis import species as synthesis
from birdlab.data.synthesis.draws import Range
from birdlab.data.synthesis.production import produce
from birdlab.data.synthesis.scene import SAMPLE_RATE
from birdlab.data.synthesis.species import FieldRecipe, Take
from birdlab.errors import BirdlabError
from birdlab.files import write_text

_COLUMNS = (
    "primary_label", "secondary_labels", "filename", "author", "latitude", "longitude", "date",
)  # fmt: skip
_TAKES = (0.5, 0.3, 0.2)
"""Probabilities of 1, 2 or 3 recordings in a visit."""
_VISIT = 100
"""Numbers between the first recordings of two visits: more than ``session_gap``."""


@dataclass(frozen=True)
class Archive:
    """The recordings of one generator, each at its place whether it has been written or not."""

    folder: Path
    seed: int
    recipe: FieldRecipe

    def name(self, take: Take) -> str:
        """Its species."""
        return synthesis.grammar(take.species, self.seed).name

    def file(self, take: Take) -> Path:
        """Where it belongs."""
        return self.folder / "train_short_audio" / self.name(take) / f"{_id(take)}.ogg"

    def write(self, take: Take) -> int:
        """Make it; returns the bytes of its file."""
        io.write(self.file(take), synthesis.recording(take, self.seed, self.recipe), SAMPLE_RATE)
        return self.file(take).stat().st_size


@dataclass(frozen=True, kw_only=True)
class SyntheticSpecies(Recordings):
    """Species told by the grammar of their song (`birdlab.data.synthesis.species`); nothing to download.

    The files stand below ``root/<hash of all parameters>`` as ``train_short_audio/<species>/XC*.ogg`` with
    ``train_metadata.csv``, so that whatever reads BirdCLEF reads them. ``splits`` writes the recordings that
    are asked for and not there yet; each depends on (seed, species, visit, take) alone.

    Attributes:
        root: parent folder.
        species: how many, in pairs of one voice, at most 34; or which of them by name.
        size: recordings of each species.
        snr_db: range of the songs' signal-to-noise ratio.
    """

    root: Path = Path("data/synthetic_species")
    size: int = 120
    snr_db: Range = FieldRecipe.snr_db
    segment_s: float | None = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.snr_db[0] <= self.snr_db[1]:
            raise BirdlabError(f"data.snr_db={list(self.snr_db)}: give the lowest and the highest, in dB.")
        if not isinstance(self.size, int) or self.size < 1:
            raise BirdlabError(f"data.size={self.size}: give the number of recordings of a species.")
        if isinstance(self.species, int) and not 1 <= self.species <= synthesis.MOST:
            raise BirdlabError(f"data.species={self.species}: there are 1 to {synthesis.MOST} species.")

    @property
    def folder(self) -> Path:
        """Where the recordings stand."""
        content = json.dumps(self._parameters, sort_keys=True)
        return self.root / hashlib.sha256(content.encode()).hexdigest()[:12]

    def recordings(self) -> list[Recording]:
        """See `Recordings.recordings`; nothing is written yet."""
        return [self._recording(take) for take in self._takes.values()]

    def splits(self) -> dict[Split, list[Sample]]:
        """See `Source.splits`. Writes the recordings that are asked for and not there yet."""
        splits = super().splits()
        wanted = [self._takes[sample.id] for split in SPLITS for sample in splits[split]]
        produce(
            self.folder,
            self._parameters,
            missing=lambda: [take for take in wanted if not self._archive.file(take).is_file()],
            write=self._archive.write,
            what="synthetic recordings",
            finish=self._write_metadata,
        )
        return splits

    @cached_property
    def _parameters(self) -> dict[str, object]:
        """All that decides what the recordings are; how many there are is no part of it."""
        return {
            "generator": "birdlab.data.synthesis.species",
            "version": synthesis.VERSION,
            "seed": self.seed,
            "sample_rate": SAMPLE_RATE,
            "recipe": asdict(self._recipe),
            "species": [asdict(synthesis.grammar(number, self.seed)) for number in range(synthesis.MOST)],
        }

    @cached_property
    def _archive(self) -> Archive:
        return Archive(self.folder, self.seed, self._recipe)

    @cached_property
    def _recipe(self) -> FieldRecipe:
        return FieldRecipe(snr_db=self.snr_db)

    @cached_property
    def _names(self) -> dict[str, int]:
        """The species that there are, by name."""
        known = {synthesis.grammar(number, self.seed).name: number for number in range(synthesis.MOST)}
        if not isinstance(self.species, int):
            return known
        return {name: number for name, number in known.items() if number < self.species}

    @cached_property
    def _takes(self) -> dict[str, Take]:
        """Every recording by id."""
        wanted = self.species if isinstance(self.species, tuple) else self._names
        check_known(wanted, self._names)
        return {_id(take): take for name in wanted for take in self._takes_of(self._names[name])}

    def _takes_of(self, species: int) -> Iterator[Take]:
        rng = np.random.default_rng([self.seed, 2, species])
        made = visit = 0
        while made < self.size:
            takes = 1 + int(rng.choice(len(_TAKES), p=_TAKES))
            for take in range(min(takes, self.size - made)):
                yield Take(species, visit, take)
            made, visit = made + takes, visit + 1

    def _recording(self, take: Take) -> Recording:
        rng = take.visit_rng(self.seed + 1)
        return Recording(
            file=self._archive.file(take),
            species=self._archive.name(take),
            duration_s=synthesis.duration_s(take, self.seed, self._recipe),
            author=f"recordist {take.species}-{take.visit}",
            # Species live in overlapping ranges and sing in overlapping seasons.
            latitude=round(float(np.clip(rng.normal(10 * (take.species % 5), 12), -89, 89)), 3),
            longitude=round(float(rng.normal(20 * (take.species % 3), 20)), 3),
            day=int(rng.normal(100 + 15 * (take.species % 4), 25)) % 365 + 1,
        )

    def _write_metadata(self) -> None:
        """The table of all recordings that are there, whichever species and sizes were asked for."""
        there = sorted(path.stem for path in self.folder.glob("train_short_audio/*/[!.]*.ogg"))
        table = text.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(_COLUMNS)
        for stem in there:
            each = self._recording(_take(stem))
            date = np.datetime64("2021-01-01") + ((each.day or 1) - 1)
            rows.writerow(
                [each.species, "[]", each.file.name, each.author, each.latitude, each.longitude, str(date)]
            )
        write_text(self.folder / "train_metadata.csv", table.getvalue())


def _take(id: str) -> Take:
    """The inverse of `_id`."""
    species, rest = divmod(int(id.removeprefix("XC")), 1_000_000)
    return Take(species - 1, *divmod(rest, _VISIT))


def _id(take: Take) -> str:
    """A number as on xeno-canto: neighbours within a visit, far apart between visits."""
    return f"XC{(take.species + 1) * 1_000_000 + take.visit * _VISIT + take.take}"
