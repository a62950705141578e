"""Recordings as embeddings: each made once, and kept in the cache."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import birdlab
from birdlab.audio import io
from birdlab.bars import counting
from birdlab.data.cache import stamp
from birdlab.data.source import Sample
from birdlab.data.windows import window_starts
from birdlab.errors import BirdlabError
from birdlab.files import replacing
from birdlab.probing.backbone import Audio, Backbone, Embeddings

BATCH = 8
"""Windows that a backbone gets at once."""


def embedded(backbone: Backbone, samples: Sequence[Sample], directory: Path) -> Mapping[str, Embeddings]:
    """Embeddings [D] of samples by id: the mean over the windows of the whole recording.

    Each is kept by the path, size and modification time of its file and by the backbone's name: nobody waits
    for one twice, whatever else is in the folder, and an interrupted command goes on where it was.

    Args:
        backbone: see `Backbone`.
        samples: at least one.
        directory: parent of all caches.

    Raises:
        BirdlabError: for files that aren't recordings or can't be read, embeddings that aren't finite, and
            a folder that can't be written.
    """
    for sample in samples:
        if sample.files[0].suffix.lower() not in io.SUFFIXES:
            raise BirdlabError(
                f"{sample.files[0]}: embeddings are made from recordings, and this is a spectrogram. "
                "Take it out of data.root, so that the recording of that name is read."
            )
    folder = directory / f"embeddings-{_key(birdlab.__version__, *_facts(backbone))}"
    found = {}
    with counting() as progress:
        bar = progress.add_task("Embedding recordings, once", total=len(samples))
        for sample in samples:
            found[sample.id] = _of_file(backbone, sample.files[0], folder)
            progress.advance(bar)
    return found


def windows_of(audio: Audio, length: int) -> Audio:
    """Consecutive windows [W, length] of audio [n].

    The last one is moved back to end with the audio; what is shorter than one window is repeated.
    """
    if len(audio) < length:
        return np.resize(audio, (1, length))
    return np.stack([audio[start : start + length] for start in window_starts(len(audio), length, length)])


def _of_file(backbone: Backbone, file: Path, folder: Path) -> Embeddings:
    """The one that is kept, or made now."""
    version = stamp(file)
    kept = folder / f"{_key(*version)}.npy"
    try:
        known: Embeddings = np.load(kept, allow_pickle=False)
        return known
    except (OSError, ValueError, EOFError):
        pass  # there is none, or it is damaged
    made = _made(backbone, file)
    if stamp(file) != version:
        raise BirdlabError(
            f"{file} changed while it was being read. Let whatever writes it finish, and start again."
        )
    try:
        with replacing(kept) as temporary:
            np.save(temporary, made)
    except OSError as error:
        raise BirdlabError(
            f"{kept}: cannot be written ({error.strerror}). Make room there, or choose another folder with "
            "loader.cache_dir or $BIRDLAB_CACHE."
        ) from error
    return made


def _made(backbone: Backbone, file: Path) -> Embeddings:
    length = round(backbone.seconds * backbone.sample_rate)
    windows = windows_of(io.read(file, backbone.sample_rate), length)
    parts = np.array_split(windows, math.ceil(len(windows) / BATCH))
    embedding: Embeddings = np.concatenate([backbone.embed(part) for part in parts]).mean(axis=0)
    if not np.isfinite(embedding).all():
        raise BirdlabError(f"{file}: {backbone.name} makes NaN or infinity of it.")
    return embedding


def _facts(backbone: Backbone) -> tuple[str, int, float]:
    """What decides an embedding."""
    return backbone.name, backbone.sample_rate, backbone.seconds


def _key(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
