import importlib
import json
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from birdlab.data.cache import Arrays, cached, default_directory
from birdlab.data.resizing import resize_image, resize_mask
from birdlab.data.source import Source
from birdlab.errors import BirdlabError


def build(source: Source, directory: Path, workers: int = 1) -> Arrays:
    torch.set_num_threads(1)
    return cached(source, "train", source.splits()["train"], directory, workers)


def folders(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.is_dir())


@given(
    size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    target=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_resizing_is_pillows(size: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    columns_first = target[::-1]
    bilinear = np.asarray(Image.fromarray(image).resize(columns_first, Image.Resampling.BILINEAR))
    nearest = np.asarray(Image.fromarray(image).resize(columns_first, Image.Resampling.NEAREST))
    # Both compute in fixed point and may round a half differently.
    assert np.abs(resize_image(image, target).astype(int) - bilinear).max() <= 1
    # Pillow adds up floating-point steps: where a centre falls on the edge of two pixels, it may take either.
    rows, columns = (
        (2 * np.arange(out) + 1) * n % (2 * out) != 0 for n, out in zip(size, target, strict=True)
    )
    clear = np.ix_(rows, columns)
    np.testing.assert_array_equal(resize_mask(image, target)[clear], nearest[clear])


def test_shrinking_sees_every_row() -> None:
    image = np.zeros((1024, 128), np.uint8)
    image[3::8] = 240  # one row in eight, which interpolation between two neighbours would miss
    interior = resize_image(image, (128, 128))[1:-1]
    assert interior.min() >= 15
    assert abs(float(interior.mean()) - 240 / 8) < 1


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    mask = np.array([[0, 1, 2, 3, 4, 5]], np.uint8)
    np.testing.assert_array_equal(resize_mask(mask, (1, 2)), [[1, 4]])  # centres at 1.5 and 4.5


def test_holds_the_resized_samples_in_order(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", train=11)
    source = toy.ToySource(root=tmp_path / "data")
    samples = source.splits()["train"]
    arrays = build(source, tmp_path / "cache")
    assert arrays.ids == tuple(sample.id for sample in samples)
    assert arrays["images"].shape == arrays["masks"].shape == (11, 16, 16)
    assert arrays["images"].dtype == arrays["masks"].dtype == np.uint8
    for row, sample in enumerate(samples):
        image, mask = source.read(sample)
        np.testing.assert_array_equal(arrays["images"][row], resize_image(image, (16, 16)))
        np.testing.assert_array_equal(arrays["masks"][row], resize_mask(mask, (16, 16)))


def test_decodes_once(toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.toy_files(tmp_path / "data", train=3)
    source = toy.ToySource(root=tmp_path / "data")
    first = build(source, tmp_path / "cache")
    monkeypatch.setattr(toy.ToySource, "read", lambda *_: pytest.fail("decoded twice"))
    second = build(source, tmp_path / "cache")
    np.testing.assert_array_equal(first["images"], second["images"])


def test_a_change_of_anything_is_another_cache(toy: ModuleType, tmp_path: Path) -> None:
    root = tmp_path / "data"
    toy.toy_files(root, train=3)
    file = root / "train" / "001.npy"
    seen = []

    def now(**settings: object) -> Path:
        seen.append(build(toy.ToySource(root=root, **settings), tmp_path / "cache").directory)
        return seen[-1]

    unchanged = now()
    now(gain=2)
    now(image_size=(8, 16))
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    now()
    content = np.load(file)
    np.save(file, content[:-1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # the old time, another size
    now()
    file.rename(file.with_name("009.npy"))
    now()
    assert len(set(seen)) == 6
    file.with_name("009.npy").rename(file)
    np.save(file, content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert now() == unchanged
    # How many are taken is said by the samples, so a cap that leaves them all finds the same cache.
    assert now(n_train=3) == unchanged


def test_pickles_by_name(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", train=20)
    arrays = build(toy.ToySource(root=tmp_path / "data"), tmp_path / "cache")
    pickled = pickle.dumps(arrays)
    assert len(pickled) < 1000 < arrays["images"].nbytes
    copy = pickle.loads(pickled)
    np.testing.assert_array_equal(copy["images"], arrays["images"])
    assert copy.ids == arrays.ids


def test_released_pages_read_the_same(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", train=5)
    arrays = build(toy.ToySource(root=tmp_path / "data"), tmp_path / "cache")
    before = np.array(arrays["images"])
    arrays.release()
    np.testing.assert_array_equal(arrays["images"], before)


def test_a_killed_build_leaves_nothing_that_looks_finished(toy: ModuleType, tmp_path: Path) -> None:
    root, cache = tmp_path / "data", tmp_path / "cache"
    toy.toy_files(root, train=12)
    source = toy.ToySource(root=root)
    (root / "wait").touch()
    process = multiprocessing.get_context("fork").Process(target=build, args=(source, cache))
    process.start()
    deadline = time.monotonic() + 60
    while not (root / "waiting").exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (abandoned,) = folders(cache)
    assert abandoned.endswith(".partial")

    (root / "wait").unlink()
    # Another data set finds the remains of the first, and removes them.
    other = build(toy.ToySource(root=root, gain=3), cache)
    assert folders(cache) == [other.directory.name]
    arrays = build(source, cache)
    assert len(arrays) == 12
    assert arrays.directory.name + ".partial" == abandoned
    np.testing.assert_array_equal(
        arrays["images"][11], resize_image(source.read(source.splits()["train"][11])[0], (16, 16))
    )


def test_a_build_in_progress_is_not_swept(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", train=1)
    cache = tmp_path / "cache"
    foreign = cache / "train-0123.partial"
    foreign.mkdir(parents=True)
    with FileLock(cache / ".train-0123.lock"):
        build(toy.ToySource(root=tmp_path / "data"), cache)
        assert foreign.is_dir()
    build(toy.ToySource(root=tmp_path / "data", gain=2), cache)
    assert not foreign.exists()


def _build_and_report(
    source: Source, directory: Path, together: Any, results: "multiprocessing.Queue[tuple[str, int]]"
) -> None:
    together.wait()
    arrays = build(source, directory)
    results.put((arrays.directory.name, int(np.sum(arrays["images"], dtype=np.int64))))


def test_ten_processes_at_once_end_with_one_copy(toy: ModuleType, tmp_path: Path) -> None:
    root, cache = tmp_path / "data", tmp_path / "cache"
    toy.toy_files(root, train=30)
    (root / "wait").touch()  # so that nine come while the first is at it
    source = toy.ToySource(root=root)
    fork = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[tuple[str, int]] = fork.Queue()
    together = fork.Barrier(11)
    processes = [
        fork.Process(target=_build_and_report, args=(source, cache, together, results)) for _ in range(10)
    ]
    for process in processes:
        process.start()
    together.wait()
    time.sleep(0.3)
    (root / "wait").unlink()
    reports = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len((root / "reads").read_text().splitlines()) == 30
    arrays = build(source, cache)
    assert reports == {(arrays.directory.name, int(np.sum(arrays["images"], dtype=np.int64)))}
    assert folders(cache) == [arrays.directory.name]


def test_an_unreadable_sample_is_named_and_nothing_stays_locked(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", train=10)
    broken = tmp_path / "data" / "train" / "009.npy"
    good = broken.read_bytes()
    broken.write_bytes(b"\x93NUMPY")
    source = toy.ToySource(root=tmp_path / "data")
    with pytest.raises(BirdlabError, match=r"009\.npy: not an image"):
        build(source, tmp_path / "cache")
    assert folders(tmp_path / "cache") == []
    broken.write_bytes(good)
    assert len(build(source, tmp_path / "cache")) == 10


def test_a_missing_file_is_named(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", train=2)
    source = toy.ToySource(root=tmp_path / "data")
    samples = source.splits()["train"]
    (tmp_path / "data" / "train" / "001.npy").unlink()
    with pytest.raises(BirdlabError, match=r"001\.npy"):
        cached(source, "train", samples, tmp_path / "cache", 1)


def test_a_file_that_changes_meanwhile_is_an_error(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.toy_files(tmp_path / "data", train=2)
    read = toy.ToySource.read

    def touching_read(source: Source, sample: object) -> object:
        os.utime(sample.files[0], ns=(0, 0))
        return read(source, sample)

    monkeypatch.setattr(toy.ToySource, "read", touching_read)
    with pytest.raises(BirdlabError, match="changed while"):
        build(toy.ToySource(root=tmp_path / "data"), tmp_path / "cache")
    assert folders(tmp_path / "cache") == []


def test_a_full_disk_is_explained(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", train=200)
    source = toy.ToySource(root=tmp_path / "data")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(BirdlabError, match=r"Cannot write .* MB .*BIRDLAB_CACHE"):
            build(source, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert folders(tmp_path / "cache") == []


def test_a_file_where_the_folder_should_be_is_explained(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", train=1)
    (tmp_path / "cache").touch()
    with pytest.raises(BirdlabError, match=r"cache: File exists.*loader\.cache_dir"):
        build(toy.ToySource(root=tmp_path / "data"), tmp_path / "cache")


@pytest.mark.parametrize("damage", ["truncated", "missing", "manifest"])
def test_a_damaged_cache_is_named(toy: ModuleType, tmp_path: Path, damage: str) -> None:
    toy.toy_files(tmp_path / "data", train=3)
    source = toy.ToySource(root=tmp_path / "data")
    folder = build(source, tmp_path / "cache").directory
    if damage == "truncated":
        (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes()[:-1])
    elif damage == "missing":
        (folder / "masks.npy").unlink()
    else:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"ids": manifest["ids"][:2]}))
    with pytest.raises(BirdlabError, match=f"{folder.name} is damaged.*Delete"):
        build(source, tmp_path / "cache")


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BIRDLAB_CACHE", str(tmp_path))
    assert default_directory() == tmp_path
    monkeypatch.delenv("BIRDLAB_CACHE")
    assert default_directory().name == "birdlab"


def test_threads_build_the_same_as_one(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", train=50)
    source = toy.ToySource(root=tmp_path / "data")
    alone, together = build(source, tmp_path / "one"), build(source, tmp_path / "two", workers=4)
    np.testing.assert_array_equal(alone["images"], together["images"])
    np.testing.assert_array_equal(alone["masks"], together["masks"])
    assert alone.ids == together.ids


def test_building_leaves_torchs_threads_alone(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", train=5)
    source = toy.ToySource(root=tmp_path / "data")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        cached(source, "train", source.splits()["train"], tmp_path / "cache", 2)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_failure_stops_reading(toy: ModuleType, tmp_path: Path) -> None:
    toy.toy_files(tmp_path / "data", train=100)
    (tmp_path / "data" / "train" / "005.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(BirdlabError, match=r"^[^\n]*005\.npy: not an image\.$"):
        build(toy.ToySource(root=tmp_path / "data"), tmp_path / "cache", workers=4)
    assert len((tmp_path / "data" / "reads").read_text().splitlines()) < 40
    assert folders(tmp_path / "cache") == []


def test_a_data_set_of_ones_own_is_decoded_anew_when_its_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
from dataclasses import dataclass
import numpy as np
from birdlab.data.source import SPLITS, Sample, SegmentationSource


@dataclass(frozen=True, kw_only=True)
class Even(SegmentationSource):
    def splits(self):
        return {split: [Sample(id=split, group=split)] for split in SPLITS}

    def read(self, sample):
        return np.full((4, 4), GREY, np.uint8), np.zeros((4, 4), np.uint8)
"""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = []
    for grey in ("17", "34"):
        (tmp_path / "even_data_set.py").write_text(code.replace("GREY", grey))
        sys.modules.pop("even_data_set", None)
        importlib.invalidate_caches()
        source = importlib.import_module("even_data_set").Even(image_size=(4, 4))
        found.append(int(build(source, tmp_path / "cache")["images"][0, 0, 0]))
    sys.modules.pop("even_data_set")
    assert found == [17, 34]


def test_settings_of_ones_own_decide_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
from dataclasses import dataclass
import numpy as np
from birdlab.data.source import SPLITS, Sample, SegmentationSource


@dataclass(frozen=True, kw_only=True)
class Grey(SegmentationSource):
    grey: int = 17

    def splits(self):
        return {split: [Sample(id=split, group=split)] for split in SPLITS}

    def read(self, sample):
        return np.full((4, 4), self.grey, np.uint8), np.zeros((4, 4), np.uint8)

    def settings(self):
        return "those that are shipped"
"""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "grey_data_set.py").write_text(code)
    kind = importlib.import_module("grey_data_set").Grey
    found = [
        int(build(kind(image_size=(4, 4), grey=grey), tmp_path / "cache")["images"][0, 0, 0])
        for grey in (17, 34)
    ]
    sys.modules.pop("grey_data_set")
    assert found == [17, 34]
