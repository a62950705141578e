"""Pictures of spectrograms with axes, pixel by pixel: plotting libraries would take too long."""

import math
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from birdlab.audio.grid import Grid, as_picture
from birdlab.data.png import write_image
from birdlab.files import replacing
from birdlab.prediction.events import Event
from birdlab.prediction.stream import Samples, Stretch

Power = NDArray[np.float32]
Picture = NDArray[np.uint8]

PIXEL_S = 0.02
STRIP_S = 20.0
PAGE_S = 600.0
"""A pixel of the overlay, one of its strips, and all of one picture; longer recordings get several."""

_ROWS = 128
"""Of a strip, at least: the spectrogram resolves no more."""
_RANGE_DB = 20.0
"""Shown above the background, at least: silence shall not look like a storm."""
_LEFT, _TOP, _BOTTOM = 44, 10, 22
_NAME_ROWS = 12
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LETTERS = (_FONT, 0.35)
_INK, _PAPER, _MARK = (60, 60, 60), 255, (0, 140, 255)  # OpenCV's order: blue, green, red


def official(mask: NDArray[np.bool_], sides: str) -> Picture:
    """A one-sided mask [F, T] as a picture file has it: 0 and 255."""
    return as_picture(mask.astype(np.uint8) * np.uint8(255), sides)


class MaskTiles:
    """Mask pictures, one per window of the network, in rows and columns like the pictures it was trained on.

    Tiles begin every ``window_s`` and are named by when, as `AnnotatedAudio` names its samples.

    Args:
        grid: rows, and whether pictures have two sides.
        columns: of one tile.
        folder: for the tiles.
        name: of the recording.
    """

    def __init__(self, grid: Grid, columns: int, folder: Path, name: str) -> None:
        self.grid, self.columns, self.folder, self.name = grid, columns, folder, name
        # A column that would need samples of two tiles belongs to none.
        self._step = grid.samples(columns) // grid.hop
        self._waiting: NDArray[np.bool_] = np.zeros((grid.one_sided().rows, 0), np.bool_)
        self._start = 0

    def see(self, mask: NDArray[np.bool_]) -> None:
        """Take the next columns [F, T]."""
        self._waiting = np.concatenate([self._waiting, mask], axis=1)
        while self._waiting.shape[1] >= self._step:
            self._write()
            self._waiting = self._waiting[:, self._step :]
            self._start += self._step

    def finish(self) -> None:
        """Write the last tile, which may be shorter."""
        if self._waiting.shape[1]:
            self._write()

    def _write(self) -> None:
        begin_s = self._start * self.grid.hop / self.grid.sample_rate
        picture = official(self._waiting[:, : self.columns], self.grid.sides)
        write_image(self.folder / f"{self.name}@{begin_s:.3f}s.png", picture)


class WholeMask:
    """The mask of a short recording as one picture."""

    def __init__(self, grid: Grid, path: Path) -> None:
        self.grid, self.path = grid, path
        self._parts: list[NDArray[np.bool_]] = []

    def see(self, mask: NDArray[np.bool_]) -> None:
        """Take the next columns [F, T]."""
        self._parts.append(mask)

    def finish(self) -> None:
        """Write it."""
        write_image(self.path, official(np.concatenate(self._parts, axis=1), self.grid.sides))


