"""experiments/denoise_then_classify/denoise.py: a copy of each recording, made by one run and floor alone."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from birdlab.errors import BirdlabError

SCRIPTS = Path(__file__).parents[2] / "experiments" / "denoise_then_classify"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("denoise")


@pytest.fixture
def root(species_files: ModuleType, tmp_path: Path) -> Path:
    species_files.birdclef_files(tmp_path / "birds", {"owl": (1.0, 2.0), "wren": (1.5,)})
    return tmp_path / "birds"


def test_each_recording_has_a_copy_of_its_rate_and_length(
    script: ModuleType, root: Path, runs: ModuleType, tmp_path: Path
) -> None:
    run, copy = runs.mask_run(tmp_path / "run"), tmp_path / "copy"
    script.denoise(run.directory, root, copy, -20.0)
    recordings = sorted((root / "train_short_audio").rglob("XC*"))
    assert len(recordings) == 3
    for recording in recordings:
        there = recording.relative_to(root).with_suffix(".flac")
        (before, rate), (after, same) = soundfile.read(recording), soundfile.read(copy / there)
        assert (len(after), same) == (len(before), rate)
        assert not np.allclose(after, before, atol=1e-4)
    assert (copy / "train_metadata.csv").read_text() == (root / "train_metadata.csv").read_text()
    assert json.loads((copy / "denoised.json").read_text())["floor_db"] == -20.0


def test_a_copy_goes_on_with_what_it_was_begun_with_alone(
    script: ModuleType, root: Path, runs: ModuleType, tmp_path: Path
) -> None:
    run, copy = runs.mask_run(tmp_path / "run"), tmp_path / "copy"
    script.denoise(run.directory, root, copy, -20.0)
    kept, gone, *_ = sorted(copy.rglob("*.flac"))
    first, last = kept.stat().st_mtime_ns, gone.read_bytes()
    gone.unlink()
    script.denoise(run.directory, root, copy, -20.0)
    assert kept.stat().st_mtime_ns == first
    assert gone.read_bytes() == last
    with pytest.raises(BirdlabError, match=r"was begun with .*-20\.0.*Give another folder"):
        script.denoise(run.directory, root, copy, -30.0)
    other = runs.mask_run(tmp_path / "other", "seed=1")
    with pytest.raises(BirdlabError, match="was begun with"):
        script.denoise(other.directory, root, copy, -20.0)
    with pytest.raises(BirdlabError, match="holds something else"):
        script.denoise(run.directory, root, root, -20.0)
    with pytest.raises(BirdlabError, match="no recordings in"):
        script.denoise(run.directory, tmp_path, tmp_path / "empty", -20.0)
