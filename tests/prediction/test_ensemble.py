"""Several networks as one: of a fake one, fainter copies, and run directories as a user loads them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import birdlab
from birdlab.audio.grid import Grid
from birdlab.errors import BirdlabError
from birdlab.prediction.ensemble import Ensemble
from birdlab.prediction.library import Predictor
from birdlab.prediction.network import Network

RATE = 8_000


@dataclass(frozen=True)
class Fainter:
    """Says half of what another network says."""

    of: Any
    name: str = "fainter"
    threshold: float = 0.2
    box_threshold: float = 0.1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)

    def probabilities(self, windows: np.ndarray) -> np.ndarray:
        return np.float32(0.5) * self.of.probabilities(windows)

    def image_probabilities(self, images: np.ndarray) -> np.ndarray:
        return np.float32(0.5) * self.of.image_probabilities(images)


def test_it_says_the_mean(loud_tones: Any, make_tones: Callable[..., np.ndarray]) -> None:
    known = replace(loud_tones, validation_recall={0.5: 0.9}, validation_precision={0.5: 0.8})
    together = Ensemble({"a": known, "b": Fainter(known), "c": Fainter(known)})
    windows = make_tones((0.0, 0.1, 1500.0), duration_s=known.grid.samples(40) / RATE)[None]
    found = together.probabilities(windows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, known.probabilities(windows) * 2 / 3, rtol=1e-6)
    images = np.full((1, 64, 40), 240, np.uint8)
    np.testing.assert_allclose(
        together.image_probabilities(images), known.image_probabilities(images) * 2 / 3, rtol=1e-6
    )
    assert together.threshold == pytest.approx((0.5 + 0.2 + 0.2) / 3)
    assert together.box_threshold == pytest.approx((0.7 + 0.1 + 0.1) / 3)
    assert (together.grid, together.window_columns, together.classes) == (
        known.grid,
        known.window_columns,
        known.classes,
    )
    assert together.name == "loud tones+fainter+fainter"
    assert together.validation_recall == together.validation_precision == {}


def test_it_predicts_as_a_network_does(loud_tones: Any, make_tones: Callable[..., np.ndarray]) -> None:
    """Of many windows; a tone that all of its networks hear is one event at its own threshold."""
    together: Network = Ensemble({"a": loud_tones, "b": Fainter(loud_tones)})
    audio = make_tones((0.3, 0.5, 1500.0), duration_s=1.5)
    one, mean = (Predictor(network).predict(audio, RATE) for network in (loud_tones, together))
    np.testing.assert_allclose(mean.probabilities, 0.75 * one.probabilities, rtol=1e-5)
    assert mean.threshold == pytest.approx(0.35)
    (event,) = mean.events
    assert (event.begin_s, event.end_s) == pytest.approx((0.3, 0.5), abs=0.01)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"grid": Grid(RATE, window_length=32, hop=8, n_fft=64)}, "spectrograms"),
        ({"window_columns": 80}, "windows' columns"),
        ({"classes": {0: "background", 255: "frog"}}, "classes"),
    ],
)
def test_networks_that_do_not_fit_together(loud_tones: Any, change: dict[str, Any], what: str) -> None:
    with pytest.raises(BirdlabError, match=rf"^runs/a and runs/c can't be averaged, their {what} differ"):
        Ensemble({"runs/a": loud_tones, "runs/b": loud_tones, "runs/c": replace(loud_tones, **change)})
    with pytest.raises(BirdlabError, match="give at least one"):
        Ensemble({})


def test_runs_are_loaded_together(runs: ModuleType, tmp_path: Path) -> None:
    first = runs.mask_run(tmp_path / "first").directory
    second = runs.mask_run(tmp_path / "second", temperature=3.0).directory
    audio = np.random.default_rng(0).normal(0, 0.05, 32_000).astype(np.float32)
    alone = [birdlab.load(run).predict(audio, 32_000) for run in (first, second)]
    together = birdlab.load([first, str(second)]).predict(audio, 32_000)
    np.testing.assert_allclose(
        together.probabilities, np.mean([each.probabilities for each in alone], axis=0), atol=1e-6
    )
    assert alone[0].threshold < together.threshold < alone[1].threshold
    assert not isinstance(birdlab.load((first,)).network, Ensemble)


def test_what_cannot_be_loaded_together(runs: ModuleType, tmp_path: Path) -> None:
    first = runs.mask_run(tmp_path / "first").directory
    other = runs.mask_run(tmp_path / "other", "data.sides=one").directory
    with pytest.raises(BirdlabError, match=r"first and .*other can't be averaged"):
        birdlab.load([first, other])
    with pytest.raises(BirdlabError, match="given twice"):
        birdlab.load([first, first.parent / "other" / ".." / "first"])
    with pytest.raises(BirdlabError, match="give at least one"):
        birdlab.load([])
