"""The figures of a comparison: curves, bars, heat maps, parallel coordinates, score against cost."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from birdlab import analysis
from birdlab.figures.charts import confusion_matrix
from birdlab.figures.errors import COUNTED, reliability_diagram
from birdlab.figures.style import (
    BLUE,
    COLUMN,
    GREEN,
    GREY,
    ORANGE,
    PAGE,
    SKY,
    VERMILION,
    new_figure,
    styled,
)
from birdlab.metrics import ReliabilityCurve
from birdlab.reporting.conditions import Condition, as_number, short_names
from birdlab.reporting.tables import COSTS, HEADINGS, heading

_COLORS = (BLUE, ORANGE, GREEN, VERMILION, SKY, "#CC79A7", "#000000")
_MARKERS = "osD^vP*"
_SHADES = "cividis"
"""Even in lightness, and the same to the colour-blind."""
_LONGEST = 44
_MANY = 20
"""Times the smallest value: from here on an axis is logarithmic."""


def curves(conditions: Sequence[Condition], score: str, metrics: Sequence[str]) -> Figure | None:
    """Metrics over the epochs: the mean of a condition's runs, and from the lowest to the highest of them.

    Args:
        conditions: at most seven get a colour, those with the best score; the others are grey.
        score: the test score by which they are ordered.
        metrics: of the history, a panel each; those that no run has are left out.
    """
    drawn = [
        metric
        for metric in metrics
        if any(metric in row for one in conditions for run in one.runs for row in run.history)
    ]
    if not drawn:
        return None
    ordered = by_score(conditions, score)
    with styled():
        rows = -(-min(len(ordered), len(_COLORS) + 1) // 2)
        figure = new_figure(PAGE, 2.1 + 0.16 * rows)
        for axes, metric in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
            extremes = []
            for number, condition in reversed(list(enumerate(ordered))):
                epochs, values = _history(condition, metric)
                if not len(epochs):
                    continue
                color, _ = _look(number)
                named = number < len(_COLORS)
                axes.plot(epochs, np.nanmean(values, axis=0), color=color, linewidth=1.2 if named else 0.6)
                if named and len(values) > 1:
                    band = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
                    axes.fill_between(epochs, *band, color=color, alpha=0.15, linewidth=0)
                extremes += [np.nanmin(values), np.nanmax(values)]
            if extremes and min(extremes) > 0 and max(extremes) > _MANY * min(extremes):
                axes.set_yscale("log")
            axes.set_xlabel("epoch")
            axes.set_ylabel(_metric_name(metric))
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _legend(figure, ordered, lines=True)
        return figure


def bars(
    conditions: Sequence[Condition], score: str, references: Mapping[str, float] | None = None
) -> Figure | None:
    """The mean of each condition, every run as a dot (all folds of a seed as one), and the references."""
    ordered = by_score(conditions, score)
    if not ordered:
        return None
    with styled():
        labels = [_two_lines(condition.label) for condition in ordered]
        height = 0.34 if any("\n" in label for label in labels) else 0.24
        figure = new_figure(PAGE, 0.75 + height * len(ordered) + 0.16 * bool(references))
        axes = figure.add_subplot()
        for row, condition in enumerate(ordered):
            values = condition.values(score)
            axes.barh(row, np.mean(values), height=0.62, color=BLUE, alpha=0.3, linewidth=0)
            spread = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0.0]
            axes.plot(values, row + np.asarray(spread), "o", color=BLUE, markersize=3.2, clip_on=False)
        styles = ("--", ":", "-.", (0, (1, 3)))
        for (name, value), style in zip((references or {}).items(), styles, strict=False):
            axes.axvline(value, color=GREY, linewidth=0.9, linestyle=style, label=f"{name} {value:.3f}")
        axes.set_yticks(range(len(ordered)), labels)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(ordered) - 0.5, -0.5)
        axes.set_xlim(left=0)
        joined = any(run.folds > 1 for condition in ordered for run in condition.runs)
        dot = "all folds of a seed" if joined else "a run"
        axes.set_xlabel(f"{heading(score)} of the test split; a dot {dot}")
        if references:
            figure.legend(loc="outside upper left", ncols=2, borderaxespad=0.2)
        return figure


def heat_map(conditions: Sequence[Condition], score: str) -> Figure | None:
    """Mean ± standard deviation over a grid of two keys; None unless exactly two differ, and cross."""
    keys = list(dict.fromkeys(key for condition in conditions for key in condition.factors))
    if len(keys) != 2:
        return None
    rows, columns = (_axis_values(conditions, key) for key in keys)
    if len(rows) < 2 or len(columns) < 2 or len(conditions) < len(rows) + len(columns):
        return None
    cells = {(one.factors[keys[0]], one.factors[keys[1]]): one.values(score) for one in conditions}
    means = np.full((len(rows), len(columns)), np.nan)
    for (row, column), values in cells.items():
        if values:
            means[rows.index(row), columns.index(column)] = np.mean(values)
    if np.isnan(means).all():
        return None
    names = short_names(keys)
    with styled():
        width = min(PAGE, 1.6 + 0.85 * len(columns))
        figure = new_figure(max(COLUMN, width), 0.8 + 0.42 * len(rows))
        axes = figure.add_subplot()
        axes.set_facecolor("0.94")
        picture = axes.imshow(means, cmap=_SHADES, origin="upper", aspect="auto")
        low, high = picture.get_clim()
        for row, column in np.ndindex(means.shape):
            values = cells.get((rows[row], columns[column]), [])
            dark = bool(values) and (means[row, column] - low) < 0.55 * (high - low)
            spread = f"\n± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            text = f"{np.mean(values):.3f}{spread}" if values else "no result"
            color = "0.45" if not values else "white" if dark else "black"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
        axes.set_xticks(range(len(columns)), [_shortened(text, 16) for text in columns])
        axes.set_yticks(range(len(rows)), [_shortened(text, 24) for text in rows])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(names[keys[1]])
        axes.set_ylabel(names[keys[0]])
        bar = figure.colorbar(picture, ax=axes, label=heading(score), pad=0.02)
        bar.outline.set_visible(False)
        return figure


def parallel_coordinates(conditions: Sequence[Condition], score: str) -> Figure | None:
    """A line a run through its settings to its score; None unless at least two keys differ."""
    keys = list(dict.fromkeys(key for condition in conditions for key in condition.factors))
    runs = [(one, value) for one in conditions for value in one.values(score)]
    if len(keys) < 2 or len(runs) < 3:
        return None
    names = short_names(keys)
    values = np.array([value for _, value in runs])
    with styled():
        figure = new_figure(PAGE, 2.6)
        axes = figure.add_subplot()
        scale = Normalize(values.min(), values.max() if np.ptp(values) else values.min() + 1e-9)
        heights = [_scaled([one.factors.get(key, "") for one, _ in runs]) for key in keys]
        best = np.asarray(scale(values))
        points = np.stack([*(height for height, _ in heights), best])
        for index in np.argsort(values):
            _coordinate_line(axes, points[:, index], mpl.colormaps[_SHADES](best[index]))
        for place, (_, ticks) in enumerate(heights):
            axes.axvline(place, color="0.3", linewidth=0.7)
            for text, height in ticks.items():
                _tick_text(axes, place, height, _shortened(text, 20), right=place > 0)
        axes.axvline(len(keys), color="0.3", linewidth=0.7)
        for height, value in ((0.0, values.min()), (1.0, values.max())):
            _tick_text(axes, len(keys), height, f"{value:.3f}", right=True)
        headings = [_shortened(names[key], 20) for key in keys] + [heading(score)]
        axes.set_xticks(range(len(headings)), headings)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.yaxis.set_major_locator(NullLocator())
        axes.spines[:].set_visible(False)
        axes.set_xlim(-0.25, len(keys) + 0.3)
        axes.set_ylim(-0.08, 1.08)
        return figure


def cost(conditions: Sequence[Condition], score: str) -> Figure | None:
    """The score of each run against its time, parameters and memory, where those differ."""
    known = {}
    for name in ("wall_s", "parameters", "peak_memory_gb"):
        found = [value for one in conditions for value in one.facts(name)]
        if len(found) > 1 and max(found) > 1.01 * min(found):
            known[name] = found
    if not known:
        return None
    ordered = by_score(conditions, score)
    with styled():
        rows = -(-min(len(ordered), len(_COLORS) + 1) // 2)
        figure = new_figure(PAGE, 2.1 + 0.16 * rows)
        panels = figure.subplots(1, len(known), squeeze=False, sharey=True)[0]
        for axes, (name, found) in zip(panels, known.items(), strict=True):
            label, unit = COSTS[name]
            for number, condition in reversed(list(enumerate(ordered))):
                color, marker = _look(number)
                pairs = [(run.cost(name), run.score(score)) for run in condition.runs]
                both = [(x * unit, y) for x, y in pairs if x is not None and y is not None]
                if both:
                    axes.plot(*zip(*both, strict=True), marker, color=color, markersize=4, alpha=0.85)
            if max(found) > _MANY * min(found) > 0:
                axes.set_xscale("log")
            axes.set_xlabel(label)
        panels[0].set_ylabel(heading(score))
        _legend(figure, ordered, lines=False)
        return figure


def by_score(conditions: Sequence[Condition], score: str) -> list[Condition]:
    """Those that have the score, the highest mean first."""
    scored = [condition for condition in conditions if condition.values(score)]
    return sorted(scored, key=lambda condition: -float(np.mean(condition.values(score))))


def confusion(condition: Condition) -> Figure | None:
    """Which species all runs of a condition take for which; None where masks, or several, are named."""
    rows = [row for run in condition.runs for row in run.samples]
    if not rows or not {"label", "predicted"} <= rows[0].keys():
        return None
    names = sorted({row[column] for row in rows for column in ("label", "predicted")})
    return confusion_matrix(analysis.confusion(rows, names).numpy(), names)


def calibration(condition: Condition) -> Figure | None:
    """Whether probabilities mean what they say, of what all runs of a condition predict of test data."""
    found = [each for run in condition.runs for each in run.reliability]
    kinds = {(counted, len(curve.count)) for counted, curve in found if counted in COUNTED}
    if len(kinds) != 1:
        return None
    ((counted, _),) = kinds
    return reliability_diagram(ReliabilityCurve.together([curve for _, curve in found]), counted=counted)


def _look(number: int) -> tuple[str, str]:
    return (_COLORS[number], _MARKERS[number]) if number < len(_COLORS) else ("0.75", ".")


def _legend(figure: Figure, ordered: Sequence[Condition], *, lines: bool) -> None:
    handles = []
    for number, condition in enumerate(ordered[: len(_COLORS) + 1]):
        color, marker = _look(number)
        rest = len(ordered) - len(_COLORS)
        label = _two_lines(condition.label) if number < len(_COLORS) else f"{rest} others"
        look = {"linestyle": "-"} if lines else {"linestyle": "", "marker": marker, "markersize": 4}
        handles.append(mpl.lines.Line2D([], [], color=color, label=label, **look))
    if len(ordered) > 1:
        figure.legend(handles=handles, loc="outside lower left", ncols=2, borderaxespad=0.2)


def _history(condition: Condition, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epochs [N] and the metric of each run [R, N], NaN where a run has ended or did not log it."""
    series = [{row["epoch"]: row[metric] for row in run.history if metric in row} for run in condition.runs]
    epochs = sorted(set().union(*series))
    values = [[one.get(epoch, np.nan) for epoch in epochs] for one in series if one]
    return np.array(epochs, dtype=np.float64), np.array(values, dtype=np.float64)


