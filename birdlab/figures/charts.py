"""Figures of numbers: how much foreground, how training went, which threshold."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from birdlab.data.source import Split
from birdlab.figures.style import BLUE, COLUMN, GREEN, GREY, ORANGE, PAGE, SKY, VERMILION, new_figure, styled

_SPLIT_NAMES: dict[Split, str] = {"train": "training", "val": "validation", "test": "test"}
_SPLIT_COLORS: dict[Split, str] = {"train": BLUE, "val": ORANGE, "test": GREEN}
_SPARSE = 0.1
"""Belbase's mark: over 90 % of the masks have less foreground than this."""


def foreground_histogram(shares: Mapping[Split, NDArray[np.float64]]) -> Figure:
    """How many images have how much foreground, by split.

    Args:
        shares: by split, the share of foreground pixels of each mask, in 0..1 [N]. Empty splits are left out.
    """
    known = {split: values for split, values in shares.items() if values.size}
    with styled():
        figure = new_figure(COLUMN, 2.3)
        axes = figure.add_subplot()
        most = max((float(values.max()) for values in known.values()), default=0.0)
        edges = np.arange(0.0, max(most, 2 * _SPARSE) + 0.02, 0.02)
        axes.axvspan(0, _SPARSE, color="0.93", zorder=0, linewidth=0)
        for number, (split, values) in enumerate(known.items()):
            counts, _ = np.histogram(values, edges)
            below, empty = float(np.mean(values < _SPARSE)), int(np.sum(values == 0))
            axes.stairs(
                counts / values.size,
                edges,
                fill=number == 0,
                alpha=0.45 if number == 0 else 1,
                linewidth=2.2 - 0.6 * number,  # where two lines lie on each other, both are seen
                color=_SPLIT_COLORS[split],
                label=f"{_SPLIT_NAMES[split]} (n = {values.size}): "
                f"{below:.0%} below {_SPARSE:.0%}, {empty} empty",
            )
        axes.set_xlim(0, edges[-1])
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("foreground in the mask")
        axes.set_ylabel("share of images")
        if known:
            figure.legend(loc="outside upper left", borderaxespad=0.2, labelspacing=0.25)
        return figure


def learning_curves(
    history: Sequence[Mapping[str, float]], *, score: str = "val/iou_resized", mode: str = "max"
) -> Figure:
    """Losses and scores over the epochs, with the best epoch marked.

    Args:
        history: one mapping of metrics an epoch, as in a run's ``metrics.csv``; metrics may be missing.
            Losses are ``train/loss``, ``val/loss`` and their parts, ``train/loss_NAME``.
        score: the metric that says which epoch is the best.
        mode: whether its largest (``max``) or smallest (``min``) value is best.
    """
    logged = {name for row in history for name in row}
    losses = sorted(name for name in logged if name.partition("/")[2].startswith("loss"))
    scores = sorted(name for name in logged if name in _CURVES and name not in losses)
    best = _best_row(history, score, mode)
    epochs = [row["epoch"] for row in history] or [0]
    first, last = min(epochs), max(epochs)
    with styled():
        figure = new_figure(PAGE, 2.2)
        loss_axes, score_axes = figure.subplots(1, 2)
        loss_axes.set_ylabel("loss")
        score_axes.set_ylabel("validation IoU" if any("iou" in name for name in scores) else "validation")
        for axes, names in ((loss_axes, losses), (score_axes, scores)):
            lines = {name: _series(history, name) for name in names}
            for name, (x, y) in lines.items():
                color, _, style = _curve(name)
                marker = "." if len(x) < 3 else None
                axes.plot(x, y, color=color, linestyle=style, marker=marker)
            if axes is score_axes:
                axes.set_ylim(0, 1)
            elif _spans_magnitudes([values for _, values in lines.values()]):
                axes.set_yscale("log")
            axes.set_xlim(first - 0.5, last + 0.5)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
            if best is not None:
                axes.axvline(best["epoch"], color=GREY, linewidth=0.7, linestyle=_DASHES, zorder=0)
                for name in {"val/loss", score} & lines.keys() & best.keys():
                    axes.plot(best["epoch"], best[name], "o", color=_curve(name)[0], markersize=4)
            _name_line_ends(axes, last, {name: float(values[-1]) for name, (_, values) in lines.items()})
        if best is not None:
            score_axes.set_title(
                f"best epoch {best['epoch']:.0f}: {best[score]:.3f}", loc="left", color="0.35"
            )
        return figure


