"""Decode once: every sample of a split, resized and stored as uint8 arrays that epochs memory-map.

A cache is a folder named by the content it was made from, ``<split>-<key>/`` with ``images.npy``,
``masks.npy`` and ``manifest.json``. It appears by one rename, so a folder of that name is always complete;
a change of a file or a setting gives another name. Deleting any of it is safe: it is made again.
"""

import hashlib
import json
import mmap
import os
import shutil
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional as F

import birdlab
from birdlab.data.source import Image, Mask, Sample, Source, Split
from birdlab.errors import BirdlabError

VERSION = 1
"""Of the cache's layout and of the resizing: raised whenever old caches must not be read any more."""


@dataclass(frozen=True)
class Arrays:
    """The samples of one split at network size, in the order of ``ids``.

    Attributes:
        directory: the cache folder they are mapped from.
        ids: one for each sample.
        images: uint8 [N, F, T], mapped read-only.
        masks: uint8 [N, F, T] class indices, mapped read-only.
    """

    directory: Path
    ids: tuple[str, ...]
    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]

    @classmethod
    def open(cls, directory: Path) -> "Arrays":
        """Map the finished cache in ``directory``.

        Raises:
            BirdlabError: if its files are damaged.
        """
        try:
            manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
            images, masks = (
                np.load(directory / name, mmap_mode="r", allow_pickle=False)
                for name in ("images.npy", "masks.npy")
            )
            if not images.shape == masks.shape == (len(manifest["ids"]), *manifest["image_size"]):
                raise ValueError(f"arrays of shape {images.shape} and {masks.shape}")
        except (OSError, ValueError, KeyError) as error:
            raise BirdlabError(
                f"The cache {directory} is damaged ({error}). Delete that folder: it will be made again."
            ) from error
        return cls(directory, tuple(manifest["ids"]), images, masks)

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickling a memory map copies what it maps; another process had better map it again.
        return Arrays.open, (self.directory,)

    def release(self) -> None:
        """Unmap the pages read so far; they stay in the operating system's cache.

        Without this the resident memory of a process grows to the size of the data set over an epoch, which
        says nothing about what it needs but trips whoever watches or limits it.
        """
        for array in (self.images, self.masks):
            base: object = array.base
            if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                base.madvise(mmap.MADV_DONTNEED)


def default_directory() -> Path:
    """Where caches are kept: ``$BIRDLAB_CACHE``, or else the user's cache folder."""
    given = os.environ.get("BIRDLAB_CACHE")
    return Path(given).expanduser() if given else user_cache_path("birdlab")


def cached(source: Source, split: Split, samples: Sequence[Sample], directory: Path, workers: int) -> Arrays:
    """The samples at network size: opened if they were decoded before, otherwise decoded now.

    Any number of processes may ask at once; one decodes, and the others wait for it. One that is killed
    leaves its lock open and a ``.partial`` folder, which the next one removes.

    Args:
        source: reads the samples; its ``image_size`` is the size they are stored at.
        split: names the cache and the progress bar.
        samples: at least one, in the order they are to be stored.
        directory: parent of all cache folders.
        workers: decode in so many threads.

    Raises:
        BirdlabError: for a sample that cannot be read, or a folder that cannot be written.
    """
    key = _key(source, samples)
    name = f"{split}-{key[:24]}"
    finished = directory / name
    if finished.is_dir():
        return Arrays.open(finished)
    with _explained(directory, samples, source):
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock_path(directory, name)):
            if not finished.is_dir():
                _sweep(directory)
                _build(finished, key, source, split, samples, workers)
    return Arrays.open(finished)


