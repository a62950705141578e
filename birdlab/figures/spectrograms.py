"""Figures of spectrograms: with their masks, and with what a network says of them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from birdlab.data.source import Image, Mask
from birdlab.figures.style import (
    GREEN,
    PAGE,
    SKY,
    VERMILION,
    YELLOW,
    Extent,
    label_frequency_and_time,
    new_figure,
    styled,
)

_GAMMA = 0.5
"""Of the display only: magnitudes are linear, and most of what a bird sings is far below full scale."""
_ROW = 1.15
"""Inches of one row of panels."""
_MOST_PIXELS = 700
"""Along one side of a panel: at a quarter of a page's width, 300 dpi shows no more."""


def example_pairs(
    images: Sequence[Image], masks: Sequence[Mask], extents: Sequence[Extent], ids: Sequence[str]
) -> Figure:
    """Spectrograms beside their masks, two pairs a row.

    Args:
        images: uint8 [F_i, T_i].
        masks: class indices [F_i, T_i]; whatever is not 0 is foreground.
        extents: what their edges stand for.
        ids: names of the samples.
    """
    with styled():
        rows = max(1, (len(ids) + 1) // 2)
        figure = new_figure(PAGE, rows * _ROW + 0.45)
        grid = figure.subplots(rows, 4, squeeze=False)
        panels = zip(images, masks, extents, ids, strict=True)
        for number, (image, mask, extent, name) in enumerate(panels):
            row, column = divmod(number, 2)
            left, right = grid[row, 2 * column], grid[row, 2 * column + 1]
            last = number + 2 >= len(ids)
            _show_image(left, image, extent)
            _show_mask(right, mask, extent)
            left.set_title(_shortened(name), loc="left")
            right.set_title(f"{np.mean(mask > 0):.1%} bird", loc="left", color="0.35")
            time = last or _differ(extents)
            label_frequency_and_time(left, frequency=True, time=time)
            label_frequency_and_time(right, frequency=False, time=time)
        for axes in grid.flat[2 * len(ids) :]:
            axes.set_axis_off()
        return figure


def prediction_panels(
    images: Sequence[Image],
    truths: Sequence[Mask],
    probabilities: Sequence[NDArray[np.floating]],
    extents: Sequence[Extent],
    ids: Sequence[str],
    *,
    threshold: float,
) -> Figure:
    """Input, truth, prediction, and where the two agree, a row for each sample.

    Args:
        images: uint8 [F_i, T_i].
        truths: class indices [F_i, T_i]; whatever is not 0 is foreground.
        probabilities: of foreground, in 0..1 [F_i, T_i].
        extents: what their edges stand for.
        ids: names of the samples.
        threshold: foreground is where the probability exceeds it.
    """
    with styled():
        rows = max(1, len(ids))
        figure = new_figure(PAGE, rows * _ROW + 0.45)
        grid = figure.subplots(rows, 4, squeeze=False)
        panels = zip(images, truths, probabilities, extents, ids, strict=True)
        for number, (image, truth, probability, extent, name) in enumerate(panels):
            seen, shown, said, agreed = grid[number]
            predicted = probability > threshold
            _show_image(seen, image, extent)
            _show_mask(shown, truth, extent)
            said.imshow(reduced(probability, np.mean), extent=extent.limits, cmap="gray", vmin=0, vmax=1)
            agreed.imshow(_agreement(image, truth > 0, predicted), extent=extent.limits)
            seen.set_title(_shortened(name), loc="left")
            agreed.set_title(_verdict(truth > 0, predicted, threshold), loc="left")
            for axes, heading in ((shown, "truth"), (said, "predicted probability")):
                axes.set_title(heading if number == 0 else "", loc="left")
            for axes in grid[number]:
                _frame(axes)
                label_frequency_and_time(
                    axes, frequency=axes is seen, time=number == len(ids) - 1 or _differ(extents)
                )
        colors = {"bird, found": GREEN, "bird, missed": YELLOW, "false alarm": VERMILION}
        figure.legend(
            handles=[Patch(color=color, label=label) for label, color in colors.items()],
            loc="outside lower right",
            ncols=3,
            handlelength=0.9,
            columnspacing=1.2,
            borderaxespad=0.1,
        )
        return figure


def augmentation_draws(
    draws: Sequence[Sequence[tuple[Image, Mask]]], extents: Sequence[Extent], ids: Sequence[str]
) -> Figure:
    """What the network is fed: a row a sample, as it is and then as it was drawn, its mask outlined.

    Args:
        draws: for each sample the pair as it is, then augmented ones; all uint8 [F, T].
        extents: what the edges of the samples stand for.
        ids: names of the samples.
    """
    with styled():
        rows, columns = max(1, len(draws)), max((len(row) for row in draws), default=1)
        figure = new_figure(PAGE, rows * _ROW + 0.45)
        grid = figure.subplots(rows, columns, squeeze=False)
        for number, (row, extent, name) in enumerate(zip(draws, extents, ids, strict=True)):
            for column, (axes, (image, mask)) in enumerate(zip(grid[number], row, strict=True)):
                _show_image(axes, image, extent)
                if mask.any():
                    axes.contour(mask > 0, levels=[0.5], extent=extent.limits, colors=[SKY], linewidths=0.7)
                axes.set_title(_shortened(name) if column == 0 else f"draw {column}", loc="left")
                time = number == len(draws) - 1 or _differ(extents)
                label_frequency_and_time(axes, frequency=column == 0, time=time)
        return figure


def _show_image(axes: Axes, image: Image, extent: Extent) -> None:
    axes.imshow(reduced(image, np.max), extent=extent.limits, norm=PowerNorm(_GAMMA, 0, 255))
    _frame(axes)


def _show_mask(axes: Axes, mask: Mask, extent: Extent) -> None:
    axes.imshow(
        reduced(mask > 0, np.max), extent=extent.limits, cmap="gray", vmin=0, vmax=1, interpolation="none"
    )
    _frame(axes)


def _frame(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 4, 5, 8, 10]))


