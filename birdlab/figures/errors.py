"""Figures of errors: what they depend on, and whether probabilities mean what they say."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from birdlab.analysis import FACTORS, Bin, with_birds
from birdlab.figures.style import BLUE, COLUMN, GREY, ORANGE, PAGE, VERMILION, new_figure, styled
from birdlab.metrics import CoverageCurve, ReliabilityCurve

COUNTED = {
    "pixels": ("that is bird", "predicted probability of bird"),
    "recordings": ("that is right", "confidence"),
    "probabilities": ("that is there", "predicted probability of a species"),
}
"""What is true of predictions, and what their probability is called."""
_LARGEST = 2.0
"""Of errors as a share of the true area, where axes end."""
_ERRORS = {
    "over_segmentation": ("over-segmentation", VERMILION),
    "under_segmentation": ("under-segmentation", ORANGE),
}


def error_analysis(rows: Sequence[Mapping[str, Any]], bins: Sequence[Bin]) -> Figure:
    """How much is marked too much and too little, and what IoU depends on.

    Args:
        rows: one of each sample, as in ``scores.csv``; those with birds are drawn.
        bins: of the factors that are known; each factor has its axes.
    """
    seen = with_birds(rows)
    factors = [factor for factor in FACTORS if any(each.factor == factor for each in bins)]
    with styled():
        figure = new_figure(PAGE, 2.25 * ((len(factors) + 2) // 2) + 0.2)
        grid = figure.subplots((len(factors) + 2) // 2, 2, squeeze=False)
        _exceedance(grid.flat[0], seen)
        for axes, factor in zip(grid.flat[1:], factors, strict=False):
            _dependence(axes, seen, [each for each in bins if each.factor == factor])
        for axes in grid.flat[1 + len(factors) :]:
            axes.set_axis_off()
        handles = dict(
            chain.from_iterable(zip(*reversed(a.get_legend_handles_labels()), strict=True) for a in grid.flat)
        )
        if factors:
            figure.legend(
                handles.values(), handles.keys(), loc="outside upper left", ncols=4, borderaxespad=0.2
            )
        return figure


def reliability_diagram(
    curve: ReliabilityCurve,
    unscaled: ReliabilityCurve | None = None,
    counted: str = "pixels",
) -> Figure:
    """The share that is true among the predictions of each probability, and how many those are.

    Args:
        curve: of probabilities as they are reported.
        unscaled: of the network's own, if they differ.
        counted: what the predictions are about: ``pixels``, ``recordings`` or ``probabilities`` (of species).

    Errors are `ReliabilityCurve.error`.
    """
    true, probability = COUNTED[counted]
    with styled():
        figure = new_figure(COLUMN, 3.4)
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        filled = curve.count > 0
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.7, linestyle=(0, (4, 3)), label="calibrated")
        axes.plot(
            curve.probability[filled],
            curve.frequency[filled],
            color=BLUE,
            marker="o",
            markersize=3,
            label=f"reported: error {curve.error:.4f}",
        )
        if unscaled is not None:
            drawn = unscaled.count > 0
            axes.plot(
                unscaled.probability[drawn],
                unscaled.frequency[drawn],
                color=ORANGE,
                marker=".",
                linewidth=0.9,
                label=f"unscaled: error {unscaled.error:.4f}",
                zorder=1,
            )
        axes.set_ylim(0, 1)
        axes.set_ylabel(f"share {true}")
        edges = np.linspace(0, 1, len(curve.count) + 1)
        below.stairs(curve.count.double() / curve.count.sum(), edges, fill=True, color=BLUE, alpha=0.45)
        if curve.count[filled].max() > 100 * curve.count[filled].min():
            below.set_yscale("log")
        below.set_ylabel(f"share of {counted}")
        below.set_xlabel(probability)
        below.set_xlim(0, 1)
        figure.legend(loc="outside upper left", ncols=2, columnspacing=1, borderaxespad=0.2)
        return figure


def accuracy_by_coverage(curve: CoverageCurve) -> Figure:
    """How right a network is about the recordings that it is sure of, and how sure it is of so many."""
    with styled():
        figure = new_figure(COLUMN, 2.4)
        axes = figure.add_subplot()
        axes.plot(curve.coverage, curve.accuracy, color=BLUE, label="accuracy of those that are named")
        axes.plot(curve.coverage, curve.confidence, color=GREY, linewidth=0.9, label="least confidence")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("recordings that are named, the surest first")
        figure.legend(loc="outside upper left", ncols=2, borderaxespad=0.2)
        return figure


def _percent(value: float, _: float) -> str:
    return f"{100 * value:g}%"


def _plain(value: float, _: float) -> str:
    return f"{value:g}"


def _exceedance(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """The share of images whose error exceeds a value."""
    for name, (label, color) in _ERRORS.items():
        values = np.sort([row[name] for row in rows])
        shares = 1 - np.arange(len(values) + 1) / max(1, len(values))
        axes.stairs(
            shares, [0, *values, max([_LARGEST, *values[-1:]])], color=color, baseline=None, label=label
        )
    axes.set_xlim(0, _LARGEST)
    axes.set_ylim(0, 1)
    axes.set_xlabel("error, as a share of the true area")
    axes.set_ylabel("images with a larger error")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title(f"{len(rows)} images with birds", loc="left", color="0.35")


def _dependence(axes: Axes, rows: Sequence[Mapping[str, Any]], bins: Sequence[Bin]) -> None:
    """IoU of each sample and of the bins, and the bins' errors, over one factor."""
    factor = bins[0].factor
    known = [row for row in rows if np.isfinite(row.get(factor, np.nan))]
    axes.plot(
        [row[factor] for row in known],
        [row["iou"] for row in known],
        ".",
        color=BLUE,
        alpha=0.4,
        markersize=4,
        markeredgewidth=0,
        label="IoU of an image",
    )
    x = [each.middle for each in bins]
    for name, (_, color) in _ERRORS.items():
        axes.plot(x, [getattr(each, name) for each in bins], color=color, marker=".", linewidth=0.9)
    spread = [[each.iou - each.iou_low for each in bins], [each.iou_high - each.iou for each in bins]]
    axes.errorbar(
        x,
        [each.iou for each in bins],
        spread,
        color=BLUE,
        marker="o",
        markersize=3.5,
        capsize=2,
        elinewidth=0.8,
        label="IoU, mean and 95 % interval",
    )
    largest = max(getattr(each, name) for each in bins for name in _ERRORS)
    axes.set_ylim(0, min(_LARGEST, max(1, 1.05 * largest)))
    axes.set_xlabel(FACTORS[factor])
    axes.set_ylabel("IoU, errors")
    if factor == "snr_db":
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        return
    axes.set_xscale("log")  # both span magnitudes
    axes.xaxis.set_major_formatter(_percent if factor == "foreground_share" else _plain)
    axes.xaxis.set_minor_formatter(NullFormatter())
