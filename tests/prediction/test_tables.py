"""Tables of events, read back by what people read them with."""

import math
from pathlib import Path

import pytest

from birdlab.data.boxes import Box, read_boxes
from birdlab.errors import BirdlabError
from birdlab.prediction.events import Event
from birdlab.prediction.tables import FORMATS, Detections, check_formats, write_raven

EVENTS = [
    Event(0.5, 1.25, 1000.5, 3000, 0.9, "Parus major", 0.75),
    Event(2.0, 2.125, 4000, 8000.25, 0.6),
]
DETECTIONS = Detections(Path("some/XC1 é (1).wav"), 10.0, EVENTS)
BOXES = [Box(0.5, 1.25, 1000.5, 3000, "Parus major"), Box(2.0, 2.125, 4000, 8000.25, "bird")]


def test_raven_by_hand(tmp_path: Path) -> None:
    """Two files that Raven opens one after the other: times go on, offsets begin anew."""
    write_raven(tmp_path / "t.txt", [DETECTIONS, Detections(Path("b.wav"), 5.0, EVENTS[1:])])
    header, first, *_, last = (tmp_path / "t.txt").read_text().splitlines()
    assert header.split("\t")[3:9] == [
        "Begin Time (s)",
        "End Time (s)",
        "Low Freq (Hz)",
        "High Freq (Hz)",
        "Begin File",
        "File Offset (s)",
    ]
    assert first == (
        "1\tSpectrogram 1\t1\t0.500000\t1.250000\t1000.500\t3000.000\tXC1 é (1).wav\t0.500000\t0.9000\t"
        "Parus major\t0.7500"
    )
    assert last == (
        "3\tSpectrogram 1\t1\t12.000000\t12.125000\t4000.000\t8000.250\tb.wav\t2.000000\t0.6000\tbird\t"
    )


@pytest.mark.parametrize("name", ["raven", "audacity", "csv"])
def test_birdlab_reads_what_it_writes(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"XC1{FORMATS[name].ending}"
    FORMATS[name].write(path, [DETECTIONS])
    assert read_boxes(path) == BOXES
    FORMATS[name].write(path, [Detections(Path("a.wav"), 1.0, [])])
    assert read_boxes(path) == []


def test_crowsetta_reads_them(tmp_path: Path) -> None:
    bbox = pytest.importorskip("crowsetta.formats.bbox")
    FORMATS["raven"].write(tmp_path / "a.selections.txt", [DETECTIONS])
    FORMATS["audacity"].write(tmp_path / "a.txt", [DETECTIONS])
    read = {
        "raven": bbox.Raven.from_file(tmp_path / "a.selections.txt", annot_col="Annotation"),
        "audacity": bbox.AudBBox.from_file(tmp_path / "a.txt"),
    }
    for table in read.values():
        found = [Box(b.onset, b.offset, b.low_freq, b.high_freq, b.label) for b in table.to_bbox()]
        assert found == BOXES


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    FORMATS["parquet"].write(tmp_path / "a.parquet", [DETECTIONS])
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [
        Event(**{key: value for key, value in row.items() if key != "file"}) for row in rows[:1]
    ] == EVENTS[:1]
    assert [row["file"] for row in rows] == ["XC1 é (1).wav"] * 2
    assert math.isnan(rows[1]["label_score"])
    FORMATS["parquet"].write(tmp_path / "none.parquet", [])
    assert parquet.read_table(tmp_path / "none.parquet").num_columns == 8


@pytest.mark.parametrize("name", ["raven", "audacity", "csv"])
def test_names_from_elsewhere_stay_in_their_cell(tmp_path: Path, name: str) -> None:
    evil = Detections(Path('a\t1\n2".wav'), 1.0, [Event(0.5, 1, 100, 200, 0.5, 'x\t9\n8,"')])
    path = tmp_path / "a.txt"
    FORMATS[name].write(path, [evil])
    (box,) = read_boxes(path)
    assert (box.begin_s, box.end_s, box.low_hz, box.high_hz) == (0.5, 1, 100, 200)


def test_formats_are_checked() -> None:
    check_formats(["raven", "csv"])
    with pytest.raises(BirdlabError, match=r"--table excel.*raven, audacity, csv, parquet"):
        check_formats(["excel"])


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(BirdlabError, match=r"pip install 'birdlab\[parquet\]'"):
        check_formats(["parquet"])
