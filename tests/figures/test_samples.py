from pathlib import Path

import numpy as np

from birdlab.data.cache import Arrays
from birdlab.data.folders import ImageFolders
from birdlab.figures.samples import extent_of, foreground_shares, spread


def test_shares_are_of_pixels() -> None:
    masks = np.zeros((2, 4, 5), np.uint8)
    masks[1, 0] = 1
    arrays = Arrays(directory=Path(), ids=("a", "b"), fields={"masks": masks})
    np.testing.assert_array_equal(foreground_shares(arrays), [0, 0.25])


def test_samples_are_spread_from_the_emptiest_to_the_fullest() -> None:
    shares = np.array([0.3, 0.0, 0.1, 0.2, 0.4])
    assert spread(shares, 3) == [1, 3, 4]
    assert spread(shares, 9) == [1, 2, 3, 0, 4]
    assert spread(shares, 1) == [1]
    assert spread(np.array([]), 3) == []


def test_a_whole_file_lasts_as_long_as_its_columns(tiny_pairs: Path) -> None:
    source = ImageFolders(root=tiny_pairs, sample_rate=16_000)
    extent = extent_of(source, source.splits()["train"][0])
    assert extent.duration_s == (47 * 64 + 128) / 16_000  # 48 columns
    assert extent.limits == (0, extent.duration_s, -8, 8)