class Overlay:
    """The spectrogram in strips of 20 s with the mask outlined.

    Args:
        grid: of the probabilities.
        threshold: the mask is where they exceed it; infinity outlines nothing, for `add_boxes`.
        page_s: seconds of one picture.
    """

    def __init__(self, grid: Grid, threshold: float, page_s: float = PAGE_S) -> None:
        self.grid, self.threshold = grid.one_sided(), threshold
        self._columns = max(1, round(PIXEL_S * grid.sample_rate / grid.hop))
        self._pixel_s = self._columns * grid.hop / grid.sample_rate
        self._per_strip = round(STRIP_S / self._pixel_s)
        self._per_page = round(page_s / self._pixel_s)
        self._rows = len(_pooled_rows(np.zeros((self.grid.rows, 1), np.bool_)))
        # Columns that are no whole pixel yet, and the pixels of the next page.
        self._power = np.zeros((self._rows, 0), np.float32)
        self._mask = np.zeros((self._rows, 0), np.bool_)
        self._pixels: list[Power] = []
        self._done = 0  # pixels of the pages before
        self._marks: list[NDArray[np.bool_]] = []

    def see(self, stretch: Stretch) -> None:
        """Take the next columns; a pixel shows the loudest of its own, so that no click is lost."""
        count = stretch.probabilities.shape[1]
        mask = _pooled_rows(stretch.probabilities > self.threshold)
        self._mask = np.concatenate([self._mask, mask], axis=1)
        self._power = np.concatenate([self._power, power(stretch.samples, self.grid, count)], axis=1)
        self._pool(self._mask.shape[1] // self._columns * self._columns)

    def _pool(self, columns: int) -> None:
        """Columns that are pixels by now."""
        starts = np.arange(0, columns, self._columns)
        if len(starts):
            self._pixels.append(np.maximum.reduceat(self._power[:, :columns], starts, axis=1))
            self._marks.append(np.logical_or.reduceat(self._mask[:, :columns], starts, axis=1))
        self._power, self._mask = self._power[:, columns:], self._mask[:, columns:]

    def pages(self) -> list[Picture]:
        """The finished pictures so far, and forgets them."""
        return self._taken(whole=True)

    def finish(self) -> list[Picture]:
        """The last pictures."""
        self._pool(self._mask.shape[1])
        return self._taken(whole=False)

    def add_boxes(self, picture: Picture, page: int, events: Iterable[Event]) -> None:
        """Draw boxes, which are known only when all is heard, into a page that was made before.

        Args:
            picture: the page, changed.
            page: its number, from 0.
            events: by begin, of any page; what somebody named has its name written beside it.
        """
        begin_s = page * self._per_page * self._pixel_s
        height = self._rows + _TOP + _BOTTOM
        events = _between(events, begin_s, begin_s + self._per_page * self._pixel_s)
        for number, strip in enumerate(np.split(picture, len(picture) // height)):
            shown = strip[_TOP : _TOP + self._rows, _LEFT : _LEFT + self._per_strip]
            strip_s = begin_s + number * self._per_strip * self._pixel_s
            here = _between(events, strip_s, strip_s + STRIP_S)
            _draw(here, shown, strip_s, self._pixel_s, self.grid.sample_rate / 2)

    def _taken(self, *, whole: bool) -> list[Picture]:
        count = sum(part.shape[1] for part in self._marks)
        if count == 0 or (whole and count < self._per_page):
            return []
        levels, marks = np.concatenate(self._pixels, axis=1), np.concatenate(self._marks, axis=1)
        self._pixels, self._marks = [levels[:, self._per_page :]], [marks[:, self._per_page :]]
        picture = self._drawn(levels[:, : self._per_page], marks[:, : self._per_page])
        return [picture, *self._taken(whole=whole)]

    def _drawn(self, levels: Power, mask: NDArray[np.bool_]) -> Picture:
        grey = brightness(levels)
        strips = []
        for start in range(0, grey.shape[1], self._per_strip):
            part = slice(start, start + self._per_strip)
            picture = marked(grey[:, part], mask[:, part])
            missing = min(self._per_strip, grey.shape[1]) - picture.shape[1]
            begin_s = (self._done + start) * self._pixel_s
            strips.append(
                np.pad(
                    framed(picture, begin_s, self._pixel_s, self.grid.sample_rate / 2),
                    ((0, 0), (0, max(0, missing)), (0, 0)),
                    constant_values=_PAPER,
                )
            )
        self._done += grey.shape[1]
        return np.concatenate(strips)


def power(samples: Samples, grid: Grid, columns: int) -> Power:
    """|STFT|^2 of some columns [rows, T] in fewer rows than the grid's; of a picture its squares."""
    if samples.ndim == 2:
        half = samples[-(grid.n_fft // 2 + 1) :, :columns].astype(np.float32) / 255
        return _pooled_rows(half**2)
    frames = np.lib.stride_tricks.sliding_window_view(samples, grid.window_length)[:: grid.hop][:columns]
    n_fft = grid.n_fft // _pooling(grid.n_fft // 2 + 1)
    spectrum = np.fft.rfft(
        frames * np.hamming(grid.window_length).astype(np.float32), n=max(n_fft, grid.window_length)
    )
    squares: Power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
    return squares.T


def brightness(levels: Power) -> Picture:
    """Decibels from the median up as grey, white for the background."""
    decibels = 10 * np.log10(levels + 1e-10)
    sample = decibels[:, :: max(1, decibels.shape[1] // 2000)]
    low, high = np.percentile(sample, [50, 99.9])
    grey = (decibels - low) * (-255 / max(high - low, _RANGE_DB)) + 255
    picture: Picture = np.clip(grey, 0, 255).astype(np.uint8)
    return picture


def marked(grey: Picture, mask: NDArray[np.bool_]) -> Picture:
    """Grey [F, T] with the outline of a mask in colour [F, T, 3]."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    picture[mask & ~inner] = _MARK
    return picture


def framed(picture: Picture, begin_s: float, pixel_s: float, top_hz: float) -> Picture:
    """A picture [F, T, 3], the lowest frequency first, turned over and with axes in seconds and kHz."""
    rows, columns = picture.shape[:2]
    canvas = np.full((rows + _TOP + _BOTTOM, columns + _LEFT + 24, 3), _PAPER, np.uint8)
    canvas[_TOP : _TOP + rows, _LEFT : _LEFT + columns] = picture[::-1]
    khz = top_hz / 1000
    for tick in _ticks(0, khz, 4):
        y = _TOP + round((rows - 1) * (1 - tick / khz))
        cv2.line(canvas, (_LEFT - 4, y), (_LEFT - 1, y), _INK)
        cv2.putText(canvas, f"{tick:g}", (_LEFT - 26, y + 4), *_LETTERS, _INK, 1, cv2.LINE_AA)
    cv2.putText(canvas, "kHz", (1, _TOP + 4), _FONT, 0.3, _INK, 1, cv2.LINE_AA)
    end_s = begin_s + columns * pixel_s
    for tick in _ticks(begin_s, end_s, max(1, columns // 100)):
        x = _LEFT + round((tick - begin_s) / pixel_s)
        cv2.line(canvas, (x, _TOP + rows), (x, _TOP + rows + 3), _INK)
        text = f"{tick:g} s"
        cv2.putText(canvas, text, (x - 3 * len(text), _TOP + rows + 15), *_LETTERS, _INK, 1, cv2.LINE_AA)
    return canvas


def png(picture: Picture) -> bytes:
    """A colour picture as a PNG file."""
    _, encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return encoded.tobytes()


def read_png(path: Path) -> Picture:
    """A colour picture that `write_png` wrote."""
    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    picture: Picture = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return picture


def write_png(path: Path, picture: Picture) -> None:
    """Write a colour picture, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(png(picture))


def _between(events: Iterable[Event], begin_s: float, end_s: float) -> list[Event]:
    return [event for event in events if event.begin_s < end_s and event.end_s > begin_s]


def _draw(events: Iterable[Event], shown: Picture, begin_s: float, pixel_s: float, top_hz: float) -> None:
    """Boxes, and the names that somebody gave them, in a strip that stands upright; the rest is left out."""
    rows, written = len(shown), dict[str, int]()
    for event in events:
        left, right = (round((edge_s - begin_s) / pixel_s) for edge_s in (event.begin_s, event.end_s))
        low, high = (round((rows - 1) * (1 - hz / top_hz)) for hz in (event.low_hz, event.high_hz))
        cv2.rectangle(shown, (left, high), (max(left, right - 1), low), _MARK)
        # A row of short calls has the name of its bird as often as there is room.
        if not math.isnan(event.label_score) and left >= written.get(event.label, 0):
            above = high - 3 if high > _NAME_ROWS else high + _NAME_ROWS
            cv2.putText(shown, event.label, (left, above), *_LETTERS, _MARK, 1, cv2.LINE_AA)
            (width, _), _ = cv2.getTextSize(event.label, *_LETTERS, 1)
            written[event.label] = left + width + _NAME_ROWS


def _pooling(rows: int) -> int:
    return max(1, rows // _ROWS)


def _pooled_rows(values: NDArray[np.generic]) -> NDArray:  # type: ignore[type-arg]
    """The largest of each few rows."""
    return np.maximum.reduceat(values, np.arange(0, len(values), _pooling(len(values))), axis=0)


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two, some four to eight of ``about``."""
    raw = (high - low) / about
    power_of_ten = 10.0 ** np.floor(np.log10(raw))
    step = min((s * power_of_ten for s in (1, 2, 5, 10) if s * power_of_ten >= raw * 0.999), default=raw)
    first = int(np.ceil(low / step - 1e-9))
    return [round(k * step, 6) for k in range(first, int(np.floor(high / step + 1e-9)) + 1)]
