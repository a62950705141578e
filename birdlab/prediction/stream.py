"""Recordings of any length through a network: overlapping windows, cross-faded, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from birdlab.ahead import ahead
from birdlab.audio.grid import Grid
from birdlab.data.windows import window_starts
from birdlab.prediction.network import Network

Audio = NDArray[np.float32]
Probabilities = NDArray[np.float32]
Samples = NDArray[Any]
"""What a stretch was predicted from: audio, float32 [n], or a picture, uint8 [F, T], the lowest row first."""

BATCH = 8
"""Windows that the network sees at once: always the same ones, so that sums round in the same way."""

_RESAMPLED_FRAMES = 1 << 14

OVERLAP = 4
"""Consecutive windows share one part in so many. A network sees least at the edges of a window."""


@dataclass(frozen=True)
class Stretch:
    """Consecutive columns of a recording.

    Attributes:
        first: the first one's number.
        probabilities: of foreground, float32 [F, T], one-sided.
        samples: they were predicted from.
    """

    first: int
    probabilities: Probabilities
    samples: Samples

    @property
    def end(self) -> int:
        """The number of the column after the last."""
        return self.first + int(self.probabilities.shape[1])


def mono_at(blocks: Iterable[Audio], sample_rate: int, wanted_rate: int) -> Iterator[Audio]:
    """The mean of the channels of blocks [n, C], resampled (soxr, high quality) to blocks [m]."""
    mono = (block.mean(axis=1) if block.shape[1] > 1 else block[:, 0] for block in blocks)
    if sample_rate == wanted_rate:
        yield from mono
        return
    resampler = soxr.ResampleStream(sample_rate, wanted_rate, 1, dtype="float32", quality="HQ")
    # What the resampler is given at once shows in the last bit of what it returns.
    for block in _rechunked(mono, _RESAMPLED_FRAMES):
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _rechunked(blocks: Iterable[Audio], frames: int) -> Iterator[Audio]:
    """The same frames [n, ...] in equal blocks (but the last): what follows can't tell how they came."""
    waiting: list[Audio] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block)
        if count >= frames:
            whole = np.concatenate(waiting)
            ready = count // frames * frames
            yield from np.split(whole[:ready], ready // frames)
            waiting, count = [whole[ready:]], count - ready
    if count:
        yield np.concatenate(waiting)


def stitched(network: Network, audio: Iterable[Audio], threads: int = 1) -> Iterator[Stretch]:
    """Probabilities of a stream of audio.

    Args:
        network: marks birds.
        audio: blocks [n] at the network's sample rate, of any sizes.
        threads: so many batches at once, while the caller is busy with those before; the result is the same.

    Yields:
        Every column once, in order. There are ``grid.covering_columns`` of all samples; what the last window
        lacks is zeros. Memory is that of one batch of windows.
    """
    grid, columns = network.grid, network.window_columns
    windows = _audio_windows(audio, grid, columns)
    yield from _faded(_predicted(windows, network.probabilities, threads), columns // OVERLAP, grid)


def stitched_image(network: Network, image: NDArray[np.uint8]) -> Iterator[Stretch]:
    """The same for a spectrogram picture [F, T], in the network's rows."""
    columns, total = network.window_columns, image.shape[1]
    padded = np.pad(image, ((0, 0), (0, max(0, columns - total))))
    windows = (
        _Window(start, min(columns, total), padded[:, start : start + columns])
        for start in window_starts(total, columns, columns - columns // OVERLAP)
    )
    predicted = _predicted(windows, network.image_probabilities, threads=1)
    yield from _faded(predicted, columns // OVERLAP, network.grid)


@dataclass(frozen=True)
class _Window:
    """Attributes: number of its first column, columns that aren't padding, what the network is given."""

    first: int
    columns: int
    samples: Samples


def _audio_windows(audio: Iterable[Audio], grid: Grid, columns: int) -> Iterator[_Window]:
    """Windows that overlap by a quarter; the last one is moved back to end with the audio."""
    step = columns - columns // OVERLAP
    length = grid.samples(columns)
    # From the first sample of the window before the next one, so that the last can be moved back.
    held = np.zeros(0, np.float32)
    first, behind = 0, 0
    for block in audio:
        held = np.concatenate([held, block])
        while len(held) >= behind + length:
            held = held[behind:]
            yield _Window(first, columns, held[:length].copy())
            first, behind = first + step, step * grid.hop
    # `held` begins at the last window that was yielded, or at 0.
    start = first - behind // grid.hop
    total = start + grid.covering_columns(len(held))
    if first == 0:
        yield _Window(0, total, _padded(held, length))
    elif total > start + columns:
        moved = total - columns
        yield _Window(moved, columns, _padded(held[(moved - start) * grid.hop :], length))


def _predicted(
    windows: Iterable[_Window], predict: Callable[[Samples], Probabilities], threads: int
) -> Iterator[tuple[_Window, Probabilities]]:
    """Each window with its probabilities [F, T], in order."""
    windows = iter(windows)

    def of(batch: list[_Window]) -> Iterable[tuple[_Window, Probabilities]]:
        return zip(batch, predict(np.stack([window.samples for window in batch])), strict=True)

    batches = iter(lambda: list(islice(windows, BATCH)), [])
    if threads == 1:
        for batch in batches:
            yield from of(batch)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        for predicted in ahead(pool, of, batches, threads):
            yield from predicted
    finally:
        pool.shutdown(cancel_futures=True)


def _faded(predicted: Iterable[tuple[_Window, Probabilities]], overlap: int, grid: Grid) -> Iterator[Stretch]:
    """One sequence of columns from windows of which each overlaps the one before by at least ``overlap``."""
    rising = fade_in(overlap)
    held: Stretch | None = None  # the columns that the next window will share
    for window, probabilities in predicted:
        first, end = window.first, window.first + window.columns
        if held is not None:
            first = held.first
            probabilities = probabilities[:, first - window.first :]
            shared = probabilities[:, :overlap]
            shared += (held.probabilities - shared) * (1 - rising)
        stretch = Stretch(
            first, probabilities[:, : end - first], _from(window.samples, grid, first - window.first)
        )
        ready = max(0, end - first - overlap)
        if ready:
            yield _part(stretch, grid, 0, ready)
        held = _part(stretch, grid, ready, end - first)
    if held is not None:
        yield held


def fade_in(columns: int) -> NDArray[np.float32]:
    """The weight of the later window in each column that two windows share, from 0 to 1."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(columns) + 0.5) / columns)).astype(np.float32)


def _part(stretch: Stretch, grid: Grid, begin: int, end: int) -> Stretch:
    samples = _from(stretch.samples, grid, begin)
    samples = samples[:, : end - begin] if samples.ndim == 2 else samples[: grid.samples(end - begin)]
    return Stretch(stretch.first + begin, stretch.probabilities[:, begin:end], samples)


def _from(samples: Samples, grid: Grid, column: int) -> Samples:
    return samples[:, column:] if samples.ndim == 2 else samples[column * grid.hop :]


def _padded(audio: Audio, length: int) -> Audio:
    return np.pad(audio, (0, max(0, length - len(audio))))


def joined(stretches: Sequence[Stretch]) -> Probabilities:
    """The probabilities of a whole recording [F, T]."""
    return np.concatenate([stretch.probabilities for stretch in stretches], axis=1)
