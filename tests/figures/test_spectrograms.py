from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from birdlab.figures import Extent, augmentation_draws, example_pairs, prediction_panels
from birdlab.figures.spectrograms import _agreement, reduced
from birdlab.figures.style import GREEN, VERMILION, YELLOW

Overlapping = Callable[[Figure], list[tuple[str, str]]]
TWO_SIDED = Extent(duration_s=3.0, sample_rate=32_000, sides="two")


def samples(count: int, size: tuple[int, int] = (8, 12)) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    masks = [(draw.random(size) < 0.1 * number).astype(np.uint8) for number in range(count)]
    return {
        "images": [draw.integers(0, 256, size, np.uint8) for _ in range(count)],
        "masks": masks,
        "probabilities": [0.2 + 0.6 * mask for mask in masks],
        "extents": [TWO_SIDED] * count,
        "ids": [f"XC{41136 + number}" for number in range(count)],
    }


def panels(shown: dict[str, Any], threshold: float = 0.5) -> Figure:
    return prediction_panels(
        shown["images"],
        shown["masks"],
        shown["probabilities"],
        shown["extents"],
        shown["ids"],
        threshold=threshold,
    )


def pairs(shown: dict[str, Any]) -> Figure:
    return example_pairs(shown["images"], shown["masks"], shown["extents"], shown["ids"])


def test_axes_are_in_seconds_and_kilohertz_with_the_lowest_row_at_the_bottom() -> None:
    shown = samples(2)
    for figure in (pairs(shown), panels(shown)):
        for axes in figure.axes:
            assert axes.get_xlim() == (0, 3)
            assert axes.get_ylim() == (-16, 16)
            assert all(image.origin == "lower" for image in axes.images)


def test_one_sided_images_begin_at_zero() -> None:
    shown = samples(1) | {"extents": [Extent(1.5, 22_050, "one")]}
    axes = pairs(shown).axes[0]
    assert axes.get_ylim() == (0, 11.025)
    assert axes.get_xlim() == (0, 1.5)


def test_a_pair_is_the_image_and_its_mask() -> None:
    shown = samples(3)
    axes = pairs(shown).axes
    np.testing.assert_array_equal(axes[2].images[0].get_array(), shown["images"][1])
    np.testing.assert_array_equal(axes[3].images[0].get_array(), shown["masks"][1])
    assert axes[3].get_title(loc="left") == f"{shown['masks'][1].mean():.1%} bird"
    assert not axes[-1].axison  # three pairs leave a place empty


def test_the_title_is_the_iou_of_what_exceeds_the_threshold() -> None:
    truth = np.zeros((4, 4), np.uint8)
    truth[0] = 1
    probability = np.zeros((4, 4))
    probability[0, :3] = 0.6
    probability[1, 0] = 0.5  # not above .5
    shown = {
        "images": [truth],
        "masks": [truth],
        "probabilities": [probability],
        "extents": [TWO_SIDED],
        "ids": ["a"],
    }
    assert panels(shown).axes[3].get_title(loc="left") == "IoU 0.75 at .50"
    assert panels(shown, 0.4).axes[3].get_title(loc="left") == "IoU 0.60 at .40"


def test_an_empty_truth_has_no_iou() -> None:
    shown = samples(1)
    shown["probabilities"][0][0, 0] = 0.9
    assert panels(shown).axes[3].get_title(loc="left") == "no bird; 1.0% marked at .50"


def test_agreement_has_the_colours_of_its_legend() -> None:
    truth = np.array([[True, True, False, False]])
    predicted = np.array([[True, False, True, False]])
    picture = _agreement(np.zeros((1, 4), np.uint8), truth, predicted)
    for pixel, color in zip(picture[0], (GREEN, YELLOW, VERMILION, "black"), strict=True):
        np.testing.assert_allclose(pixel, 0.8 * np.array(to_rgb(color)))
    figure = panels(samples(1))
    (legend,) = figure.legends
    colors = {
        text.get_text(): patch.get_facecolor()[:3]
        for text, patch in zip(legend.texts, legend.get_patches(), strict=True)
    }
    assert colors == {
        "bird, found": to_rgb(GREEN),
        "bird, missed": to_rgb(YELLOW),
        "false alarm": to_rgb(VERMILION),
    }


def test_large_images_arereduced_by_whole_blocks() -> None:
    large = np.zeros((1024, 3033), np.uint8)
    large[1023, 3032] = 255
    small = reduced(large, np.max)
    assert small.shape == (512, 607)  # factors 2 and 5; the last block is filled up with its edge
    assert small[511, 606] == 255
    assert small.sum() == 255


def test_draws_stand_in_rows_with_their_masks_outlined() -> None:
    shown = samples(3)
    draws = [
        [(image, mask), (image[:, ::-1], mask[:, ::-1])]
        for image, mask in zip(shown["images"], shown["masks"], strict=True)
    ]
    figure = augmentation_draws(draws, shown["extents"], shown["ids"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "XC41136", "draw 1", "XC41137", "draw 1", "XC41138", "draw 1",
    ]  # fmt: skip
    np.testing.assert_array_equal(figure.axes[3].images[0].get_array(), shown["images"][1][:, ::-1])
    assert [len(axes.collections) for axes in figure.axes] == [0, 0, 1, 1, 1, 1]  # the first mask is empty


@pytest.mark.parametrize("count", [1, 3])
def test_no_text_overlaps(count: int, overlapping: Overlapping) -> None:
    shown = samples(count)
    shown["ids"][0] = "a_recording_with_a_name_longer_than_its_panel@12.000s"
    differing = shown | {"extents": [Extent(1.0 + number, 32_000, "two") for number in range(count)]}
    draws = [[pair] * 4 for pair in zip(shown["images"], shown["masks"], strict=True)]
    assert overlapping(pairs(shown)) == []
    assert overlapping(pairs(differing)) == []
    assert overlapping(panels(shown)) == []
    assert overlapping(panels(differing)) == []
    assert overlapping(augmentation_draws(draws, differing["extents"], shown["ids"])) == []
