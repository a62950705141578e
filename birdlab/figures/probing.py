"""How many recordings a head on embeddings needs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from birdlab.figures.style import BLUE, GREEN, GREY, ORANGE, PAGE, SKY, VERMILION, new_figure, styled
from birdlab.probing.curve import Point

_COLORS = (BLUE, ORANGE, GREEN, VERMILION, SKY, GREY)
_MARKERS = "osD^vPX"


def few_recordings(curves: Mapping[str, Sequence[Point]], score: str = "macro_f1") -> Figure:
    """A score over the training recordings of each species: mean and range over draws.

    Args:
        curves: by backbone, all with the same numbers of recordings.
        score: name of the score, in 0..1.
    """
    with styled():
        figure = new_figure(PAGE / 2 + 0.6, 2.6)
        axes = figure.add_subplot()
        ticks: dict[float, str] = {}
        for number, (name, points) in enumerate(curves.items()):
            counts = list(dict.fromkeys(point.recordings for point in points))
            drawn = [[p for p in points if p.recordings == count] for count in counts]
            places = np.array([np.mean([point.mean_recordings for point in each]) for each in drawn])
            values = [np.array([point.scores[score] for point in each]) for each in drawn]
            color = _COLORS[number % len(_COLORS)]
            axes.fill_between(
                places, [v.min() for v in values], [v.max() for v in values], color=color, alpha=0.15, lw=0
            )
            means = [v.mean() for v in values]
            marker = _MARKERS[number % len(_MARKERS)]
            axes.plot(places, means, marker=marker, markersize=3.5, color=color, label=name)
            ticks |= dict(zip(places.tolist(), map(str, counts), strict=True))
        axes.set_xscale("log")
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(0, 1)
        axes.set_xlabel("training recordings of each species, at most")
        axes.set_ylabel(score.replace("_", " ").replace("f1", "F1"))
        figure.legend(loc="outside upper left", ncols=2, borderaxespad=0.2, labelspacing=0.25)
        return figure
