"""The embedded data set on disk: written once, whole, and read as any folder of the official layout."""

import json
import multiprocessing
import resource
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from birdlab.audio.io import info
from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.boxes import read_boxes
from birdlab.data.folders import ImageFolders
from birdlab.data.splits import check_no_leaks
from birdlab.data.synthesis import production, writing
from birdlab.data.synthesis.scene import Recipe, scene
from birdlab.data.synthetic import Synthetic
from birdlab.errors import BirdlabError


def small(root: Path, **settings: object) -> Synthetic:
    return replace(Synthetic(root=root, size={"train": 3, "val": 2, "test": 2}, window_s=1.0), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    made = small(tmp_path_factory.mktemp("synthetic"))
    made.splits()
    return made


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Modification time and bytes of every scene's files."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.glob("*/*/*")
    }


def test_facts_are_the_length_and_the_level_of_the_loudest_event(source: Synthetic) -> None:
    for index, sample in enumerate(source.splits()["test"]):
        events = scene(Recipe(duration_s=1.0), seed=0, split="test", index=index).events
        loudest = (
            {"snr_db": pytest.approx(max(event.snr_db for event in events), abs=0.006)} if events else {}
        )
        assert source.facts(sample) == {"duration_s": 1.0} | loudest


def test_files_are_the_scene_in_the_official_layout(source: Synthetic) -> None:
    splits = source.splits()
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 3, "val": 2, "test": 2}
    assert len(contents(source.folder)) == 7 * 5
    for split, folder in (("train", "Training"), ("val", "Valid"), ("test", "Test")):
        for index, sample in enumerate(splits[split]):  # type: ignore[index]
            expected = scene(Recipe(duration_s=1.0), seed=0, split=split, index=index)  # type: ignore[arg-type]
            assert sample.files[0] == source.folder / folder / "Images" / f"{sample.id}.png"
            assert np.array_equal(source.audio(sample), expected.audio)
            assert np.abs(source.clean(sample) - expected.clean).max() <= 0.51 / 32768
            image, mask = source.read(sample)
            assert image.shape == (1024, 499)
            assert np.array_equal(image[511:], expected.image)
            assert np.array_equal(mask[511:], expected.mask)
            official = Spectrogram(sides="two").image(torch.from_numpy(source.audio(sample))).numpy()
            assert np.abs(image.astype(int) - official).max() <= 1
            assert np.array_equal(mask[:511], mask[512:1023][::-1])


def test_the_folder_reader_reads_them(source: Synthetic) -> None:
    folders = ImageFolders(root=source.folder)
    ours, theirs = source.splits(), folders.splits()
    assert ours == theirs
    for sample in theirs["val"]:
        for one, other in zip(source.read(sample), folders.read(sample), strict=True):
            assert np.array_equal(one, other)


def test_one_sided_files_are_the_upper_half(source: Synthetic) -> None:
    one_sided = replace(source, sides="one")
    assert one_sided.folder != source.folder
    one, two = one_sided.splits()["val"][0], source.splits()["val"][0]
    for half, whole in zip(one_sided.read(one), source.read(two), strict=True):
        assert np.array_equal(half, whole[511:])


def test_labels_are_the_events(source: Synthetic) -> None:
    for index, sample in enumerate(source.splits()["train"]):
        events = scene(Recipe(duration_s=1.0), seed=0, split="train", index=index).events
        path = sample.files[0].parents[1] / "Labels" / f"{sample.id}.txt"
        boxes = read_boxes(path)
        assert [box.label for box in boxes] == [event.voice for event in events]
        assert [box.low_hz for box in boxes] == pytest.approx([event.low_hz for event in events], abs=0.1)
        assert [box.end_s for box in boxes] == pytest.approx([event.end_s for event in events], abs=1e-3)


def test_parameters_stand_beside_the_scenes(source: Synthetic) -> None:
    parameters = json.loads((source.folder / "parameters.json").read_text())
    assert parameters["version"] == writing.VERSION
    assert parameters["recipe"]["duration_s"] == 1.0
    assert parameters["recipe"]["snr_db"] == [-10.0, 20.0]
    assert {voice["name"] for voice in parameters["voices"]} >= {"whistle", "trill", "coo"}


