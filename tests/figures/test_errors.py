"""The error figures: what is drawn, and that no text covers another."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from birdlab.analysis import FACTORS, binned
from birdlab.figures import accuracy_by_coverage, error_analysis, reliability_diagram
from birdlab.metrics import CoverageCurve, Reliability, ReliabilityCurve

Overlapping = Callable[[Figure], list[tuple[str, str]]]


def rows(number: int, *factors: str) -> list[dict[str, float]]:
    draw = np.random.default_rng(0)
    made = []
    for _ in range(number):
        iou = draw.uniform()
        known = {"snr_db": draw.uniform(-10, 20), "call_s": draw.uniform(0.05, 3)}
        made.append(
            {
                "id": str(len(made)),
                "iou": iou,
                "foreground_share": draw.uniform(0.001, 0.2),
                "over_segmentation": draw.exponential(),
                "under_segmentation": 1 - iou,
                "true_positive": 100,
                "false_positive": 20,
                "false_negative": 30,
                **{name: known[name] for name in factors},
            }
        )
    return made


def figure_of(table: list[dict[str, float]]) -> Figure:
    return error_analysis(table, [each for factor in FACTORS for each in binned(table, factor)])


@pytest.mark.parametrize(
    ("table", "panels"),
    [(rows(60, "snr_db", "call_s"), 4), (rows(60, "call_s"), 3), (rows(1), 2), ([], 1)],
    ids=["all", "no SNR", "one sample", "nothing"],
)
def test_each_known_factor_has_its_axes(
    table: list[dict[str, float]], panels: int, overlapping: Overlapping
) -> None:
    figure = figure_of(table)
    assert sum(axes.axison for axes in figure.axes) == panels
    assert overlapping(figure) == []


def test_bins_are_drawn_at_their_medians() -> None:
    table = rows(60, "snr_db")
    axes = figure_of(table).axes[1]
    drawn = axes.containers[0].lines[0].get_xydata()
    np.testing.assert_allclose(drawn, [(each.middle, each.iou) for each in binned(table, "snr_db")])


def test_the_first_axes_show_how_many_images_exceed_an_error() -> None:
    table = rows(4)
    for each, value in zip(table, (0.1, 0.2, 0.4, 3.0), strict=True):
        each["over_segmentation"] = value
    (over, _) = figure_of(table).axes[0].patches
    shares, edges, _ = over.get_data()
    assert shares.tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert list(edges) == [0, 0.1, 0.2, 0.4, 3, 3]


def test_reliability_is_drawn_where_there_are_pixels(overlapping: Overlapping) -> None:
    curve = ReliabilityCurve(
        torch.tensor([98, 0, 2]),
        torch.tensor([0.1, float("nan"), 0.9], dtype=torch.float64),
        torch.tensor([0.0, float("nan"), 0.5], dtype=torch.float64),
    )
    figure = reliability_diagram(curve)
    line = figure.axes[0].lines[1]
    assert line.get_xydata().tolist() == [[0.1, 0], [0.9, 0.5]]
    (legend,) = figure.legends
    assert "error 0.1060" in legend.get_texts()[1].get_text()
    assert overlapping(figure) == []


def test_a_network_that_is_always_certain_can_be_drawn(overlapping: Overlapping) -> None:
    reliability = Reliability()
    reliability.update(torch.full((4, 4), -1e4), torch.zeros(4, 4))
    assert overlapping(reliability_diagram(reliability.curve())) == []


def test_both_curves_and_coverage_can_be_read(overlapping: Overlapping) -> None:
    confidence, right = torch.linspace(0.3, 1, 50), torch.arange(50) % 3 > 0
    curve, unscaled = (ReliabilityCurve.of(each, right) for each in (confidence, confidence**0.3))
    figure = reliability_diagram(curve, unscaled, counted="recordings")
    assert figure.axes[1].get_xlabel() == "confidence"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "calibrated",
        f"reported: error {curve.error:.4f}",
        f"unscaled: error {unscaled.error:.4f}",
    ]
    assert figure.axes[1].get_yscale() == "linear"
    assert overlapping(figure) == []
    drawn = accuracy_by_coverage(CoverageCurve.of(confidence, right))
    assert drawn.axes[0].lines[0].get_xydata()[-1].tolist() == [1, pytest.approx(33 / 50)]
    assert overlapping(drawn) == []
