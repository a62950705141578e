"""Decode once: every sample, as the network gets it, in arrays that epochs memory-map.

A cache is a folder named by the content it was made from, ``<name>-<key>/``, with one ``.npy`` file for
each field of the source and ``manifest.json``. It appears by one rename, so a folder of that name is always
complete; a change of a file or a setting gives another name. Deleting any of it is safe: it is made again.
"""

import hashlib
import inspect
import json
import math
import mmap
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from platformdirs import user_cache_path

import birdlab
from birdlab.ahead import ahead
from birdlab.bars import counting
from birdlab.data.source import Decoded, Sample, Source
from birdlab.data.threads import in_spite_of_others
from birdlab.errors import BirdlabError

VERSION = 2
"""Of the cache's layout and of the decoding: raised whenever old caches must not be read any more."""


@dataclass(frozen=True)
class Arrays:
    """Decoded samples, in the order of ``ids``: ``arrays["images"]`` is [N, ...], mapped read-only.

    Attributes:
        directory: the cache folder they are mapped from.
        ids: one for each sample.
        fields: the arrays by name.
    """

    directory: Path
    ids: tuple[str, ...]
    fields: Mapping[str, NDArray[Any]]

    @classmethod
    def open(cls, directory: Path) -> "Arrays":
        """Map the finished cache in ``directory``.

        Raises:
            BirdlabError: if its files are damaged.
        """
        try:
            manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
            fields = {
                name: np.load(_file(directory, name), mmap_mode="r", allow_pickle=False)
                for name in manifest["fields"]
            }
            for name, array in fields.items():
                if array.shape != (len(manifest["ids"]), *manifest["fields"][name]):
                    raise ValueError(f"{name} of shape {array.shape}")
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise BirdlabError(
                f"The cache {directory} is damaged ({error}). Delete that folder: it will be made again."
            ) from error
        return cls(directory, tuple(manifest["ids"]), fields)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.fields[name]

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
        for array in self.fields.values():
            base: object = array.base
            if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                base.madvise(mmap.MADV_DONTNEED)


def default_directory() -> Path:
    """Where caches are kept: ``$BIRDLAB_CACHE``, or else the user's cache folder."""
    given = os.environ.get("BIRDLAB_CACHE")
    return Path(given).expanduser() if given else user_cache_path("birdlab")


def cached(source: Source, name: str, samples: Sequence[Sample], directory: Path, workers: int) -> Arrays:
    """The samples decoded: opened if they were before, otherwise decoded now.

    Any number of processes may ask at once; one decodes, and the others wait for it. One that is killed
    leaves its lock open and a ``.partial`` folder, which the next one removes.

    Args:
        source: decodes the samples into its ``fields``.
        name: of the cache and in the progress bar, e.g. ``train``.
        samples: at least one, in the order they are to be stored.
        directory: parent of all cache folders.
        workers: decode in so many threads.

    Raises:
        BirdlabError: for a sample that cannot be read, or a folder that cannot be written.
    """
    key = _key(source, samples)
    folder = f"{name}-{key[:24]}"
    finished = directory / folder
    if finished.is_dir():
        return Arrays.open(finished)
    with _explained(directory, samples, source):
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock_path(directory, folder)):
            if not finished.is_dir():
                _sweep(directory)
                _build(finished, key, source, name, samples, workers)
    return Arrays.open(finished)


def _key(source: Source, samples: Sequence[Sample]) -> str:
    """The content address: everything that decides what is stored, and nothing that doesn't."""
    digest = hashlib.sha256()
    for line in (
        f"{VERSION} {birdlab.__version__}",
        f"{type(source).__module__} {source.settings()}",
        *_foreign(source),
        *(json.dumps([sample.id, sample.content(), *map(stamp, sample.files)]) for sample in samples),
    ):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _foreign(source: Source) -> Iterator[str]:
    """What a data set that birdlab doesn't ship adds: code, which has no version, and settings of its own."""
    every = (source, *getattr(source, "parts", {}).values())
    for one, kind in ((each, kind) for each in every for kind in type(each).__mro__):
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if file and kind.__module__.split(".")[0] not in {"birdlab", "abc"}:
            yield hashlib.sha256(Path(file).read_bytes()).hexdigest()
            settings = {each.name for each in fields(one)} - {each.name for each in fields(Source)}
            own = sorted(settings & inspect.get_annotations(kind).keys())
            yield repr([(name, getattr(one, name)) for name in own])


def stamp(file: Path) -> tuple[str, int, int]:
    """What tells one version of a file from another: its absolute path, size, and time of change in ns.

    Raises:
        BirdlabError: if there is no such file.
    """
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
    finished: Path, key: str, source: Source, name: str, samples: Sequence[Sample], workers: int
) -> None:
    partial = finished.with_name(f"{finished.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _write(partial, source, name, samples, workers)
        if _key(source, samples) != key:
            raise BirdlabError(
                f"Files of the {name} split changed while they were being read. "
                "Let whatever writes them finish, and start again."
            )
        _sync(partial)
        partial.rename(finished)
        _sync(finished.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(partial: Path, source: Source, name: str, samples: Sequence[Sample], workers: int) -> None:
    """Fill the folder ``partial``, sequentially, with memory for a few samples only."""
    fields = source.fields
    manifest = {
        "version": VERSION,
        "fields": {field: list(fields[field].shape) for field in fields},
        "ids": [sample.id for sample in samples],
    }
    with ExitStack() as stack:
        files = {field: stack.enter_context(_file(partial, field).open("wb")) for field in fields}
        text = stack.enter_context((partial / "manifest.json").open("w", encoding="utf-8"))
        progress = stack.enter_context(counting())
        bar = progress.add_task(f"Reading the {name} split, once", total=len(samples))
        json.dump(manifest, text)
        for field, file in files.items():
            header = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(fields[field].dtype)),
                "fortran_order": False,
                "shape": (len(samples), *fields[field].shape),
            }
            np.lib.format.write_array_header_1_0(file, header)
        for arrays in _decoded(source, samples, workers):
            for field, file in files.items():
                file.write(arrays[field].tobytes())
            progress.advance(bar)
        for written in (*files.values(), text):
            written.flush()
            os.fsync(written.fileno())


def _file(directory: Path, field: str) -> Path:
    return directory / f"{field}.npy"


def _decoded(source: Source, samples: Sequence[Sample], workers: int) -> Iterator[Decoded]:
    """What the source makes of each sample, in order.

    Threads do: decoding and resizing run outside of Python's lock, and a process would have to import torch
    first, which takes as long as reading a hundred images and more memory than all of this.
    """
    threads = torch.get_num_threads()
    # Or torch would start as many threads again for every one of ours.
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from ahead(pool, lambda sample: _decode(source, sample), samples, 2 * workers)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _decode(source: Source, sample: Sample) -> Decoded:
    try:
        return in_spite_of_others(source.decode, sample)
    except OSError as error:
        raise BirdlabError(f"{sample.id}: cannot be read ({error}).") from error


@contextmanager
def _explained(directory: Path, samples: Sequence[Sample], source: Source) -> Iterator[None]:
    """Say what to do about a full disk or a folder that cannot be written."""
    try:
        yield
    except OSError as error:
        sizes = [np.dtype(field.dtype).itemsize * math.prod(field.shape) for field in source.fields.values()]
        needed = len(samples) * sum(sizes) / 1e6
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
