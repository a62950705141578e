"""Fixtures shared by the tests of birdlab.figures."""

from collections.abc import Callable
from itertools import combinations
from unittest.mock import patch

import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from birdlab.figures.style import styled


@pytest.fixture(scope="session")
def overlapping() -> Callable[[Figure], list[tuple[str, str]]]:
    """A function that lists which texts of a figure touch each other or leave the figure."""

    def find(figure: Figure) -> list[tuple[str, str]]:
        canvas = FigureCanvasAgg(figure)
        drawn: dict[Text, Bbox] = {}
        draw = Text.draw

        def record(text: Text, renderer: RendererBase) -> None:
            draw(text, renderer)
            drawn[text] = text.get_window_extent(renderer)  # the last pass, after the layout, is what counts

        with styled(), patch.object(Text, "draw", record):
            canvas.draw()
        boxes = [
            (text.get_text(), box) for text, box in drawn.items() if text.get_text() and text.get_visible()
        ]
        width, height = canvas.get_width_height()
        outside = [
            (text, "edge")
            for text, box in boxes
            if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
        ]
        pairs = combinations(boxes, 2)
        return outside + [(one, other) for (one, box), (other, near) in pairs if box.overlaps(near)]

    return find