def threshold_curve(thresholds: ArrayLike, iou: ArrayLike, *, chosen: float) -> Figure:
    """IoU over the threshold, with .5 and the one that validation data chose.

    Args:
        thresholds: ascending, in 0..1 [N].
        iou: at each of them [N].
        chosen: the threshold that is used.
    """
    x, y = np.asarray(thresholds, dtype=float), np.asarray(iou, dtype=float)
    with styled():
        figure = new_figure(COLUMN, 2.2)
        axes = figure.add_subplot()
        axes.plot(x, y, color=BLUE)
        marks = [(0.5, VERMILION, "threshold .5")] if abs(chosen - 0.5) > 1e-6 else []
        for threshold, color, name in [*marks, (chosen, BLUE, f"chosen {_short(chosen)}")]:
            value = float(np.interp(threshold, x, y))
            axes.vlines(threshold, 0, value, color=GREY, linewidth=0.7, linestyle=_DASHES, zorder=0)
            axes.plot(threshold, value, "o", color=color, markersize=4.5, label=f"{name}: {value:.3f}")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, max(0.1, float(y.max()) * 1.08))
        axes.set_xlabel("threshold on the probability")
        axes.set_ylabel("validation IoU, at the network's size")
        figure.legend(loc="outside upper left", ncols=2, borderaxespad=0.2)
        return figure


def confusion_matrix(counts: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """How many recordings of each species were taken for which.

    Args:
        counts: [K, K], rows the truth; shades are shares of a row.
        names: of the species [K].
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    side = min(PAGE, max(COLUMN, 1.2 + 0.32 * len(names)))
    with styled():
        figure = new_figure(side, side)
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, origin="upper", aspect="equal")
        places = np.arange(len(names))
        axes.set_xticks(places, names, rotation=90, style="italic")
        axes.set_yticks(
            places, [f"{name} ({total})" for name, total in zip(names, totals[:, 0], strict=True)]
        )
        if len(names) <= _MOST_NUMBERED:
            for row, column in zip(*np.nonzero(counts), strict=True):
                dark = shares[row, column] > 0.5
                axes.text(
                    column,
                    row,
                    str(counts[row, column]),
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="white" if dark else "black",
                )
        axes.set_xlabel("predicted")
        axes.set_ylabel("true (recordings)")
        return figure


_MOST_NUMBERED = 25
"""Species in a confusion matrix whose cells hold numbers: of more, shades say enough."""
_DASHES = (0, (4, 3))
_CURVES = {
    "train/loss": (BLUE, "training", "-"),
    "val/loss": (ORANGE, "validation", "-"),
    "val/iou_resized": (BLUE, "at .5", "-"),
    "val/iou_best_resized": (SKY, "best threshold", "-"),
    "val/accuracy": (BLUE, "accuracy", "-"),
    "val/macro_f1": (SKY, "macro F1", "-"),
    "val/average_precision": (GREEN, "average precision", "-"),
}


def _curve(name: str) -> tuple[str, str, str]:
    """Colour, label and line style of a metric; parts of a loss are dotted, in the colour of their stage."""
    stage, _, rest = name.partition("/")
    return _CURVES.get(name) or (
        _CURVES[f"{stage}/loss"][0],
        rest.removeprefix("loss_").replace("_", " "),
        ":",
    )


def _name_line_ends(axes: Axes, last: float, ends: Mapping[str, float]) -> None:
    """Write each line's name beside its right end, moved apart where they would touch."""
    to_fraction = axes.transScale + axes.transLimits
    heights = [float(to_fraction.transform((1, value))[1]) for value in ends.values()]
    for name, height in zip(ends, _spread(heights, gap=0.08), strict=True):
        color, label, _ = _curve(name)
        axes.annotate(
            label,
            (last, height),
            xycoords=("data", "axes fraction"),
            xytext=(5, 0),
            textcoords="offset points",
            color=color,
            va="center",
            annotation_clip=False,
        )


def _spans_magnitudes(values: Sequence[NDArray[np.float64]]) -> bool:
    together = np.concatenate(values) if values else np.ones(1)
    return bool(together.min() > 0 and together.max() > 20 * together.min())


def _series(
    history: Sequence[Mapping[str, float]], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epochs and values [N] where a metric was logged; N >= 1 if it was logged at all."""
    rows = [(row["epoch"], row[name]) for row in history if name in row]
    epochs, values = np.array(rows, dtype=float).T
    return epochs, values


def _best_row(history: Sequence[Mapping[str, float]], score: str, mode: str) -> Mapping[str, float] | None:
    rows = [row for row in history if score in row and np.isfinite(row[score])]
    if not rows:
        return None
    # The first of equals, as checkpoints are kept.
    return max(rows, key=lambda row: row[score]) if mode == "max" else min(rows, key=lambda row: row[score])


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights, those too near above another one pushed up until they are ``gap`` away."""
    placed = list(heights)
    order = sorted(range(len(placed)), key=placed.__getitem__)
    for below, above in pairwise(order):
        placed[above] = max(placed[above], placed[below] + gap)
    return placed


def _short(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")
