import os
from pathlib import Path

import pytest

from birdlab.data import inspection
from birdlab.data.inspection import inspected
from birdlab.errors import BirdlabError


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("BIRDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(inspection, "_WORTH_KEEPING", 3)
    names = [tmp_path / f"{number}.wav" for number in range(4)]
    for number, file in enumerate(names):
        file.write_text("x" * number)
    return names


def measured(looked: list[Path]) -> object:
    def measure(file: Path) -> float:
        looked.append(file)
        if not file.stat().st_size:
            raise BirdlabError(f"{file.name}: empty")
        return float(file.stat().st_size)

    return measure


def test_files_are_looked_at_once(files: list[Path]) -> None:
    looked: list[Path] = []
    expected = dict(zip(files, ["0.wav: empty", 1.0, 2.0, 3.0], strict=True))
    for _ in range(2):
        assert inspected(files, measured(looked), "length") == expected  # type: ignore[arg-type]
    # What was wrong with one may have been mended.
    assert sorted(looked) == [files[0], *files]
    inspected(files, measured(looked), "another method")  # type: ignore[arg-type]
    assert len(looked) == 9


def test_a_link_to_nowhere_is_left_to_what_measures(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")

    def measure(file: Path) -> float:
        if not file.exists():
            raise BirdlabError(f"{file.name}: there is no such file")
        return 1.0

    found = inspected([*files, tmp_path / "link.wav"], measure, "length")
    assert found[tmp_path / "link.wav"] == "link.wav: there is no such file"


def test_changed_files_are_looked_at_again(files: list[Path]) -> None:
    inspected(files, measured([]), "length")  # type: ignore[arg-type]
    status = files[2].stat()
    os.utime(files[2], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    files[0].write_text("xxxx")
    looked: list[Path] = []
    assert inspected(files, measured(looked), "length")[files[0]] == 4.0  # type: ignore[arg-type]
    assert sorted(looked) == [files[0], files[2]]


@pytest.mark.parametrize("damage", ["{", "[1]", '{"a": 3}'])
def test_a_damaged_index_is_made_again(files: list[Path], tmp_path: Path, damage: str) -> None:
    inspected(files, measured([]), "length")  # type: ignore[arg-type]
    (index,) = (tmp_path / "cache").iterdir()
    index.write_text(damage)
    assert inspected(files, measured([]), "length")[files[3]] == 3.0  # type: ignore[arg-type]


def test_a_new_file_is_looked_at_alone(files: list[Path], tmp_path: Path) -> None:
    inspected(files[1:], measured([]), "length")  # type: ignore[arg-type]
    (tmp_path / "4.wav").write_text("xxxx")
    looked: list[Path] = []
    found = inspected([*files[1:], tmp_path / "4.wav"], measured(looked), "length")  # type: ignore[arg-type]
    assert looked == [tmp_path / "4.wav"]
    assert found[files[3]] == 3.0
    assert len([*(tmp_path / "cache").iterdir()]) == 1


def test_what_cannot_be_remembered_is_found_all_the_same(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BIRDLAB_CACHE", str(tmp_path / "file" / "below"))
    assert inspected(files, measured([]), "length")[files[3]] == 3.0  # type: ignore[arg-type]


def test_a_few_files_leave_nothing_behind(files: list[Path], tmp_path: Path) -> None:
    inspected(files[:2], measured([]), "length")  # type: ignore[arg-type]
    assert not (tmp_path / "cache").exists()
