"""The page: complete in itself, safe from file names, and a browser shows it."""

import base64
import html.parser
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdlab.prediction import batch, page, summaries
from birdlab.prediction.events import Event
from birdlab.prediction.inputs import collect
from birdlab.prediction.network import Network
from birdlab.prediction.outputs import Marking, Wanted
from birdlab.prediction.records import Record

EVIL = "<img src=x onerror=alert(1)> & 'a' [1] ä"


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def written(loud_tones: Network, make_tones, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    """The page of a recording with an unfriendly name and two calls, and of one without any."""
    (tmp_path / "in").mkdir()
    soundfile.write(
        tmp_path / f"in/{EVIL}.wav", make_tones((0.3, 0.5, 1000), (0.8, 0.9, 2500), duration_s=1.2), 8000
    )
    soundfile.write(tmp_path / "in/silent.wav", np.zeros(8000), 8000)
    out, wanted = tmp_path / "out", Wanted(threshold=0.5)
    todo = batch.plan(collect([tmp_path / "in"], out), out, Marking(loud_tones, wanted))
    records, _ = batch.run(todo)
    failures = [(f"{EVIL}.mp3", f"{EVIL}.mp3: the file is empty")]
    summaries.write_page(records, out, loud_tones.grid, failures, 240)
    return out / "_summary.html"


def test_each_event_to_see_and_to_hear_twice(written: Path) -> None:
    tags = Tags()
    tags.feed(written.read_text())
    names = [tag for tag, _ in tags.found]
    assert (names.count("figure"), names.count("img"), names.count("audio")) == (2, 2, 4)
    sources = [attributes["src"] or "" for _, attributes in tags.found if "src" in attributes]
    assert all(source.startswith(("data:image/png;base64,", "data:audio/mpeg;base64,")) for source in sources)
    assert not [tag for tag in names if tag in {"script", "link", "iframe"}]


def test_names_are_text(written: Path) -> None:
    text = written.read_text()
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "1 files could not be predicted" in text


def test_only_the_surest_are_shown(loud_tones: Network, written: Path) -> None:
    out = written.parent
    wanted = Wanted(threshold=0.5)
    done = batch.plan(collect([out.parent / "in"], out), out, Marking(loud_tones, wanted)).done
    text = page.rendered(sorted(done, key=lambda record: record.source), out, loud_tones.grid, most_events=1)
    assert text.count("<figure>") == 1
    assert "The 1 surest are shown" in text


def test_every_file_has_its_surest_before_any_has_its_second(tmp_path: Path) -> None:
    scores = {"a": (0.9, 0.8, 0.7), "b": (0.3, 0.2), "c": ()}
    records = [
        Record(name, 1, 1, "", {}, {}, events=[Event(i, i + 1, 0, 1, score) for i, score in enumerate(each)])
        for name, each in scores.items()
    ]
    chosen = page._surest(records, 3)
    assert {number: [event.score for event in chosen[number]] for number in range(3)} == {
        0: [0.9, 0.8],
        1: [0.3],
        2: [],
    }


@pytest.mark.parametrize(("rate", "playable"), [(250_000, 48_000), (30_000, 24_000), (6_000, 8_000)])
def test_sounds_at_rates_that_browsers_play(rate: int, playable: int) -> None:
    url = page._sound(np.sin(np.arange(rate) / 10).astype(np.float32), rate)
    content = base64.b64decode(url.removeprefix("data:audio/mpeg;base64,"))
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert file.samplerate == playable
        assert file.frames / playable == pytest.approx(1, abs=0.1)


def test_recordings_that_are_gone_are_listed_all_the_same(loud_tones: Network, written: Path) -> None:
    out = written.parent
    done = batch.plan(collect([out.parent / "in"], out), out, Marking(loud_tones, Wanted(threshold=0.5))).done
    shutil.rmtree(out.parent / "in")
    text = page.rendered(done, out, loud_tones.grid, most_events=9)
    assert "<figure>" not in text
    assert "silent.wav" in text


@pytest.mark.slow
def test_a_browser_shows_pictures_and_plays_sounds(written: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium to look at the page with")
    # A copy whose script says what the browser made of it; the page itself has none.
    asking = """
    <script>
      const sounds = [...document.querySelectorAll('audio')];
      const loaded = sounds.map(sound => new Promise(done => {
        sound.onloadedmetadata = () => done(sound.duration); sound.onerror = () => done(-1); sound.load();
      }));
      Promise.all(loaded).then(durations => {
        const widths = [...document.images].map(image => image.naturalWidth);
        document.title = JSON.stringify({widths, durations, images: document.images.length});
      });
    </script>"""
    text = written.read_text()
    policy = text[text.index("<meta http-equiv") : text.index("<title>")]
    asked = tmp_path / "asked.html"
    asked.write_text(
        text.replace(policy, "").replace('preload="none"', "").replace("</body>", asking + "</body>")
    )
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]
    done = subprocess.run([*command, asked.as_uri()], capture_output=True, text=True, timeout=300, check=True)
    title = done.stdout[done.stdout.index("<title>") + 7 : done.stdout.index("</title>")]
    import json

    seen = json.loads(title)
    assert seen["images"] == 2
    assert min(seen["widths"]) > 100
    assert len(seen["durations"]) == 4
    assert 0.4 < min(seen["durations"]) < max(seen["durations"]) < 1.5
