"""How every figure looks, what its axes stand for, and how it reaches the disk."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from birdlab.audio.grid import Sides
from birdlab.files import replacing

# Whoever logs at INFO, as Hydra does, would read of every table of every font in a PDF.
logging.getLogger("fontTools").setLevel(logging.WARNING)

COLUMN = 3.4
"""Inches: one column of a two-column paper."""
PAGE = 7.0
"""Inches: both columns."""

# Okabe & Ito, "Color Universal Design" (2008): distinct under every common colour blindness.
BLUE, ORANGE, GREEN, VERMILION, SKY, YELLOW = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#F0E442"
GREY = "#7F7F7F"

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same on every machine
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlepad": 3,
    "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, VERMILION, SKY]),
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "image.origin": "lower",  # row 0 is the lowest frequency
    "image.aspect": "auto",
    "image.cmap": "magma",
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # text stays text, which publishers ask for
    "svg.fonttype": "none",
    "svg.hashsalt": "birdlab",  # or element ids differ each time
}


@dataclass(frozen=True)
class Extent:
    """What the edges of a spectrogram image stand for.

    Attributes:
        duration_s: seconds from the left edge to the right one.
        sample_rate: Hz.
        sides: ``two`` for rows from -fs/2 to fs/2, ``one`` for 0 to fs/2.
    """

    duration_s: float
    sample_rate: int
    sides: Sides

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """Left, right (seconds), bottom, top (kHz), as matplotlib's ``extent``."""
        top = self.sample_rate / 2000
        return 0.0, self.duration_s, -top if self.sides == "two" else 0.0, top


@contextmanager
def styled() -> Iterator[None]:
    """The one style, for as long as a figure is drawn or saved; the caller's settings stay as they are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that belongs to nobody: no pyplot, no window, no global state."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path, *, dpi: int = 300) -> None:
    """Write a figure, whole or not at all, in the format of the path's suffix: png, pdf or svg."""
    with styled(), replacing(path) as temporary:
        # Without dates and versions in the file, the same figure is the same bytes.
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(path.suffix[1:].lower())
        figure.savefig(temporary, dpi=dpi, metadata=metadata)


def save_for_paper(figure: Figure, path: Path, *, dpi: int = 300) -> None:
    """Write a figure as PNG and as PDF; ``path`` has no suffix."""
    for suffix in (".png", ".pdf"):
        save(figure, path.with_name(path.name + suffix), dpi=dpi)


def label_frequency_and_time(axes: Axes, *, frequency: bool, time: bool) -> None:
    """Name the axes of a spectrogram, or leave out the tick labels that a neighbour shows already."""
    if frequency:
        axes.set_ylabel("kHz", labelpad=1)
    if time:
        axes.set_xlabel("time (s)", labelpad=1)
    axes.tick_params(labelleft=frequency, labelbottom=time)