def resize_image(image: Image, size: tuple[int, int]) -> Image:
    """Resize bilinearly with antialiasing, as Pillow (and so torchvision on its images) does.

    Every input pixel has its weight in the result. Interpolation between the two nearest pixels alone, as in
    OpenCV's ``INTER_LINEAR``, would skip three of four rows when 1024 shrink to 128.
    """
    resized = F.interpolate(
        torch.from_numpy(np.ascontiguousarray(image))[None, None], size=size, mode="bilinear", antialias=True
    )
    return resized[0, 0].numpy()


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize to the nearest pixel, so that class indices stay class indices.

    Output pixel i takes the input pixel under its centre, floor((i + 0.5) * input / output), as Pillow does
    (``nearest-exact`` in torch; its ``nearest`` takes the corner and so shifts the mask by half a pixel).
    """
    rows, columns = (
        (2 * np.arange(out) + 1) * n // (2 * out) for n, out in zip(mask.shape, size, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def _key(source: Source, samples: Sequence[Sample]) -> str:
    """The content address: everything that decides what is stored, and nothing that doesn't."""
    # The caps say how many samples are taken, which the samples themselves say already.
    settings = replace(source, n_train=None, n_val=None, n_test=None)
    digest = hashlib.sha256()
    for line in (
        f"{VERSION} {birdlab.__version__}",
        f"{type(source).__module__} {settings!r}",
        *_foreign_code(source),
        *(json.dumps([sample.id, *map(_stamp, sample.files)]) for sample in samples),
    ):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _foreign_code(source: Source) -> Iterator[str]:
    """The code of a data set that birdlab doesn't ship: it has no version, and changes while it is written."""
    for kind in type(source).__mro__:
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if file and kind.__module__.split(".")[0] not in {"birdlab", "abc"}:
            yield hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _stamp(file: Path) -> tuple[str, int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise BirdlabError(f"{file}: cannot be read ({error.strerror}).") from error
    return str(file.absolute()), status.st_size, status.st_mtime_ns


def _lock_path(directory: Path, name: str) -> Path:
    return directory / f".{name}.lock"


def _sweep(directory: Path) -> None:
    """Remove what killed builds left behind: unfinished folders whose lock nobody holds."""
    for partial in directory.glob("*.partial"):
        try:
            with FileLock(_lock_path(directory, partial.stem), timeout=0):
                shutil.rmtree(partial, ignore_errors=True)
        except Timeout:
            pass  # somebody is writing it


def _build(
    finished: Path, key: str, source: Source, split: Split, samples: Sequence[Sample], workers: int
) -> None:
    partial = finished.with_name(f"{finished.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _write(partial, source, split, samples, workers)
        if _key(source, samples) != key:
            raise BirdlabError(
                f"Files of the {split} split changed while they were being read. "
                "Let whatever writes them finish, and start again."
            )
        _sync(partial)
        partial.rename(finished)
        _sync(finished.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(partial: Path, source: Source, split: Split, samples: Sequence[Sample], workers: int) -> None:
    """Fill the folder ``partial``, sequentially, with memory for a few samples only."""
    frequency, time = source.image_size
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(samples), frequency, time)}
    manifest = {"version": VERSION, "image_size": [frequency, time], "ids": [sample.id for sample in samples]}
    with (
        (partial / "images.npy").open("wb") as images,
        (partial / "masks.npy").open("wb") as masks,
        (partial / "manifest.json").open("w", encoding="utf-8") as text,
        _progress() as progress,
    ):
        bar = progress.add_task(f"Reading the {split} split, once", total=len(samples))
        json.dump(manifest, text)
        for file in (images, masks):
            np.lib.format.write_array_header_1_0(file, header)
        for image, mask in _decoded(source, samples, workers):
            images.write(image.tobytes())
            masks.write(mask.tobytes())
            progress.advance(bar)
        for written in (images, masks, text):
            written.flush()
            os.fsync(written.fileno())


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _decoded(source: Source, samples: Sequence[Sample], workers: int) -> Iterator[tuple[Image, Mask]]:
    """Resized images and masks, in order.

    Threads do: decoding and resizing run outside of Python's lock, and a process would have to import torch
    first, which takes as long as reading a hundred images and more memory than all of this.
    """
    threads = torch.get_num_threads()
    # Or torch would start as many threads again for every one of ours.
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        # Submitting a few ahead, rather than all, bounds the results that wait for a slow one before them.
        waiting: deque[Future[tuple[Image, Mask]]] = deque()
        for sample in samples:
            waiting.append(pool.submit(_decode, source, sample))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _decode(source: Source, sample: Sample) -> tuple[Image, Mask]:
    try:
        image, mask = source.read(sample)
    except OSError as error:
        raise BirdlabError(f"{sample.id}: cannot be read ({error}).") from error
    return resize_image(image, source.image_size), resize_mask(mask, source.image_size)


@contextmanager
def _explained(directory: Path, samples: Sequence[Sample], source: Source) -> Iterator[None]:
    """Say what to do about a full disk or a folder that cannot be written."""
    try:
        yield
    except OSError as error:
        needed = 2 * len(samples) * source.image_size[0] * source.image_size[1] / 1e6
        raise BirdlabError(
            f"Cannot write {needed:.0f} MB of decoded samples below {directory}: {error.strerror}. "
            "Make room there, or choose another folder with loader.cache_dir or $BIRDLAB_CACHE."
        ) from error


def _sync(directory: Path) -> None:
    """Make new names in a folder last through a power cut; Windows cannot open folders."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
