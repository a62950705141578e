"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; tests that need it skip where it is absent."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("BIRDLAB_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} is absent (set BIRDLAB_REAL_DATA)")
    return folder
