"""The learning curve of heads on embeddings."""

import matplotlib.colors
import numpy as np
import pytest

from birdlab.figures.probing import few_recordings
from birdlab.probing.curve import ALL, Point


def test_each_backbone_is_a_line_through_the_means_of_its_draws() -> None:
    scores = {"good": ((0.4, 0.6), 0.9), "bad": ((0.1, 0.2), 0.3)}
    curves = {
        name: [
            *(Point(2, 1.5, draw, {"macro_f1": value}) for draw, value in enumerate(few)),
            Point(ALL, 20.0, 0, {"macro_f1": many}),
        ]
        for name, (few, many) in scores.items()
    }
    figure = few_recordings(curves)
    (axes,) = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["good", "bad"]
    good, bad = axes.lines
    np.testing.assert_allclose(good.get_xydata(), [[1.5, 0.5], [20, 0.9]])
    np.testing.assert_allclose(bad.get_xydata(), [[1.5, 0.15], [20, 0.3]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", ALL]
    assert axes.get_ylabel() == "macro F1"
    edge = axes.collections[0].get_paths()[0].vertices
    assert (edge[:, 1].min(), edge[:, 1].max()) == pytest.approx((0.4, 0.9))
    assert matplotlib.colors.to_hex(good.get_color()) != matplotlib.colors.to_hex(bad.get_color())
