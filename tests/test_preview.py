from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from birdlab.build import build_data
from birdlab.config import compose
from birdlab.data.loading import Draw, SegmentationDataset
from birdlab.figures.samples import foreground_shares, spread
from birdlab.preview import app, preview


@pytest.fixture
def words(tiny_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """As on the command line, for 8, 4 and 4 tiny pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIRDLAB_CACHE", str(tiny_pairs.parent / "cache"))
    return [
        "+experiment=focal_tversky",
        "data=birdsounds_denoising",
        f"data.root={tiny_pairs}",
        "data.image_size=[16,16]",
    ]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "80"})


def test_it_draws_into_outputs_and_prints_what_there_is(words: list[str], tmp_path: Path) -> None:
    done = run(*words, "augment=physical", "--n", "2")
    assert done.exit_code == 0, done.stderr
    written = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "outputs").rglob("*.*")}
    assert written == {f"outputs/preview/{name}.png" for name in ("foreground", "samples", "augmented")}
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert [rows[split][:2] for split in ("train", "val", "test")] == [["8", "8"], ["4", "4"], ["4", "4"]]
    assert rows["train"][-1] == "0.0%"  # no mask is empty


def test_nothing_is_overwritten_unless_asked_for(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "samples.png").write_text("mine")
    refused = run(*words, "--output", "mine")
    assert refused.exit_code == 2
    assert "samples.png exists already" in refused.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["samples.png"]
    assert run(*words, "--output", "mine", "--n", "1", "--overwrite").exit_code == 0
    assert (tmp_path / "mine" / "samples.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["optimizer.lrr=1"], "optimizer.lr,"),
        (["data.root=nowhere"], "nowhere"),
        (["--split", "valid"], "there are train, val, test"),
    ],
)
def test_mistakes_are_explained(words: list[str], tmp_path: Path, wrong: list[str], said: str) -> None:
    refused = run(*words, *wrong)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert not (tmp_path / "outputs").exists()


def test_the_draws_are_those_of_the_first_epochs_of_training(words: list[str]) -> None:
    data = build_data(compose([*words, "augment=physical", "seed=3"]))
    figure = preview(data, "train", 2)["augmented"]
    arrays = data.arrays("train")
    trained_on = SegmentationDataset(arrays, data.augment)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    for row, index in enumerate(spread(foreground_shares(arrays), 2)):
        np.testing.assert_array_equal(shown[4 * row], arrays["images"][index])
        for epoch in range(3):
            np.testing.assert_array_equal(shown[4 * row + 1 + epoch], trained_on[Draw(epoch, index)]["image"])


def test_only_training_samples_are_augmented(words: list[str]) -> None:
    data = build_data(compose([*words, "augment=physical"]))
    assert set(preview(data, "val", 2)) == {"foreground", "samples"}