def test_other_parameters_never_meet(source: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {
        source.folder,
        replace(source, seed=1).folder,
        replace(source, snr_db=(0.0, 5.0)).folder,
        replace(source, window_s=2.0).folder,
    }
    monkeypatch.setattr(writing, "VERSION", writing.VERSION + 1)
    folders.add(replace(source).folder)
    assert len(folders) == 5
    assert replace(source, n_train=1).folder in folders
    assert replace(source, snr_db=[-10, 20], window_s=1).folder in folders
    assert replace(source, size={"train": 9}).folder in folders


def test_scenes_of_two_splits_share_no_draw_and_their_copies_are_a_leak(source: Synthetic) -> None:
    """Siblings would be scenes of one seed: each scene has a seed and a group of its own."""
    splits = source.splits()
    images = {source.read(sample)[0].tobytes() for samples in splits.values() for sample in samples}
    assert len(images) == sum(map(len, splits.values()))
    # The same scene with another level would be another sample of the same group.
    copied = splits["train"][0]
    splits["test"].append(replace(copied, id=f"{copied.id}_quiet"))
    with pytest.raises(BirdlabError, match=r"stands in train .* and test"):
        check_no_leaks(splits)


def test_caps_take_the_first_and_write_no_more(tmp_path: Path, source: Synthetic) -> None:
    capped = small(tmp_path, n_train=1, n_val=1, n_test=1)
    assert [len(samples) for samples in capped.splits().values()] == [1, 1, 1]
    before = contents(capped.folder)
    assert len(before) == 3 * 5
    full = small(tmp_path)
    full.splits()
    after = contents(full.folder)
    assert len(after) == 7 * 5
    assert all(after[name] == before[name] for name in before)
    assert {name: data for name, (_, data) in after.items()} == {
        name: data for name, (_, data) in contents(source.folder).items()
    }


def test_nothing_is_written_twice(source: Synthetic) -> None:
    before = contents(source.folder)
    replace(source).splits()
    assert contents(source.folder) == before


def test_a_killed_generation_goes_on(
    tmp_path: Path, source: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    write_image, written = writing.write_image, []

    def dying(path: Path, image: np.ndarray) -> None:
        written.append(path)
        if len(written) == 6:  # the image of the third scene
            (path.parent / f".{path.stem}.tmp.png").write_bytes(b"half")
            raise Killed
        write_image(path, image)

    monkeypatch.setattr(writing, "write_image", dying)
    with pytest.raises(Killed):
        small(tmp_path).splits()
    monkeypatch.undo()
    images = small(tmp_path).folder / "Training" / "Images"
    assert len(list(images.glob("[!.]*"))) == 2
    finished = contents(images.parents[1])

    small(tmp_path).splits()
    after = contents(images.parents[1])
    assert {name: data for name, (_, data) in after.items()} == {
        name: data for name, (_, data) in contents(source.folder).items()
    }
    assert all(
        after[name] == entry for name, entry in finished.items() if "00002" not in name and "/." not in name
    )


def test_processes_that_start_at_once_write_once(tmp_path: Path, source: Synthetic) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=small(tmp_path).splits) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert {name: data for name, (_, data) in contents(small(tmp_path).folder).items()} == {
        name: data for name, (_, data) in contents(source.folder).items()
    }


def test_processes_make_what_one_makes(
    tmp_path: Path, source: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(production, "_START_S", 1e-6)
    monkeypatch.setattr(production, "cpu_count", lambda: 2)
    small(tmp_path).splits()
    assert {name: data for name, (_, data) in contents(small(tmp_path).folder).items()} == {
        name: data for name, (_, data) in contents(source.folder).items()
    }


def test_cost_is_told_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small(tmp_path).splits()
    told = capsys.readouterr().err
    assert "Writing 7 synthetic scenes" in told
    assert " MB, about " in told
    small(tmp_path).splits()
    assert not capsys.readouterr().err


def test_too_little_room_is_refused_before_it_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    with pytest.raises(BirdlabError, match=r"need \d+ MB, and 1 MB are free.*data\.n_train"):
        small(tmp_path).splits()


@pytest.mark.parametrize("limit", [1_000, 50_000])  # of the first file and of a later one
def test_a_disk_that_fills_meanwhile_is_explained(tmp_path: Path, limit: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(BirdlabError, match=r"synthetic scenes cannot be written.*Make room"):
            small(tmp_path).splits()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sum(map(len, small(tmp_path).splits().values())) == 7


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BirdlabError, match=r"file.*data\.root"):
        small(tmp_path / "file").splits()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"size": {"training": 3}}, "data.size"),
        ({"size": {"train": -1}}, "data.size"),
        ({"window_s": None}, "data.window_s"),
        ({"window_s": 0.01}, "data.window_s"),
        ({"hop_s": 1.0}, "data.hop_s"),
        ({"sample_rate": 44_100}, "data.sample_rate"),
        ({"snr_db": (5, -5)}, "data.snr_db"),
    ],
)
def test_mistaken_settings_name_their_key(tmp_path: Path, settings: dict[str, object], named: str) -> None:
    with pytest.raises(BirdlabError, match=named):
        small(tmp_path, **settings)


def test_folds_share_out_training_and_validation(source: Synthetic) -> None:
    parts = [replace(source, folds=5, fold=fold).splits() for fold in range(5)]
    validated = [sample.id for part in parts for sample in part["val"]]
    assert len(validated) == len(set(validated)) == 5
    assert all(len(part["train"]) == 4 and len(part["test"]) == 2 for part in parts)


def test_audio_files_are_16_bit_mono_of_the_scene(source: Synthetic) -> None:
    path = source.folder / "Valid" / "Raw_audios" / "val_00000.wav"
    assert (info(path).sample_rate, info(path).channels, info(path).frames) == (32_000, 1, 32_000)
