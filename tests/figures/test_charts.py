from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from birdlab.figures import foreground_histogram, learning_curves, threshold_curve
from birdlab.figures.charts import _spread

Overlapping = Callable[[Figure], list[tuple[str, str]]]


def history(epochs: int) -> list[dict[str, float]]:
    """Falling losses, and an IoU whose best epoch is the second to last."""
    rows = [
        {
            "epoch": epoch,
            "step": 10 * epoch + 9,
            "train/loss": 1.0 / (1 + epoch),
            "val/loss": 1.2 / (1 + epoch),
            "train/loss_bce": 0.5 / (1 + epoch),
            "val/iou_resized": 0.6 - 0.01 * abs(epoch - (epochs - 2)),
            "val/iou_best_resized": 0.61,
        }
        for epoch in range(epochs)
    ]
    del rows[0]["train/loss_bce"]  # not every metric is there from the first epoch on
    return rows


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_the_histogram_counts_sparse_and_empty_masks() -> None:
    figure = foreground_histogram(
        {"train": np.array([0, 0, 0.05, 0.5]), "val": np.array([0.1, 0.3]), "test": np.array([])}
    )
    assert legend(figure) == [
        "training (n = 4): 75% below 10%, 2 empty",
        "validation (n = 2): 0% below 10%, 0 empty",
    ]


def test_the_histogram_shows_shares_of_each_split() -> None:
    figure = foreground_histogram({"train": np.array([0, 0, 0.05, 0.5]), "val": np.array([0.11] * 7)})
    values = [patch.get_data().values for patch in figure.axes[0].patches if hasattr(patch, "get_data")]
    assert [value.sum() for value in values] == [1, 1]
    np.testing.assert_allclose(values[0][[0, 2]], [0.5, 0.25])  # bins of 2 %: 0..2 and 4..6


def test_curves_mark_the_best_epoch() -> None:
    loss_axes, iou_axes = learning_curves(history(40)).axes
    assert iou_axes.get_title(loc="left") == "best epoch 38: 0.600"
    for axes, height in ((loss_axes, 1.2 / 39), (iou_axes, 0.6)):
        (dot,) = [line for line in axes.lines if line.get_marker() == "o"]
        assert dot.get_xdata()[0] == 38
        assert dot.get_ydata()[0] == pytest.approx(height)


def test_curves_can_be_judged_by_the_loss() -> None:
    _, iou_axes = learning_curves(history(10), score="val/loss", mode="min").axes
    assert iou_axes.get_title(loc="left") == "best epoch 9: 0.120"


def test_curves_draw_what_was_logged_where_it_was() -> None:
    loss_axes, _ = learning_curves(history(10)).axes
    drawn = {
        text.get_text(): len(line.get_xdata())
        for text, line in zip(loss_axes.texts, loss_axes.lines, strict=False)
    }
    assert drawn == {"training": 10, "bce": 9, "validation": 10}


def test_losses_of_several_magnitudes_are_on_a_logarithmic_axis() -> None:
    rows = history(5)
    assert learning_curves(rows).axes[0].get_yscale() == "linear"
    rows[3]["val/loss"] = 1000.0
    assert learning_curves(rows).axes[0].get_yscale() == "log"


def test_the_threshold_curve_names_both_thresholds() -> None:
    thresholds = np.linspace(0, 1, 11)
    figure = threshold_curve(thresholds, 1 - (thresholds - 0.3) ** 2, chosen=0.3)
    assert legend(figure) == ["threshold .5: 0.960", "chosen .30: 1.000"]
    assert legend(threshold_curve(thresholds, thresholds, chosen=0.5)) == ["chosen .50: 0.500"]


def test_labels_are_pushed_apart_and_no_further_than_needed() -> None:
    assert _spread([0.5, 0.1, 0.52, 0.9], gap=0.1) == pytest.approx([0.5, 0.1, 0.6, 0.9])


@pytest.mark.parametrize("epochs", [0, 1, 2, 40])
def test_no_text_overlaps_in_curves(epochs: int, overlapping: Overlapping) -> None:
    assert overlapping(learning_curves(history(epochs) if epochs else [])) == []


def test_no_text_overlaps_in_histogram_and_threshold_curve(overlapping: Overlapping) -> None:
    draw = np.random.default_rng(0)
    shares = {split: draw.beta(0.6, 12, 10_000) for split in ("train", "val", "test")}
    assert overlapping(foreground_histogram(shares)) == []
    assert overlapping(threshold_curve([0, 1], [0.1, 0.2], chosen=0.51)) == []
