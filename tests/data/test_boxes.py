"""Audacity's and Raven's label files, and what they look like when broken."""

import math
from pathlib import Path

import pytest

from birdlab.data.boxes import Box, read_boxes
from birdlab.errors import BirdlabError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "XC1.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_audacity_spectral_labels(tmp_path: Path) -> None:
    text = "0.5\t1.25\tParus major\n\\\t1000.5\t3000\n2\t3\tÖ\n4.0\t5.0\n\\\t-1\t2000\n6\t7\t\n\\\t800\t-1\n"
    assert read_boxes(written(tmp_path, text)) == [
        Box(0.5, 1.25, 1000.5, 3000, "Parus major"),
        Box(2, 3, 0, math.inf, "Ö"),
        Box(4, 5, 0, 2000, ""),
        Box(6, 7, 800, math.inf, ""),
    ]


RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"
    "1\tWaveform 1\t1\t0.5\t1.25\t1000.5\t3000\tParus major\n"
    "1\tSpectrogram 1\t1\t0.5\t1.25\t1000.5\t3000\tParus major\n"
    "2\tSpectrogram 1\t1\t2\t3\t\t\t\n"
)


def test_raven_selection_tables(tmp_path: Path) -> None:
    expected = [Box(0.5, 1.25, 1000.5, 3000, "Parus major"), Box(2, 3, 0, math.inf, "")]
    assert read_boxes(written(tmp_path, RAVEN)) == expected
    (tmp_path / "windows.txt").write_bytes(
        RAVEN.replace("\n", "\r\n").replace("Parus major", "Mönch").encode("latin-1")
    )
    assert read_boxes(tmp_path / "windows.txt")[0].label == "Mönch"
    (tmp_path / "windows.txt").write_bytes(RAVEN.replace("Parus major", "song… perhaps").encode("cp1252"))
    assert read_boxes(tmp_path / "windows.txt")[0].label == "song… perhaps"
    assert read_boxes(written(tmp_path, "\ufeff" + RAVEN)) == expected


def test_only_ends_of_lines_end_a_line(tmp_path: Path) -> None:
    separator = "one\u2028two"
    assert read_boxes(written(tmp_path, f"0\t1\t{separator}\r1\t2\tthree\n")) == [
        Box(0, 1, 0, math.inf, separator),
        Box(1, 2, 0, math.inf, "three"),
    ]
    assert read_boxes(written(tmp_path, 'begin_s,end_s,label\n0,1,"two\nlines"\n'))[0].label == "two\nlines"


def test_raven_tables_without_frequencies(tmp_path: Path) -> None:
    text = "Selection\tBegin Time (s)\tEnd Time (s)\n1\t0\t1\n"
    assert read_boxes(written(tmp_path, text)) == [Box(0, 1, 0, math.inf, "")]


@pytest.mark.parametrize(
    "text",
    [
        'file,begin_s,end_s,low_hz,high_hz,score,label\na.wav,0.5,1.25,1000.5,3000,.9,"Parus, major"\n',
        "label;onset_s;offset_s;freq_low;freq_high\nParus, major;0.5;1.25;1000.5;3000\n",
        'annotation,"start_time",end_time,low_f,high_f\n"Parus, major",0.5,1.25,1000.5,3000\n',
        "Species,Begin Time (s),End Time (s),Low Freq (Hz),High Freq (Hz)\n"
        '"Parus, major",.5,1.25,1000.5,3e3\n',
        "begin time (s),end time (s),low freq (hz),HIGH FREQ (Hz),Annotation\n"
        '.5,1.25,1000.5,3e3,"Parus, major"\n',
    ],
)
def test_tables_with_commas(tmp_path: Path, text: str) -> None:
    assert read_boxes(written(tmp_path, text)) == [Box(0.5, 1.25, 1000.5, 3000, "Parus, major")]


def test_tables_of_birdnet(tmp_path: Path) -> None:
    text = "Start (s),End (s),Scientific name,Common name,Confidence\n3.0,6.0,Parus major,Great Tit,.9\n"
    assert read_boxes(written(tmp_path, text)) == [Box(3, 6, 0, math.inf, "Great Tit")]


def test_tables_with_quotes_an_index_or_no_label_at_the_end(tmp_path: Path) -> None:
    of_r = '"begin_s"\t"end_s"\t"species"\n0\t1\t"owl"\n'
    assert read_boxes(written(tmp_path, of_r)) == [Box(0, 1, 0, math.inf, "owl")]
    of_pandas = ",begin_s,end_s,label\n0,0.5,1,owl\n1,2,3,wren\n"
    assert [box.label for box in read_boxes(written(tmp_path, of_pandas))] == ["owl", "wren"]
    trimmed = "Begin Time (s)\tEnd Time (s)\tSpecies\n0\t1\n\n"
    assert read_boxes(written(tmp_path, trimmed)) == [Box(0, 1, 0, math.inf, "")]


def test_what_was_corrected_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path, "0\t1\ta\n")
    assert read_boxes(path)[0].label == "a"
    path.write_text("0\t1\tlonger\n")
    assert read_boxes(path)[0].label == "longer"


def test_unknown_columns_are_answered_by_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match=r"line 1: .*'begin time \(s\)' or 'begin_s'"):
        read_boxes(written(tmp_path, "from,to,who\n0,1,a\n"))


def test_no_labels_is_no_mistake(tmp_path: Path) -> None:
    assert read_boxes(written(tmp_path, "")) == []
    assert read_boxes(written(tmp_path, RAVEN.splitlines()[0] + "\n")) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0\t1\ta\nsome text\n", 2),
        ("0\tone\ta\n", 1),
        ("0\t1\ta\n\\\t100\n", 1),
        ("\\\t100\t200\n", 1),
        ("0\t1\ta\n\\\t1\t2\n\\\t100\t200\n", 3),
        ("0\t1\ta\n3\t2\ta\n", 2),
        ("1\t1\tpoint\n", 1),
        ("-1\t1\ta\n", 1),
        ("nan\t1\ta\n", 1),
        ("0\tinf\ta\n", 1),
        ("0\t1\ta\n\\\t200\t100\n", 1),
        (RAVEN + "3\tSpectrogram 1\t1\tx\t3\t\t\t\n", 5),
        (RAVEN + "3\tSpectrogram 1\n", 5),
        ("Selection\tBegin Time (s)\n1\t0\n", 1),
        ("begin_s,low_hz\n1,100\n", 1),
        ("begin_s,end_s\n0,1\n0,x\n", 3),
        ('begin_s,end_s,label\n0,1,"owl\n1,2,wren\n2,3,crow\n', 4),  # a quote that never closes
        ("begin_s,end_s,label\n0,1,0,5,owl\n", 2),  # comma decimals
        (RAVEN + "3\tSpectrogram 1\t1\t2\t3\n", 5),  # cut short
    ],
)
def test_mistakes_name_file_and_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(BirdlabError, match=rf"XC1\.txt, line {line}:"):
        read_boxes(written(tmp_path, text))


def test_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match=r"none\.txt"):
        read_boxes(tmp_path / "none.txt")