def _agreement(image: Image, truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """RGB [F, T, 3] in 0..1: the spectrogram in faint grey, under the three colours of the legend."""
    grey = 0.75 * np.power(reduced(image, np.max) / 255, _GAMMA)
    truth, predicted = reduced(truth, np.max) > 0, reduced(predicted, np.max) > 0
    picture = np.repeat(grey[..., None], 3, axis=2)
    for where, color in (
        (truth & predicted, GREEN),
        (truth & ~predicted, YELLOW),
        (predicted & ~truth, VERMILION),
    ):
        picture[where] = 0.2 * picture[where] + 0.8 * np.array(to_rgb(color))
    return picture


def _verdict(truth: NDArray[np.bool_], predicted: NDArray[np.bool_], threshold: float) -> str:
    at = f"at {threshold:.2f}".replace("0.", ".")
    if not truth.any():
        return f"no bird; {predicted.mean():.1%} marked {at}"
    iou = np.sum(truth & predicted) / np.sum(truth | predicted)
    return f"IoU {iou:.2f} {at}"


def reduced(
    pixels: NDArray[Any], how: Callable[..., NDArray[Any]], most: int = _MOST_PIXELS
) -> NDArray[np.float64]:
    """Images [F, T] made smaller by whole factors where a side is longer than ``most``.

    Args:
        pixels: numbers or bool.
        how: what a block of pixels becomes, e.g. ``np.max``.
        most: pixels along one side.
    """
    rows, columns = (-(-side // most) for side in pixels.shape)
    if rows == columns == 1:
        return pixels.astype(np.float64)
    padded = np.pad(pixels, ((0, -pixels.shape[0] % rows), (0, -pixels.shape[1] % columns)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)
    return how(blocks, axis=(1, 3)).astype(np.float64)


def _differ(extents: Sequence[Extent]) -> bool:
    return len({extent.limits for extent in extents}) > 1


def _shortened(name: str, longest: int = 20) -> str:
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-longest // 2 :]}"
