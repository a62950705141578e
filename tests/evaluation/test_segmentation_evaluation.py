"""Masks beside their references; the run has random weights."""

import json
import shutil
from pathlib import Path
from types import ModuleType

from typer.testing import CliRunner

from birdlab.evaluate import app


def test_what_a_run_was_trained_on_may_be_gone(runs: ModuleType, tiny_pairs: Path, tmp_path: Path) -> None:
    """The energy threshold, which would be fitted there, is left out, and said to be."""
    mine, gone = tmp_path / "mine", tmp_path / "gone"
    shutil.copytree(tiny_pairs, gone)
    shutil.copytree(tiny_pairs / "Test", mine / "Test")
    run = runs.mask_run(tmp_path / "run", "data=birdsounds_denoising", f"data.root={gone}", "trainer=cpu")
    scores = []
    for output in ("before.json", "after.json"):
        words = ["--data", "birdsounds_denoising", f"data.root={mine}", "--output", str(tmp_path / output)]
        done = CliRunner().invoke(app, [str(run.directory), *words])
        assert done.exit_code == 0, done.output
        scores.append(json.loads((tmp_path / output).read_text()))
        shutil.rmtree(gone, ignore_errors=True)
    before, after = scores
    assert "nothing is fitted to it to compare with" in done.output.replace("\n", " ")
    assert before["references"].pop("energy threshold")
    assert before == after
