"""birdlab.analyse on a run, as a user runs it."""

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from birdlab import config
from birdlab.analyse import app
from birdlab.data.png import read_image, write_image
from birdlab.run import Run
from birdlab.train import train

TINY = [
    "+experiment=focal_tversky",
    "data=birdsounds_denoising",
    "data.image_size=[16,16]",
    "model.widths=[2,4]",
    "loader.batch_size=4",
    "loader.num_workers=0",
    "trainer=cpu",
    "memory_format=contiguous",
    "logger=csv",
    "epochs=1",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_pairs: Path) -> Run:
    folder = tmp_path_factory.mktemp("analyse")
    places = [f"data.root={tiny_pairs}", f"loader.cache_dir={folder / 'cache'}"]
    run = Run.new(folder / "run")
    train(config.compose([*TINY, *places]), run)
    return run


def analyse(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_it_draws_what_training_has_drawn(run: Run) -> None:
    code, said = analyse(str(run.directory))
    folder = run.directory / "analysis_test"
    assert code == 0
    assert str(folder) in said.replace("\n", "")
    assert (folder / "scores.csv").read_text() == run.scores.read_text()
    for name in ("errors.csv", "calibration.csv", "errors.png", "worst.png", "calibration.png", "worst.pdf"):
        assert (folder / name).read_bytes() == (run.figures / name).read_bytes(), name


def test_nothing_is_overwritten(run: Run) -> None:
    kept = run.directory / "kept"
    kept.mkdir()
    code, said = analyse(str(run.directory), "--output", str(kept))
    assert code == 2
    assert "exists already" in said
    assert not list(kept.iterdir())


def test_other_data_and_masks_without_birds(run: Run, tiny_pairs: Path, tmp_path: Path) -> None:
    for file in (tiny_pairs / "Valid" / "Images").iterdir():
        image = read_image(file)
        write_image(tmp_path / "Test" / "Images" / file.name, image)
        write_image(tmp_path / "Test" / "Masks" / file.name, 0 * image)
    code, said = analyse(
        str(run.directory),
        *("--data", "birdsounds_denoising", f"data.root={tmp_path}", "--output", str(tmp_path / "found")),
        *("--samples", "2"),
    )
    assert code == 0, said
    with (tmp_path / "found" / "scores.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["id"] for row in rows] == [f"Valid{number}" for number in range(4)]
    assert {(row["foreground_share"], row["call_s"]) for row in rows} == {("0.0", "")}
    assert (tmp_path / "found" / "errors.csv").read_text() == "\n"
