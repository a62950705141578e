"""One page about everything that was found, each event to see and to hear, that needs no other file."""

import base64
import io as bytes_io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

import jinja2
import numpy as np
import soundfile

from birdlab.audio import io
from birdlab.audio.grid import Grid
from birdlab.errors import BirdlabError
from birdlab.files import write_text
from birdlab.prediction.events import Event, paint
from birdlab.prediction.pictures import brightness, framed, marked, png, power
from birdlab.prediction.records import Record
from birdlab.prediction.stream import Audio

PER_FILE, IN_ALL = 12, 240
"""Events shown, the surest ones: a page with thousands could not be opened."""

_MARGIN_S = 0.3
_LONGEST_S = 8.0


@dataclass(frozen=True)
class Shown:
    """An event on the page; pictures and sounds are data URLs.

    Attributes:
        event: when, where in frequency, what.
        picture: its spectrogram with its box.
        original: its sound.
        denoised: the same with everything else turned down; None if that wasn't made.
    """

    event: Event
    picture: str
    original: str
    denoised: str | None


@dataclass(frozen=True)
class File:
    """A recording on the page."""

    name: str
    duration_s: float
    found: int
    shown: Sequence[Shown]


def write_page(
    path: Path, records: Sequence[Record], output: Path, grid: Grid, failures: Sequence[tuple[str, str]] = ()
) -> None:
    """Write the page.

    Args:
        path: of the page.
        records: of finished files.
        output: the folder that their outputs lie below.
        grid: of the spectrograms shown.
        failures: path and message of files that could not be predicted.
    """
    chosen = nlargest(
        IN_ALL,
        (
            (event.score, number, event)
            for number, record in enumerate(records)
            for event in nlargest(PER_FILE, record.events, key=lambda each: each.score)
        ),
        key=lambda each: each[0],
    )
    files = []
    for number, record in enumerate(records):
        events = [event for _, owner, event in chosen if owner == number]
        files.append(
            File(
                name=record.source,
                duration_s=record.duration_s,
                found=len(record.events),
                shown=list(_shown(record, sorted(events, key=lambda each: each.begin_s), output, grid)),
            )
        )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("birdlab.prediction"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    hours = sum(record.duration_s for record in records) / 3600
    events_in_all = sum(len(record.events) for record in records)
    text = environment.get_template("page.html").render(
        files=files,
        failures=failures,
        hours=hours,
        events=events_in_all,
        per_hour=events_in_all / hours if hours else 0.0,
        shown=len(chosen),
    )
    write_text(path, text)


def _shown(record: Record, events: Sequence[Event], output: Path, grid: Grid) -> Iterator[Shown]:
    source = Path(record.source)
    denoised = record.outputs.get("denoised")
    if source.suffix.lower() == ".png":
        return
    for event in events:
        begin_s = max(0.0, event.begin_s - _MARGIN_S)
        length_s = min(event.end_s + _MARGIN_S - begin_s, _LONGEST_S)
        try:
            original = io.read(source, grid.sample_rate, start_s=begin_s, duration_s=length_s)
            quiet = None
            if denoised is not None:
                quiet = io.read(output / denoised, grid.sample_rate, start_s=begin_s, duration_s=length_s)
        except BirdlabError:  # moved away since it was predicted
            return
        # Both by the same factor, so that one hears what became quieter.
        gain = 0.9 / max(float(np.abs(original).max()), 1e-4)
        yield Shown(
            event,
            _url("image/png", _picture(original, event, begin_s, grid)),
            _sound(original * gain, grid.sample_rate),
            None if quiet is None else _sound(quiet * gain, grid.sample_rate),
        )


def _picture(audio: Audio, event: Event, begin_s: float, grid: Grid) -> bytes:
    columns = grid.covering_columns(len(audio))
    audio = np.pad(audio, (0, max(0, grid.samples(columns) - len(audio))))
    half = grid.one_sided()
    mask = paint([event], half, round(begin_s * grid.sample_rate / grid.hop), columns)
    grey = brightness(power(audio, half, columns))
    # The picture has fewer rows than the grid.
    rows = np.linspace(0, len(mask) - 1, len(grey)).round().astype(int)
    step = max(1, columns // 400)
    picture = marked(grey, mask[rows])[:, ::step]
    return png(framed(picture, begin_s, step * grid.hop / grid.sample_rate, grid.sample_rate / 2))


def _sound(audio: Audio, sample_rate: int) -> str:
    """As MP3, which every browser plays."""
    file = bytes_io.BytesIO()
    soundfile.write(file, np.clip(audio, -1, 1), sample_rate, format="MP3", subtype="MPEG_LAYER_III")
    return _url("audio/mpeg", file.getvalue())


def _url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
