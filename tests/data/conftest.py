"""Fixtures shared by the tests of birdlab.data."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module toy_source, importable in child processes too."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("toy_source")


@pytest.fixture
def birds(species_files: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module species_files; what an inspection finds is kept in a folder of the test's own."""
    monkeypatch.setenv("BIRDLAB_CACHE", str(tmp_path / "cache"))
    return species_files
