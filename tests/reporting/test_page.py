"""report.html in a real browser, where there is one."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from birdlab.report import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic", "--hide-scrollbars"),
    *("--enable-logging=stderr", "--virtual-time-budget=8000", "--window-size=1250,1600"),
)
DRIVER = """
const texts = (id, column) =>
  [...document.querySelectorAll(`#${id} tbody tr:not([hidden])`)].map((row) => row.cells[column].textContent);
const said = {};
const button = (id, heading) =>
  [...document.querySelectorAll(`#${id} th button`)].find((one) => one.textContent === heading);
const iou = button("all-runs", "IoU").closest("th").cellIndex;
button("all-runs", "IoU").click();
said.down = texts("all-runs", 0);
said.falling = texts("all-runs", iou);
button("all-runs", "IoU").click();
said.up = texts("all-runs", 0);
said.rising = texts("all-runs", iou);
said.sorted = button("all-runs", "IoU").closest("th").getAttribute("aria-sort");
const input = document.querySelector("#all-runs input");
input.value = "SGD 0.01";
input.dispatchEvent(new Event("input"));
said.filtered = texts("all-runs", 0);
said.count = document.querySelector("#all-runs .count").textContent;
said.differences = texts("differences", 0);
setTimeout(() => {
  const canvas = document.querySelector("#samples canvas");
  const context = canvas.getContext("2d");
  const colors = {};
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  for (let i = 0; i < pixels.length; i += 4) {
    const name = pixels.slice(i, i + 3).join();
    colors[name] = (colors[name] ?? 0) + 1;
  }
  said.colors = colors;
  said.size = [canvas.width, canvas.height];
  said.caption = canvas.nextSibling.textContent;
  const select = document.getElementById("run-b");
  select.selectedIndex = 0;
  select.dispatchEvent(new Event("change"));
  said.same = texts("differences", 0);
  const out = document.createElement("pre");
  out.id = "said";
  out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(said))));
  document.body.append(out);
}, 500);
"""


def browse(page: Path, *words: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={page.parent / 'profile'}", *words, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def page(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report([grid], tmp_path_factory.mktemp("page") / "report", None, None) / "report.html"


class Addresses(HTMLParser):
    """Everything that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in {"src", "href", "action"}]


def test_the_page_needs_nothing_beside_it(page: Path) -> None:
    addresses = Addresses()
    addresses.feed(page.read_text())
    assert addresses.found
    assert all(one.startswith(("data:image/png;base64,", "#")) for one in addresses.found)


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.mark.slow
@needs_chromium
def test_it_opens_without_complaint_and_looks_right(page: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(page, tmp_path / "page.html"))
    done = browse(copy, f"--screenshot={tmp_path / 'shot.png'}")
    assert complaints(done) == []
    shot = imread(tmp_path / "shot.png")[..., :3]
    # White at the margin, and figures and text of several colours within.
    assert np.allclose(shot[20:1500, 5], 1)
    assert shot[:, 50:-50].std() > 0.05
    assert len(np.unique((shot[::4, ::4] * 8).astype(int).reshape(-1, 3), axis=0)) > 15

    # The check would see an error.
    broken = tmp_path / "broken.html"
    broken.write_text("<script>undefined.x</script>")
    assert complaints(browse(broken, "--dump-dom"))


@pytest.mark.slow
@needs_chromium
def test_tables_sort_and_filter_and_runs_are_set_side_by_side(page: Path, tmp_path: Path) -> None:
    html = page.read_text()
    digest = base64.b64encode(hashlib.sha256(DRIVER.encode()).digest()).decode()
    html = html.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    driven = tmp_path / "driven.html"
    driven.write_text(html.replace("</body>", f"<script>{DRIVER}</script></body>"))
    done = browse(driven, "--dump-dom")
    assert complaints(done) == []
    found = re.search(r'<pre id="said">(.*?)</pre>', done.stdout)
    assert found is not None
    said = json.loads(base64.b64decode(found[1]).decode())

    # 15 finished runs by their score, and 7 without one last, both ways.
    assert len(said["down"]) == 22
    assert said["down"][0].startswith(("000_adam_lr-0.01", "001_adam_lr-0.01", "002_adam_lr-0.01"))
    scores = [float(score) for score in said["rising"][:15]]
    assert scores == sorted(scores)
    assert said["falling"][:15] == said["rising"][:15][::-1]  # runs of one score stay as they stood
    assert set(said["down"][15:]) == set(said["up"][15:])
    assert "running" in said["up"][15:]
    assert said["sorted"] == "ascending"
    assert {name.split("_seed")[0] for name in said["filtered"]} == {
        f"{n:03d}_sgd_lr-0.01" for n in (9, 10, 11)
    }
    assert said["count"] == "3 of 22"
    assert said["differences"][:3] == ["IoU", "pooled IoU", "Dice"]
    assert "optimizer.lr" in said["differences"]
    assert said["same"] == ["IoU", "pooled IoU", "Dice"]
    # Where both are right is green, and there is some of everything.
    assert said["size"] == [80, 60]
    assert sum(said["colors"].values()) == 80 * 60
    assert {"0,158,115", "86,180,233", "230,159,0", "213,94,0", "24,27,31"} <= said["colors"].keys()
    assert re.fullmatch(r"A and B agree on \d\d\.\d %", said["caption"])
