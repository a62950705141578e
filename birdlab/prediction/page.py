"""One page about everything that was found, each event to see and to hear, that needs no other file."""

import base64
import io as bytes_io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import soundfile
import soxr

from birdlab.audio import io
from birdlab.audio.grid import Grid
from birdlab.errors import BirdlabError
from birdlab.prediction.events import Event, paint
from birdlab.prediction.pictures import brightness, framed, marked, png, power
from birdlab.prediction.records import Record
from birdlab.prediction.stream import Audio

_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
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


def rendered(
    records: Sequence[Record],
    output: Path,
    grid: Grid,
    most_events: int,
    failures: Sequence[tuple[str, str]] = (),
) -> str:
    """The page's HTML.

    Args:
        records: of finished files.
        output: the folder that their outputs lie below.
        grid: of the spectrograms shown.
        most_events: shown, the surest ones of every file.
        failures: path and message of files that could not be predicted.
    """
    chosen = _surest(records, most_events)
    files = [
        File(
            name=record.source,
            duration_s=record.duration_s,
            found=len(record.events),
            shown=list(_shown(record, chosen[number], output, grid)),
        )
        for number, record in enumerate(records)
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("birdlab.prediction"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    hours = sum(record.duration_s for record in records) / 3600
    events_in_all = sum(len(record.events) for record in records)
    return environment.get_template("page.html").render(
        files=files,
        failures=failures,
        hours=hours,
        events=events_in_all,
        per_hour=events_in_all / hours if hours else 0.0,
        shown=sum(map(len, chosen.values())),
    )


def _surest(records: Sequence[Record], count: int) -> dict[int, list[Event]]:
    """Events by number of their record and by begin: the surest of each, then the second of each, ..."""
    ranked = (
        (rank, -event.score, number, event)
        for number, record in enumerate(records)
        for rank, event in enumerate(sorted(record.events, key=lambda each: -each.score))
    )
    chosen: dict[int, list[Event]] = defaultdict(list)
    for _, _, number, event in sorted(ranked, key=lambda each: each[:3])[:count]:
        chosen[number].append(event)
    for events in chosen.values():
        events.sort(key=lambda each: each.begin_s)
    return chosen


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
    """As MP3, which every browser plays, at the next lower of its rates."""
    playable = max((rate for rate in _MP3_RATES if rate <= sample_rate), default=_MP3_RATES[0])
    audio, sample_rate = soxr.resample(audio, sample_rate, playable), playable
    file = bytes_io.BytesIO()
    soundfile.write(file, np.clip(audio, -1, 1), sample_rate, format="MP3", subtype="MPEG_LAYER_III")
    return _url("audio/mpeg", file.getvalue())


def _url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
