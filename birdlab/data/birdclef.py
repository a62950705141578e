"""BirdCLEF 2021: ``train_short_audio/<species>/*.ogg`` and ``train_metadata.csv``."""

import datetime
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from rich import box
from rich.table import Table

from birdlab.audio import io
from birdlab.data.curation import Recording, check_known
from birdlab.data.inspection import inspected
from birdlab.data.pairs import listed
from birdlab.data.precomputed import MEL_SUFFIXES, columns, is_of_size, read_levels
from birdlab.data.recordings import Recordings
from birdlab.data.soundscapes import soundscape_rows
from birdlab.data.source import Sample, Split
from birdlab.data.splits import finish
from birdlab.data.tables import read_table
from birdlab.errors import BirdlabError

_COLUMNS = ("primary_label", "filename")
Row = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class BirdCLEF(Recordings):
    """A folder in the layout of BirdCLEF 2021 (Kahl et al., CLEF 2021).

    ``train_metadata.csv`` names the ``filename`` and ``primary_label`` of each recording and, where known,
    ``secondary_labels``, ``author``, ``latitude``, ``longitude``, ``date`` and ``origin``. Mel spectrograms
    computed beforehand (.npy or .png, see `birdlab.data.precomputed`) are read in place of the recordings of
    the same name.

    Attributes:
        root: the folder.
        on_error: ``raise`` stops at the first unreadable file, row without file or file without row; ``skip``
            leaves them out and counts them, for which every recording is decoded once.
        origins: species by the collection that they come from, where the table has no ``origin``.
        soundscapes: in multi-label mode, the rows of ``train_soundscape_labels.csv`` are this split; training
            gets the recordings that would have been.
    """

    root: Path
    on_error: Literal["raise", "skip"] = "raise"
    origins: Mapping[str, Sequence[str]] | None = None
    soundscapes: Literal["val", "test"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on_error not in ("raise", "skip"):
            raise BirdlabError(f"data.on_error={self.on_error}: give raise or skip.")
        if self.soundscapes not in (None, "val", "test"):
            raise BirdlabError(f"data.soundscapes={self.soundscapes}: give val, test or null.")
        if self.soundscapes and not self.multilabel:
            raise BirdlabError(
                "data.soundscapes needs data.multilabel=true: several species sing in one row."
            )
        if self.soundscapes and self.prior:
            raise BirdlabError(
                "data.prior=true with data.soundscapes: train_soundscape_labels.csv has no place and date, "
                "which a network would have been trained to rely on. Set data.prior=false."
            )
        origins = self.origins or {}
        if not isinstance(origins, Mapping) or any(isinstance(held, str) for held in origins.values()):
            raise BirdlabError(
                f"data.origins={origins}: give a list of species for each collection, such as "
                "data.origins={zoo:[owl,wren]}."
            )

    def recordings(self) -> list[Recording]:
        """See `Recordings.recordings`."""
        return self._read[0]

    @property
    def skipped(self) -> Mapping[str, Sequence[str]]:
        """With ``on_error=skip``: what was left out, by reason."""
        return self._read[1]

    def assigned(self) -> dict[Split, list[Sample]]:
        """See `SpeciesSource.assigned`."""
        if self.soundscapes is None:
            return super().assigned()
        splits = replace(self, n_train=None, n_val=None, n_test=None, soundscapes=None).assigned()
        splits["train"] = [*splits["train"], *splits[self.soundscapes]]
        unreadable: list[str] | None = [] if self.on_error == "skip" else None
        splits[self.soundscapes] = list(soundscape_rows(self.root, self.names, self._stack_s, unreadable))
        if unreadable:
            self._read[1]["unreadable soundscapes"] = unreadable
        return finish(splits, replace(self, folds=None, fold=0))

    def report(self, splits: Mapping[Split, Sequence[Sample]]) -> list[Table]:
        """See `Recordings.report`; what was left out comes first."""
        tables = super().report(splits)
        if not self.skipped:
            return tables
        table = Table(title="Left out (data.on_error=skip)", title_justify="left", box=box.SIMPLE_HEAD)
        for heading in ("why", "files", "first"):
            table.add_column(heading, justify="right" if heading == "files" else "left")
        for reason, files in self.skipped.items():
            table.add_row(reason, str(len(files)), files[0])
        return [table, *tables]

    @cached_property
    def _read(self) -> tuple[list[Recording], dict[str, list[str]]]:
        """The table, and what was left out of it by reason."""
        rows = read_metadata(self.root / "train_metadata.csv")
        if self.prior and not {"latitude", "longitude", "date"} <= set(rows[0]):
            raise BirdlabError(
                f"{self.root / 'train_metadata.csv'}: data.prior=true needs the columns latitude, longitude "
                "and date."
            )
        self._check_origins({row["primary_label"] for row in rows})
        if isinstance(self.species, tuple):
            check_known(self.species, {row["primary_label"] for row in rows})
            rows = [row for row in rows if row["primary_label"] in self.species]
        names = {row["primary_label"] for row in rows}
        if not isinstance(self.species, tuple):
            folders = (self.root / "train_short_audio").glob("[!.]*")
            names |= {folder.name for folder in folders if folder.is_dir()}
        files = self._files(names)
        keys = [(row["primary_label"], Path(row["filename"]).stem) for row in rows]
        skipped: dict[str, list[str]] = {}
        self._leave_out(
            skipped, "a second row", [f"{name}/{stem}" for (name, stem), n in Counter(keys).items() if n > 1]
        )
        self._leave_out(
            skipped, "a row without file", [f"{key[0]}/{key[1]}" for key in keys if key not in files]
        )
        listed = set(keys)
        self._leave_out(
            skipped, "a file without row", [str(file) for key, file in files.items() if key not in listed]
        )
        row_of = dict(zip(keys, rows, strict=True))
        usable = {key: file for key, file in files.items() if key in row_of}
        found = inspected(list(usable.values()), self._duration, self._method)
        bad = {file: finding for file, finding in found.items() if isinstance(finding, str)}
        if bad and self.on_error == "raise":
            others = f" (and {len(bad) - 1} more files)" if len(bad) > 1 else ""
            raise BirdlabError(f"{next(iter(bad.values()))}{others} Or set data.on_error=skip.")
        if bad:
            skipped["unreadable"] = list(bad.values())
        return [
            self._recording(row_of[key], file, float(found[file]))
            for key, file in usable.items()
            if file not in bad
        ], skipped

    def _check_origins(self, known: set[str]) -> None:
        unknown = {name for held in (self.origins or {}).values() for name in held} - known
        if unknown:
            raise BirdlabError(
                f"data.origins names {listed(sorted(unknown))}, of which there are no recordings; there are "
                f"{listed(sorted(known))}."
            )

    def _files(self, names: set[str]) -> dict[tuple[str, str], Path]:
        """The file of each (species, stem); a precomputed spectrogram goes before the recording.

        Beside a recording, an array or picture of another size is taken for something else.
        """
        folder = self.root / "train_short_audio"
        if not folder.is_dir():
            raise BirdlabError(f"{folder}: no such folder. Set data.root to the one that holds it.")
        recordings: dict[tuple[str, str], Path] = {}
        precomputed: dict[tuple[str, str], Path] = {}
        for name in sorted(names):
            for path in sorted((folder / name).glob("[!.]*")):
                if path.suffix.lower() in io.SUFFIXES:
                    recordings.setdefault((name, path.stem), path)
                elif path.suffix.lower() in MEL_SUFFIXES:
                    precomputed[name, path.stem] = path
        fitting = {
            key: path
            for key, path in precomputed.items()
            if key not in recordings or is_of_size(path, self.n_mels)
        }
        return dict(sorted((recordings | fitting).items(), key=lambda item: (item[0][0], item[1])))

    def _leave_out(self, skipped: dict[str, list[str]], reason: str, which: list[str]) -> None:
        if which and self.on_error == "raise":
            raise BirdlabError(
                f"{self.root}: {len(which)} times {reason}: {listed(which)}. Complete train_metadata.csv or "
                "the files, or set data.on_error=skip."
            )
        if which:
            skipped[reason] = which

    @property
    def _method(self) -> str:
        frame = f"{self.hop}/{self.sample_rate}/{self.n_mels}"
        return f"decoded {frame}" if self.on_error == "skip" else f"header {frame}"

    def _duration(self, file: Path) -> float:
        """Seconds of a recording, looked at as closely as ``on_error`` asks for."""
        if file.suffix.lower() in MEL_SUFFIXES:
            if self.on_error == "skip":
                levels = read_levels(file, self.n_mels)
                if levels.min() == levels.max():
                    raise BirdlabError(f"{file}: holds nothing but silence.")
            return columns(file, self.n_mels) * self.hop / self.sample_rate
        if self.on_error == "skip" and not np.any(io.read(file)):
            raise BirdlabError(f"{file}: holds nothing but silence.")
        return io.info(file).duration_s

    def _recording(self, row: Row, file: Path, duration_s: float) -> Recording:
        species = row["primary_label"]
        origin = row.get("origin") or next(
            (name for name, held in (self.origins or {}).items() if species in held), ""
        )
        return Recording(
            file=file,
            species=species,
            duration_s=duration_s,
            secondary=_labels(row.get("secondary_labels") or ""),
            author=(row.get("author") or "").strip(),
            latitude=_degrees(row.get("latitude"), 90),
            longitude=_degrees(row.get("longitude"), 180),
            day=_day(row.get("date")),
            origin=origin,
        )


def _labels(text: str) -> tuple[str, ...]:
    """The names in a list as Python prints it, or of words between whatever isn't one.

    Examples:
        >>> _labels("['Parus major', \"Cetti's warbler\"]"), _labels("amered rewbla")
        (('Parus major', "Cetti's warbler"), ('amered', 'rewbla'))
    """
    found = re.findall(r"'([^']*)'|\"([^\"]*)\"|([\w-]+)", text)
    return tuple(single or double or word for single, double, word in found)


def read_metadata(path: Path) -> list[dict[str, str]]:
    """The rows of ``train_metadata.csv``.

    Raises:
        BirdlabError: if it is absent, isn't CSV in UTF-8, has no rows or lacks a column that it must have.
    """
    rows = read_table(path, "Set data.root to its folder.")
    missing = [name for name in _COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise BirdlabError(f"{path}: has no rows, or lacks the columns {listed(missing)}.")
    for number, row in enumerate(rows, start=2):
        if not all(row[name] for name in _COLUMNS):
            raise BirdlabError(f"{path}: line {number} has no {' or no '.join(_COLUMNS)}.")
    return rows


def _degrees(text: str | None, limit: float) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None  # "Not specified"
    return value if abs(value) <= limit else None  # nor is NaN, or what no map has


def _day(text: str | None) -> int | None:
    """The day of the year of an ISO date; None for unknown ones such as 2013-00-00."""
    try:
        return datetime.date.fromisoformat(text or "").timetuple().tm_yday
    except ValueError:
        return None
