from pathlib import Path

import numpy as np
import pytest

from birdlab.data.png import write_image
from birdlab.data.precomputed import columns, read_levels
from birdlab.errors import BirdlabError


def test_levels_in_db_are_read_as_they_are(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).normal(-40, 10, (16, 30)).astype(np.float32)
    np.save(tmp_path / "a.npy", levels.astype(np.float64))
    assert columns(tmp_path / "a.npy", 16) == 30
    np.testing.assert_allclose(read_levels(tmp_path / "a.npy", 16), levels)


def test_pictures_stand_upside_down_and_for_80_db(tmp_path: Path) -> None:
    picture = np.zeros((16, 5), np.uint8)
    picture[0] = 255  # on top, the highest band
    picture[-1] = 51
    write_image(tmp_path / "a.png", picture)
    levels = read_levels(tmp_path / "a.png", 16)
    assert columns(tmp_path / "a.png", 16) == 5
    np.testing.assert_allclose(levels[[15, 0, 7], 0], [0, -64, -80], atol=1e-4)
    np.save(tmp_path / "a.npy", picture[::-1])
    np.testing.assert_allclose(read_levels(tmp_path / "a.npy", 16), levels)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 30)), "of 8 bands and 30 frames, and data.n_mels=16"),
        (np.zeros((16, 0)), "of 16 bands and 0 frames"),
        (np.zeros(16), r"expected one array \[bands, frames\]"),
        (np.full((16, 4), np.nan), "64 values are NaN or infinite"),
        (np.zeros((16, 4), np.int64), "holds int64"),
        (np.full((16, 4), 70_000.0), "holds 7e.04, which is no level in dB"),
        (np.array([[None]]), "cannot be read as an array"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "XC1.npy", array, allow_pickle=True)
    with pytest.raises(BirdlabError, match=rf"XC1\.npy: .*{message}"):
        read_levels(tmp_path / "XC1.npy", 16)


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00", b"PK\x03\x04"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "XC1.npy").write_bytes(content)
    with pytest.raises(BirdlabError, match=r"XC1\.npy"):
        columns(tmp_path / "XC1.npy", 16)
