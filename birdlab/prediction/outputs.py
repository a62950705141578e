"""From one file to everything that is made of it, by a network that marks birds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from birdlab.audio import io
from birdlab.audio.grid import Grid
from birdlab.audio.streams import Encoding, Recording, writing
from birdlab.files import replacing_folder
from birdlab.prediction.denoise import FLOOR_DB, Denoiser
from birdlab.prediction.events import Event, paint
from birdlab.prediction.finding import Finder
from birdlab.prediction.inputs import Input
from birdlab.prediction.naming import Namer, Reader, named
from birdlab.prediction.network import Network, foreground
from birdlab.prediction.records import Record
from birdlab.prediction.source import Source
from birdlab.prediction.stream import Audio, Stretch
from birdlab.prediction.tables import FORMATS, Detections, write_tables

if TYPE_CHECKING:
    from birdlab.prediction.pictures import MaskTiles, Overlay, Picture, WholeMask

_PAINTED = 10_000
"""Columns of a mask that are painted at once."""

PICTURES_UP_TO_S = 600.0
"""Masks and overlays of longer recordings are made only if asked for."""


@dataclass(frozen=True)
class Wanted:
    """What is made of a recording.

    Attributes:
        threshold: probability that bird exceeds.
        tables: names of `tables.FORMATS`.
        mask, overlay: pictures; None makes them of what lasts no longer than ten minutes.
        denoised: the recording with everything else turned down.
        floor_db: by how much.
        boxes: events are boxes as people draw them, with pauses and harmonics, and not single sounds.
        min_confidence: of a species; events of less keep the label of all foreground.
    """

    threshold: float
    tables: tuple[str, ...] = ("raven",)
    mask: bool | None = None
    overlay: bool | None = None
    denoised: bool = True
    floor_db: float = FLOOR_DB
    boxes: bool = False
    min_confidence: float = 0.0

    def pictures_of(self, duration_s: float, asked: bool | None) -> bool:
        """Whether a picture is made."""
        return duration_s <= PICTURES_UP_TO_S if asked is None else asked


@dataclass(frozen=True)
class Marking:
    """See `birdlab.prediction.batch.Work`: masks, clean sound and tables of events.

    Attributes:
        network: marks birds.
        wanted: what is made.
        namer: names the species of each event; None leaves them "bird".
    """

    network: Network
    wanted: Wanted
    namer: Namer | None = None

    @property
    def grid(self) -> Grid:
        """See `Work`."""
        return self.network.grid

    @property
    def found(self) -> str:
        """See `Work`."""
        return f"events above {self.wanted.threshold:.3g}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Work`."""
        namer = self.namer.name if self.namer else None
        return {"network": self.network.name, "namer": namer, **asdict(self.wanted)}

    def planned(self, each: Input) -> dict[str, str]:
        """See `Work`."""
        source, wanted = Source.open(each, self.network), self.wanted
        endings = {table: FORMATS[table].ending for table in wanted.tables}
        if wanted.pictures_of(source.duration_s, wanted.mask):
            endings |= {"mask": ".mask.png"} if source.one_window else {"masks": ".masks"}
        if wanted.pictures_of(source.duration_s, wanted.overlay):
            one_page = source.duration_s <= PICTURES_UP_TO_S
            endings |= {"overlay": ".overlay.png"} if one_page else {"overlays": ".overlays"}
        if wanted.denoised and source.recording is not None:
            endings["denoised"] = f".denoised{Encoding.like(source.recording).suffix}"
        return {kind: f"{each.folder / each.name}{ending}" for kind, ending in endings.items()}

    def predict(
        self, each: Input, record: Record, output: Path, threads: int, progress: Callable[[float], None]
    ) -> Record:
        """See `Work`."""
        network, wanted = self.network, self.wanted
        source = Source.open(each, network)
        paths = record.paths(output)
        record.write(output / each.record)
        with ExitStack() as stack:
            denoised = None
            if source.recording is not None and "denoised" in paths:
                write = stack.enter_context(writing(paths["denoised"], source.recording))
                denoised = _Denoised(source.recording, network.grid, wanted, write)
            finder = Finder(network.grid, wanted.threshold, boxes=wanted.boxes)
            for kind in paths.keys() & {"masks", "overlays"}:
                paths[kind] = stack.enter_context(replacing_folder(paths[kind]))
            pictures = _Pictures(paths, each.name, network, wanted)
            hear = denoised.hear if denoised is not None else lambda block: None
            for stretch in source.stretches(threads, hear, progress):
                finder.see(stretch.probabilities)
                pictures.see(stretch)
                if denoised is not None:
                    denoised.see(stretch)
            if denoised is not None:
                denoised.finish()
            events = finder.finish(source.duration_s, foreground(network), source.highest_hz)
            if self.namer is not None and source.recording is not None:
                read = _reader(each.path, self.namer.sample_rate)
                events = named(events, source.duration_s, self.namer, read, wanted.min_confidence)
            pictures.finish(events)
        write_tables(wanted.tables, paths, Detections(each.path, source.duration_s, events))
        return record.finish(output / each.record, source.duration_s, events)


