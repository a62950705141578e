"""Pictures come back as they were written, and damaged ones are named."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from birdlab.data.png import image_size, read_image, write_image
from birdlab.errors import BirdlabError


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    write_image(path, np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8))
    return path


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image=arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_pictures_come_back(tmp_path: Path, image: np.ndarray) -> None:
    path = tmp_path / "Ä (1).png"
    write_image(path, image)
    assert np.array_equal(read_image(path), image)
    assert image_size(path) == image.shape


def test_write_refuses_what_is_not_grey_8_bit(tmp_path: Path) -> None:
    for image in (np.zeros((2, 2)), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2), np.uint8)):
        with pytest.raises(BirdlabError, match=r"a\.png"):
            write_image(tmp_path / "a.png", image)
    assert not list(tmp_path.iterdir())


def test_colour_becomes_grey_by_bt601(tmp_path: Path) -> None:
    blue_green_red = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), blue_green_red)
    # OpenCV versions differ by one step.
    assert read_image(tmp_path / "a.png")[0] == pytest.approx([0.114 * 255, 0.587 * 255, 0.299 * 255], abs=1)


def test_one_bit_pictures_are_black_and_white(tmp_path: Path) -> None:
    mask = np.array([[0, 255, 255, 0]], np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), mask, [cv2.IMWRITE_PNG_BILEVEL, 1])
    assert (tmp_path / "a.png").read_bytes()[24] == 1  # bits per pixel
    assert np.array_equal(read_image(tmp_path / "a.png"), mask)


def test_16_bit_pictures_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.ones((2, 2), np.uint16))
    for function in (read_image, image_size):
        with pytest.raises(BirdlabError, match=r"a\.png.*16 bits"):
            function(tmp_path / "a.png")


@pytest.mark.parametrize("kept", [1, 20, 40, 1000, -1, -12])
def test_truncated_pictures_are_refused(picture: Path, kept: int) -> None:
    picture.write_bytes(picture.read_bytes()[:kept])
    with pytest.raises(BirdlabError, match=r"a\.png.*(truncated|not a PNG)"):
        read_image(picture)


@pytest.mark.parametrize("position", [20, 60, 1500, -20])
def test_damaged_pictures_are_refused(picture: Path, position: int) -> None:
    data = bytearray(picture.read_bytes())
    data[position] ^= 0x10
    picture.write_bytes(data)
    with pytest.raises(BirdlabError, match=r"a\.png.*damaged"):
        read_image(picture)


def test_absent_empty_and_foreign_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((8, 8), np.uint8))
    (tmp_path / "a.jpg").rename(tmp_path / "jpeg.png")
    for name, found in (("absent.png", "cannot be read"), ("empty.png", "empty"), ("jpeg.png", "not a PNG")):
        for function in (read_image, image_size):
            with pytest.raises(BirdlabError, match=f"{name}.*{found}"):
                function(tmp_path / name)
