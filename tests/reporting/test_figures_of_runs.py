"""The figures of a comparison: what they show, and when there is nothing to show."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from birdlab.metrics import ReliabilityCurve
from birdlab.reporting import figures
from birdlab.reporting.conditions import Condition, conditions
from birdlab.reporting.read import RunRecord, find_runs, read_runs


@pytest.fixture(scope="module")
def swept(grid: Path) -> list[Condition]:
    return conditions(read_runs(find_runs([grid])))


def texts(figure: Figure | None) -> list[str]:
    assert figure is not None
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def made(label: str, scores: Sequence[float], **factors: str) -> Condition:
    history = [{"epoch": epoch, "val/loss": 1.0 - 0.1 * epoch} for epoch in range(3)]
    runs = tuple(
        RunRecord(
            Path(), label, "finished", scores={"test/iou": score}, history=history, facts={"wall_s": 60.0}
        )
        for score in scores
    )
    return Condition(label, factors, runs)


def test_the_heat_map_has_a_cell_for_each_pair(swept: list[Condition]) -> None:
    figure = figures.heat_map(swept, "iou")
    found = texts(figure)
    assert len(found) == 6
    assert found.count("no result") == 1
    assert figure is not None
    (picture,) = figure.axes[0].images
    means = np.ma.getdata(picture.get_array())
    by_label = {one.label: np.mean(one.values("iou")) for one in swept}
    assert means[0, 2] == pytest.approx(by_label["adam, lr 0.01"])
    assert means[1, 1] == pytest.approx(by_label["sgd, lr 0.001"])
    assert np.isnan(means[1, 0])
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0.0001", "0.001", "0.01"]


def test_a_heat_map_needs_two_keys_that_cross() -> None:
    one_key = [made("a", [0.5], lr="1"), made("b", [0.6], lr="2")]
    assert figures.heat_map(one_key, "iou") is None
    diagonal = [made("a", [0.5], lr="1", width="1"), made("b", [0.6], lr="2", width="2")]
    assert figures.heat_map(diagonal, "iou") is None


def test_bars_are_ordered_and_every_run_is_a_dot(swept: list[Condition]) -> None:
    figure = figures.bars(swept, "iou", {"energy threshold": 0.35})
    assert figure is not None
    axes = figure.axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == sorted(widths, reverse=True)
    dots = sorted(float(x) for line in axes.lines if line.get_marker() == "o" for x in line.get_xdata())  # type: ignore[union-attr]
    assert dots == pytest.approx(sorted(value for one in swept for value in one.values("iou")))
    assert axes.get_xlabel() == "IoU of the test split; a dot a run"
    assert figures.bars([], "iou") is None


def test_folds_that_were_put_together_are_one_dot() -> None:
    one = made("a", [0.5])
    crossed = replace(one, runs=tuple(replace(run, folds=5) for run in one.runs))
    figure = figures.bars([crossed], "iou")
    assert figure is not None
    assert figure.axes[0].get_xlabel() == "IoU of the test split; a dot all folds of a seed"


def test_what_tells_long_labels_apart_is_in_the_figure() -> None:
    long = "efficientnet_lite0, adam, stem {}, weights imagenet"
    figure = figures.bars([made(long.format(stem), [0.5]) for stem in ("copy", "mean", "mean_scaled")], "iou")
    assert figure is not None
    labels = {tick.get_text() for tick in figure.axes[0].get_yticklabels()}
    assert {label.replace("\n", " ") for label in labels} == {
        long.format(stem) for stem in ("copy", "mean", "mean_scaled")
    }
    assert max(len(line) for label in labels for line in label.splitlines()) < 48


def test_curves_are_means_within_the_range_of_runs(swept: list[Condition]) -> None:
    figure = figures.curves(swept, "iou", ["val/loss", "val/iou_resized", "val/never"])
    assert figure is not None
    assert [axes.get_ylabel() for axes in figure.axes] == ["validation loss", "validation IoU"]
    best = figures.by_score(swept, "iou")[0]
    expected = np.mean([[row["val/loss"] for row in run.history] for run in best.runs], axis=0)
    assert any(np.allclose(line.get_ydata(), expected) for line in figure.axes[0].lines)
    assert figures.curves(swept, "iou", ["val/never"]) is None


def test_many_conditions_share_what_is_left_of_the_legend() -> None:
    figure = figures.curves([made(f"c{n}", [n / 20], lr=f"{n}") for n in range(12)], "iou", ["val/loss"])
    assert figure is not None
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "c11"
    assert labels[-1] == "5 others"
    assert len(labels) == 8


def test_parallel_coordinates_has_a_line_a_run(swept: list[Condition]) -> None:
    figure = figures.parallel_coordinates(swept, "iou")
    assert figure is not None
    lines = [line for line in figure.axes[0].lines if len(np.asarray(line.get_xdata())) > 2]
    assert len(lines) == 15
    # Three rates a factor of ten apart are evenly spaced: the axis is logarithmic.
    middle = {round(float(np.interp(1, *line.get_data())), 6) for line in lines}
    assert middle == {0.0, 0.5, 1.0}
    assert figures.parallel_coordinates([made("a", [0.1, 0.2, 0.3], lr="1")], "iou") is None


def test_all_runs_of_a_condition_share_a_reliability_curve() -> None:
    """Ten of ten pixels in the first bin are background in one run, five of thirty are bird in the other."""
    nan = float("nan")
    runs = tuple(
        RunRecord(
            Path(), "a", "finished", reliability=[("pixels", ReliabilityCurve(*map(torch.tensor, each)))]
        )
        for each in (([10, 0], [0.1, nan], [0.0, nan]), ([30, 60], [0.3, 0.9], [5 / 30, 0.5]))
    )
    figure = figures.calibration(Condition("a", {}, runs))
    assert figure is not None
    drawn = figure.axes[0].lines[1].get_xydata()
    np.testing.assert_allclose(drawn, [[0.25, 0.125], [0.9, 0.5]], rtol=1e-6)
    other = replace(runs[0], reliability=[("recordings", runs[0].reliability[0][1])])
    assert figures.calibration(Condition("a", {}, (other, runs[1]))) is None
    assert figures.calibration(made("a", [0.5])) is None


def test_all_runs_of_a_condition_share_a_confusion_matrix() -> None:
    said = [("owl", "owl"), ("owl", "wren"), ("wren", "wren")]
    rows = [{"id": str(n), "label": label, "predicted": guess} for n, (label, guess) in enumerate(said)]
    run = RunRecord(Path(), "a", "finished", samples=rows)
    figure = figures.confusion(Condition("a", {}, (run, run)))
    assert texts(figure) == ["2", "2", "2"]
    assert figure is not None
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["owl (4)", "wren (2)"]
    assert figures.confusion(made("masks", [0.5])) is None


def test_cost_leaves_out_what_does_not_differ(swept: list[Condition]) -> None:
    figure = figures.cost(swept, "iou")
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes] == ["time (min)", "memory (GB)"]
    assert figures.cost([made("a", [0.1]), made("b", [0.2])], "iou") is None


def test_dollars_in_names_are_no_mathematics(tmp_path: Path) -> None:
    hostile = made(r"$\frac{$ \undefined", [0.5, 0.6], **{r"$x^": r"$\bad"})
    figure = figures.bars([hostile, made("b", [0.4])], "iou", {})
    assert figure is not None
    figure.savefig(tmp_path / "figure.png")
