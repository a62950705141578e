"""Pictures, pixel by pixel."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from birdlab.audio.grid import Grid
from birdlab.prediction.events import Event
from birdlab.prediction.pictures import MaskTiles, Overlay, brightness, framed, marked, official, power
from birdlab.prediction.stream import Stretch

GRID = Grid(sample_rate=8_000, window_length=32, hop=16, n_fft=64)
MARK = [0, 140, 255]


def test_official_rows() -> None:
    """Half rows 0 to 4 of eight points become rows -3 to 4, and one-sided pictures stand upright."""
    half = np.array([[True], [False], [True], [False], [True]])
    assert official(half, "two")[:, 0].tolist() == [0, 255, 0, 255, 0, 255, 0, 255]
    assert official(half[:2], "one")[:, 0].tolist() == [0, 255]


def test_tiles_do_not_depend_on_stretches(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((33, 100)) > 0.5
    for name, cuts in (("one", []), ("many", [1, 41, 60, 82, 99])):
        tiles = MaskTiles(GRID, 40, tmp_path / name, "a")
        for part in np.split(mask, cuts, axis=1):
            tiles.see(part)
        tiles.finish()
    one, many = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "many"))
    assert one == many
    assert sorted(one) == ["a@0.000s.png", "a@0.082s.png", "a@0.164s.png"]
    tile = cv2.imread(str(tmp_path / "one/a@0.082s.png"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(tile[31:] > 0, mask[:, 41:81])


def test_overlay_outlines_the_mask_where_it_is() -> None:
    """30 s at 20 ms a pixel: a strip of 1000 pixels and one of 500, under each other."""
    overlay = Overlay(GRID, threshold=0.5)
    columns = 15_000
    probabilities = np.zeros((33, columns), np.float32)
    probabilities[10:20, 11_000:12_000] = 1  # 22 to 24 s, in the second strip
    audio = np.random.default_rng(0).normal(0, 0.1, GRID.samples(columns)).astype(np.float32)
    for first in range(0, columns, 1125):
        part = probabilities[:, first : first + 1125]
        samples = audio[first * 16 : (first + part.shape[1] - 1) * 16 + 32]
        overlay.see(Stretch(first, part, samples))
        assert overlay.pages() == []
    (picture,) = overlay.finish()
    outlined = np.argwhere((picture == MARK).all(axis=2))
    height = picture.shape[0] // 2
    assert (outlined[:, 0] > height).all()
    left = outlined[:, 1].min() - 44  # the width of the axis
    right = outlined[:, 1].max() - 44
    assert (left, right) == (100, 199)


def test_long_recordings_get_pages() -> None:
    overlay = Overlay(GRID, threshold=0.5, page_s=1.0)
    pages = []
    for first in range(0, 1250, 125):
        overlay.see(Stretch(first, np.zeros((33, 125), np.float32), np.zeros(GRID.samples(125), np.float32)))
        pages += overlay.pages()
    assert len(pages) == 2
    assert len(overlay.finish()) == 1
    assert overlay.finish() == []


def test_boxes_are_drawn_on_their_page_and_strip() -> None:
    """At 8 kHz: 33 rows; pages of 40 s are two strips of 1000 pixels."""
    overlay = Overlay(GRID, threshold=np.inf, page_s=40.0)
    columns = 40_000  # 80 s
    overlay.see(Stretch(0, np.ones((33, columns), np.float32), np.zeros(GRID.samples(columns), np.float32)))
    pages = overlay.pages()
    box = Event(78.0, 79.0, 1_000, 2_000, 0.9)
    for number, page in enumerate(pages):
        assert not (page == MARK).all(axis=2).any()
        overlay.add_boxes(page, number, [Event(19.0, 21.0, 1_000, 2_000, 0.9), box])
    first, second = (
        [np.argwhere((strip == MARK).all(axis=2)) for strip in np.split(page, 2)] for page in pages
    )
    # Rows are turned over, below 10 of margin: 4 kHz is row 10, 0 row 42. Columns begin at 44.
    assert [part.min(axis=0).tolist() for part in first] == [[26, 44 + 950], [26, 44]]
    assert [part.max(axis=0).tolist() for part in first] == [[34, 44 + 999], [34, 44 + 49]]
    assert not len(second[0])
    assert second[1].min(axis=0).tolist() == [26, 44 + 900]
    assert second[1].max(axis=0).tolist() == [34, 44 + 949]


def test_a_named_box_has_its_name_beside_it() -> None:
    overlay = Overlay(GRID, threshold=np.inf)
    overlay.see(Stretch(0, np.zeros((33, 5_000), np.float32), np.zeros(GRID.samples(5_000), np.float32)))
    (page,) = overlay.finish()
    box = Event(2.0, 3.0, 0, 1_000, 0.9, "robin", 0.8)
    plain, named = page.copy(), page.copy()
    overlay.add_boxes(plain, 0, [replace(box, label_score=float("nan"))])
    overlay.add_boxes(named, 0, [box])
    differs = np.argwhere((plain != named).any(axis=2))
    assert len(differs) > 0
    assert differs[:, 0].max() < 10 + 24  # above the box, whose upper edge is at 1 kHz
    assert differs[:, 1].min() >= 44 + 99


def test_power_of_a_tone_and_of_a_picture() -> None:
    audio = np.sin(2 * np.pi * 2000 * np.arange(GRID.samples(50)) / 8000).astype(np.float32)
    levels = power(audio, GRID.one_sided(), 50)
    assert levels.shape == (33, 50)
    assert (levels.argmax(axis=0) == 16).all()
    image = np.zeros((64, 7), np.uint8)
    image[31 + 5] = 255
    assert power(image, GRID, 7).argmax(axis=0).tolist() == [5] * 7


def test_brightness_is_white_for_the_background() -> None:
    levels = np.full((10, 100), 1e-4, np.float32)
    levels[5, 50:53] = 1
    grey = brightness(levels)
    assert grey[0, 0] == 255
    assert grey[5, 51] == 0
    assert (brightness(np.zeros((4, 5), np.float32)) == 255).all()


def test_frame_has_room_for_axes() -> None:
    picture = marked(np.full((128, 300), 255, np.uint8), np.zeros((128, 300), np.bool_))
    canvas = framed(picture, 20.0, 0.02, 16_000)
    assert canvas.shape[0] > 128
    assert canvas.shape[1] > 300
    assert (canvas[140:] < 255).any()  # labels below
    assert (canvas[:, :44] < 255).any()  # and at the left


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_tiny_recordings_have_pictures_too(columns: int) -> None:
    overlay = Overlay(GRID, threshold=0.5)
    samples = np.zeros(GRID.samples(columns), np.float32)
    overlay.see(Stretch(0, np.ones((33, columns), np.float32), samples))
    (picture,) = overlay.finish()
    assert picture.size
