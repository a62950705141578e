"""Tables over all files: what they hold, and that nobody's edits are lost."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from birdlab.data.boxes import read_boxes
from birdlab.errors import BirdlabError
from birdlab.prediction import batch, summaries
from birdlab.prediction.events import Event
from birdlab.prediction.records import Record


def records(*begins: Sequence[float], duration_s: float = 1.5) -> list[Record]:
    """Of recordings with events of .1 s."""
    return [
        Record(
            f"/in/{number}.wav",
            1,
            1,
            "",
            {},
            {},
            duration_s=duration_s,
            events=[Event(begin, begin + 0.1, 1000, 2000, 0.9) for begin in each],
        )
        for number, each in enumerate(begins)
    ]


def test_summary_and_the_table_of_all(tmp_path: Path) -> None:
    summaries.write_tables(records((0.3, 1.1), (0.3, 1.1), ()), tmp_path, all_events=True)
    with (tmp_path / "_summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["label"], row["events"], row["events_s"]) for row in rows] == [
        ("/in/0.wav", "bird", "2", "0.200"),
        ("/in/1.wav", "bird", "2", "0.200"),
        ("/in/2.wav", "", "0", "0.000"),
    ]
    assert float(rows[0]["events_per_hour"]) == pytest.approx(2 / 1.5 * 3600)
    # The second recording begins where the first ends.
    every = read_boxes(tmp_path / "_summary.selections.txt")
    assert [round(box.begin_s, 1) for box in every] == [0.3, 1.1, 1.8, 2.6]


def test_our_own_are_replaced(tmp_path: Path) -> None:
    for begins in ([(0.1,), (0.2,)], [(0.1,), (0.3,)]):
        summaries.check_own(tmp_path)
        summaries.write_tables(records(*begins), tmp_path, all_events=True)
    summaries.check_own(tmp_path)


def test_somebody_elses_and_edited_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "_summary.csv").write_text("mine")
    with pytest.raises(BirdlabError, match=r"_summary\.csv was written or edited by somebody else"):
        summaries.check_own(tmp_path)
    summaries.write_tables(records((0.1,), (0.2,)), tmp_path, all_events=True)
    summaries.check_own(tmp_path)
    table = tmp_path / "_summary.selections.txt"
    table.write_text(table.read_text().replace("\tbird\t", "\twren\t"))
    with pytest.raises(BirdlabError, match=r"_summary\.selections\.txt was written or edited"):
        summaries.check_own(tmp_path)


def test_a_full_disk_is_said_with_a_way_out(tmp_path: Path) -> None:
    """No file may become longer than 1 kB here, which to whoever writes it is a disk without room."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with (
            pytest.raises(BirdlabError, match=r"make room, and give the same command again"),
            batch.written_below(tmp_path),
        ):
            summaries.write_tables(records((0.1,) * 20, (0.2,) * 20), tmp_path, all_events=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "_summary.selections.txt").exists()
    # What was cut short is no edit.
    summaries.check_own(tmp_path)
