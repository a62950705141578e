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
