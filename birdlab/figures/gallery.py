"""A few test samples as plain pictures, for whoever sets the predictions of two runs side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from birdlab.data.png import write_image
from birdlab.data.source import Image, Mask
from birdlab.figures.spectrograms import reduced
from birdlab.figures.style import Extent
from birdlab.files import write_json

_MOST_PIXELS = 400
"""Along one side of a picture; eight samples take about half a megabyte."""


def write_gallery(
    folder: Path,
    images: Sequence[Image],
    truths: Sequence[Mask],
    probabilities: Sequence[NDArray[np.floating]],
    extents: Sequence[Extent],
    ids: Sequence[str],
    *,
    threshold: float,
) -> None:
    """Write image, truth and probability of each sample as grey PNGs, and ``samples.json``, which names them.

    The highest frequency is on top. Of large pictures each pixel is the largest of a block, so that what
    exceeds the threshold still does.

    Args:
        folder: where to; a gallery that is there is replaced.
        images: uint8 [F_i, T_i].
        truths: class indices [F_i, T_i]; whatever is not 0 is foreground.
        probabilities: of foreground, in 0..1 [F_i, T_i].
        extents: what their edges stand for.
        ids: names of the samples.
        threshold: foreground is where the probability exceeds it.
    """
    entries = []
    for number, (image, truth, probability, extent, name) in enumerate(
        zip(images, truths, probabilities, extents, ids, strict=True)
    ):
        pictures = {
            "image": reduced(image, np.max, _MOST_PIXELS),
            "truth": 255 * reduced(truth > 0, np.max, _MOST_PIXELS),
            "probability": _in_bytes(reduced(probability, np.max, _MOST_PIXELS), threshold),
        }
        files = {kind: f"{number}_{kind}.png" for kind in pictures}
        for kind, pixels in pictures.items():
            write_image(folder / files[kind], np.ascontiguousarray(pixels[::-1].astype(np.uint8)))
        axes = {
            "duration_s": extent.duration_s,
            "sample_rate": extent.sample_rate,
            "sides": extent.sides,
        }
        entries.append({"id": name, **files, **axes})
    write_json(folder / "samples.json", {"threshold": threshold, "samples": entries})


def _in_bytes(probability: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """0..255, exceeding 255 times the threshold where, and only where, the probability exceeds it."""
    limit = np.floor(255 * threshold)
    rounded = np.round(255 * probability)
    return np.where(probability > threshold, np.maximum(rounded, limit + 1), np.minimum(rounded, limit))
