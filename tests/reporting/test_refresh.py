"""Tables in Markdown from committed CSV files: made anew, and missed when they are stale."""

import subprocess
import sys
from pathlib import Path

import pytest

from birdlab.errors import BirdlabError
from birdlab.reporting.refresh import refreshed

RESULTS = """run,method,iou,note
a,network,0.5555,plain
b,network,0.61,x|y <b>
c,nothing,0.04,
"""
COMMENT = (
    "<!-- table: results.csv; columns: run as trained on, iou:.2f as IoU, note; where: method=network; "
    "sort: -iou -->"
)
STALE = f"# Study\n\n{COMMENT}\nold\n<!-- end of table -->\n\nAfter.\n"
FRESH = rf"""# Study

{COMMENT}

| trained on | IoU | note |
| --- | ---: | --- |
| b | 0.61 | x\|y \<b\> |
| a | 0.56 | plain |

<!-- end of table -->

After.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results.csv").write_text(RESULTS)
    return tmp_path


def test_a_table_is_made_from_its_file_and_then_stays(folder: Path) -> None:
    assert refreshed(STALE, folder) == FRESH
    assert refreshed(FRESH, folder) == FRESH
    assert refreshed("no table\n", folder) == "no table\n"


def test_all_columns_are_shown_by_default(folder: Path) -> None:
    made = refreshed("<!-- table: results.csv -->\n<!-- end of table -->", folder)
    assert "| run | method | iou | note |" in made
    assert "| c | nothing | 0.04 |  |" in made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: results.csv -->\n", "ends with <!-- end of table -->"),
        (STALE.replace("results.csv", "gone.csv"), "gone.csv can't be read"),
        (STALE.replace("iou:.2f", "iuo:.2f"), "no column 'iuo'; it has run, method, iou, note"),
        (STALE.replace("iou:.2f", "iou:.2q"), "'.2q' in a table's comment"),
        (STALE.replace("sort:", "order:"), "there are columns:, where: and sort:"),
        (STALE.replace("method=network", "network"), "write COLUMN=VALUE"),
    ],
)
def test_mistakes_are_named(folder: Path, text: str, message: str) -> None:
    with pytest.raises(BirdlabError) as caught:
        refreshed(text, folder)
    assert message in str(caught.value)


def test_the_check_fails_until_the_tables_are_refreshed(folder: Path) -> None:
    file = folder / "README.md"
    file.write_text(STALE)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "birdlab.reporting.refresh", str(file), *words]
        return subprocess.run(command, capture_output=True, text=True)

    refused = run("--check")
    assert refused.returncode == 2
    assert "README.md: a table isn't as its CSV file says" in refused.stderr
    assert file.read_text() == STALE
    assert run().returncode == 0
    assert file.read_text() == FRESH
    assert run("--check").returncode == 0