def _reader(path: Path, sample_rate: int) -> Reader:
    return lambda start_s, seconds: io.read(path, sample_rate, start_s=start_s, duration_s=seconds)


class _Denoised:
    """The denoised recording on its way to its file."""

    def __init__(
        self, recording: Recording, grid: Grid, wanted: Wanted, write: Callable[[Audio], None]
    ) -> None:
        rate, channels = recording.sample_rate, recording.channels
        self._denoiser = Denoiser(grid, rate, channels, wanted.threshold, wanted.floor_db)
        self._write = write

    def hear(self, block: Audio) -> None:
        self._denoiser.hear(block)

    def see(self, stretch: Stretch) -> None:
        self._write(self._denoiser.see(stretch.probabilities))

    def finish(self) -> None:
        self._write(self._denoiser.finish())


class _Pictures:
    """The mask and the overlay of a file, those that are wanted."""

    def __init__(self, paths: Mapping[str, Path], name: str, network: Network, wanted: Wanted) -> None:
        self._paths, self._name, self._grid, self._wanted = paths, name, network.grid, wanted
        self._columns = 0
        self._pages: list[Path] = []
        self._mask: MaskTiles | WholeMask | None = None
        self._overlay: Overlay | None = None
        if not paths.keys() & {"mask", "masks", "overlay", "overlays"}:
            return
        from birdlab.prediction import pictures  # needs OpenCV, which nothing else here does

        if "mask" in paths:
            self._mask = pictures.WholeMask(network.grid, paths["mask"])
        elif "masks" in paths:
            self._mask = pictures.MaskTiles(network.grid, network.window_columns, paths["masks"], name)
        outlined = math.inf if wanted.boxes else wanted.threshold
        if "overlay" in paths:
            # One page, whatever rounding makes of ten minutes.
            self._overlay = pictures.Overlay(network.grid, outlined, page_s=2 * pictures.PAGE_S)
        elif "overlays" in paths:
            self._overlay = pictures.Overlay(network.grid, outlined)

    def see(self, stretch: Stretch) -> None:
        self._columns = stretch.end
        if self._mask is not None and not self._wanted.boxes:
            self._mask.see(stretch.probabilities > self._wanted.threshold)
        if self._overlay is not None:
            self._overlay.see(stretch)
            self._write(self._overlay.pages())

    def finish(self, events: Sequence[Event]) -> None:
        if self._overlay is not None:
            self._write(self._overlay.finish())
            if self._wanted.boxes:
                self._draw_boxes(self._overlay, events)
        if self._mask is not None:
            if self._wanted.boxes:
                for first in range(0, self._columns, _PAINTED):
                    count = min(_PAINTED, self._columns - first)
                    self._mask.see(paint(events, self._grid, first, count))
            self._mask.finish()

    def _write(self, pages: Sequence[Picture]) -> None:
        from birdlab.prediction.pictures import PAGE_S, write_png

        for picture in pages:
            if "overlay" in self._paths:
                path = self._paths["overlay"]
            else:
                begin_s = len(self._pages) * PAGE_S
                path = self._paths["overlays"] / f"{self._name}@{begin_s:05.0f}s.png"
            write_png(path, picture)
            self._pages.append(path)

    def _draw_boxes(self, overlay: Overlay, events: Sequence[Event]) -> None:
        """Into pages that are written already: boxes are known when all is heard."""
        from birdlab.prediction.pictures import read_png, write_png

        for number, path in enumerate(self._pages):
            picture = read_png(path)
            overlay.add_boxes(picture, number, events)
            write_png(path, picture)