def _axis_values(conditions: Sequence[Condition], key: str) -> list[str]:
    values = dict.fromkeys(condition.factors[key] for condition in conditions)
    numbers = {text: as_number(text) for text in values}
    if None in numbers.values():
        return sorted(values)
    return sorted(values, key=lambda text: numbers[text] or 0.0)


def _scaled(texts: Sequence[str]) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Where values stand on an axis from 0 to 1 [N], and its ticks: by size, or side by side for words."""
    distinct = list(dict.fromkeys(texts))
    numbers = {text: as_number(text) for text in distinct}
    known = np.array([number for number in numbers.values() if number is not None])
    if len(known) < len(distinct) or np.ptp(known) == 0:
        order = sorted(distinct, reverse=True)
        ticks = {text: (index + 0.5) / len(order) for index, text in enumerate(order)}
    else:
        if known.min() > 0 and known.max() > _MANY * known.min():
            known = np.log(known)
        heights = (known - known.min()) / np.ptp(known)
        ticks = dict(zip(distinct, map(float, heights), strict=True))
    places = np.array([ticks[text] for text in texts])
    if len(ticks) > 8:  # a random search: its ends are enough
        low, high = min(ticks, key=ticks.__getitem__), max(ticks, key=ticks.__getitem__)
        ticks = {low: ticks[low], high: ticks[high]}
    return places, ticks


def _coordinate_line(axes: Axes, heights: NDArray[np.float64], color: tuple[float, ...]) -> None:
    """A smooth line through the axes, level at each, so that lines can be followed across."""
    x = np.linspace(0, len(heights) - 1, 40 * (len(heights) - 1) + 1)
    left = np.minimum(x.astype(int), len(heights) - 2)
    part = x - left
    eased = part**2 * (3 - 2 * part)
    axes.plot(x, heights[left] * (1 - eased) + heights[left + 1] * eased, color=color, alpha=0.85)


def _tick_text(axes: Axes, place: float, height: float, text: str, *, right: bool) -> None:
    axes.annotate(
        text,
        (place, height),
        xytext=(3 if right else -3, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        fontsize=6.5,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
    )


def _metric_name(metric: str) -> str:
    stage = {"train": "training", "val": "validation"}.get(metric.partition("/")[0], "")
    name = metric.partition("/")[2].removesuffix("_resized")
    return f"{stage} {HEADINGS.get(name, name.replace('_', ' '))}".strip()


def _two_lines(label: str) -> str:
    """The label with nothing cut out: what tells it from others may be anywhere in it."""
    first, rest = "", label.split(", ")
    while rest and len(f"{first}, {rest[0]}") <= _LONGEST:
        first = f"{first}, {rest.pop(0)}" if first else rest.pop(0)
    lines = [_shortened(line) for line in (first, ", ".join(rest)) if line]
    return ",\n".join(lines)


def _shortened(text: str, longest: int = _LONGEST) -> str:
    # matplotlib would read what stands between dollars as mathematics.
    text = " ".join(text.split()).replace("$", r"\$")
    return text if len(text) <= longest else f"{text[: longest // 2 - 1]}…{text[-longest // 2 :]}"
