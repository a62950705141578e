"""Which files are found, and where their results go."""

from pathlib import Path

import pytest

from birdlab.errors import BirdlabError
from birdlab.prediction.inputs import collect


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root.resolve()


def places(found: list) -> list[str]:
    return [str(each.folder / each.name) for each in found]


def test_folders_are_mirrored(tmp_path: Path) -> None:
    root = touched(
        tmp_path / "in", "a.wav", "x/a.WAV", "x/y/b [1] 'é'.mp3", "notes.txt", ".hidden.wav", "s.png"
    )
    found = collect([root], tmp_path / "out")
    assert places(found) == ["a", "s", "x/a", "x/y/b [1] 'é'"]
    assert [each.is_picture for each in found] == [False, True, False, False]


def test_equal_names_do_not_meet(tmp_path: Path) -> None:
    root = touched(tmp_path, "x/a.wav", "y/a.wav", "y/a.flac", "y/A.ogg", "z/a.b.wav", "z/a.wav")
    found = collect([root / "x/a.wav", root / "y", root / "z"], tmp_path / "out")
    assert sorted(places(found)) == ["x/a", "y/A.ogg", "y/a.flac", "y/a.wav", "z/a", "z/a.b"]
    assert len({each.record for each in found}) == 6


def test_a_name_with_two_endings_is_no_name_of_a_neighbours(tmp_path: Path) -> None:
    root = touched(tmp_path, "x/a.wav", "x/a.flac", "x/a.wav.mp3")
    assert places(collect([root / "x"], root / "out")) == ["a.flac", "a.wav", "a.wav.mp3"]


def test_results_of_an_earlier_command_are_not_read(tmp_path: Path) -> None:
    root = touched(tmp_path, "a.wav", "r1/a.denoised.wav", "r1/x/b.masks/b@0.000s.png", "r1/x/b.wav")
    (root / "r1/.birdlab/x").mkdir(parents=True)
    (root / "r1/.birdlab/a.wav.json").write_text('{"outputs": {"denoised": "a.denoised.wav"}}')
    (root / "r1/.birdlab/x/b.wav.json").write_text('{"outputs": {"masks": "x/b.masks"}}')
    (root / "r1/.birdlab/other.json").write_text("[")
    # b.wav is a recording that lies among results, as where these were asked for beside the recordings.
    assert places(collect([root], root / "r2")) == ["a", "r1/x/b"]
    assert places(collect([root / "r1"], root / "r2")) == ["x/b"]


def test_linked_folders_are_searched_once(tmp_path: Path) -> None:
    root = touched(tmp_path, "disk/c.wav", "in/a.wav", "in/site/b.wav")
    (root / "in/linked").symlink_to(root / "disk")
    (root / "in/again").symlink_to(root / "in/site")
    (root / "in/site/round").symlink_to(root / "in")
    (root / "disk/back").symlink_to(root / "disk")
    assert places(collect([root / "in"], root / "out")) == ["a", "linked/c", "site/b"]


def test_one_file_has_no_folder(tmp_path: Path) -> None:
    root = touched(tmp_path, "x/strange.name")
    assert places(collect([root / "x/strange.name"], tmp_path)) == ["strange"]


def test_a_file_given_twice_counts_once(tmp_path: Path) -> None:
    root = touched(tmp_path, "x/a.wav")
    assert len(collect([root / "x", root / "x/a.wav", root / "x/../x"], tmp_path / "out")) == 1


def test_an_output_folder_among_the_inputs_is_not_read(tmp_path: Path) -> None:
    root = touched(tmp_path, "a.wav", "out/a.denoised.flac", "out/x/b.wav", "output/c.wav")
    assert places(collect([root], root / "out")) == ["a", "output/c"]
    with pytest.raises(BirdlabError, match=r"--output .* is an input, too"):
        collect([root], root)


def test_links_keep_their_names(tmp_path: Path) -> None:
    root = touched(tmp_path, "store/5f2.wav")
    (root / "in").mkdir()
    (root / "in/a.wav").symlink_to(root / "store/5f2.wav")
    (root / "in/broken.wav").symlink_to(root / "nowhere.wav")
    assert places(collect([root / "in"], root / "out")) == ["a", "broken"]
    assert places(collect([root / "in/a.wav"], root / "out")) == ["a"]


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match=r"xxx\.wav: there is no such file or folder"):
        collect([tmp_path / f"{'x' * 300}.wav"], tmp_path / "out")
    with pytest.raises(BirdlabError, match="nowhere: there is no such file or folder"):
        collect([tmp_path / "nowhere"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BirdlabError, match="empty: nothing to predict there"):
        collect([tmp_path / "empty"], tmp_path / "out")
