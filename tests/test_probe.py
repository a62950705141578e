"""The command, as it is typed."""

import csv
from pathlib import Path
from types import ModuleType

import pytest
import soundfile
from typer.testing import CliRunner, Result

import birdlab
from birdlab import config
from birdlab.errors import BirdlabError
from birdlab.predict import app as predict
from birdlab.probe import app, choices
from birdlab.probing import birdnet, embeddings

pytest.importorskip("sklearn")
BACKBONE = ["backbone.sample_rate=16000", "backbone.seconds=1.0", "backbone.n_fft=512", "backbone.fmax=7000"]


@pytest.fixture
def words(tiny_species: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Eight tones of each of three species, learnt from twice."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIRDLAB_CACHE", str(tiny_species.parent / "cache"))
    return [
        "data=birdclef",
        f"data.root={tiny_species}",
        "data.species=3",
        "data.folds=3",
        "recordings=[1,2]",
        "draws=2",
    ]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "80"})


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.open(newline="")))


@pytest.mark.parametrize("choice", choices())
def test_each_backbone_composes(choice: str) -> None:
    words = [f"backbone={choice}"] + (["backbone.model=test_vit"] if choice == "timm" else [])
    config.check_keys(config.compose_unchecked(words, root="probe"))


def test_tones_are_told_apart_by_their_pitch(words: list[str], tmp_path: Path) -> None:
    done = run("mel_statistics", *words, *BACKBONE)
    assert done.exit_code == 0, done.stderr
    name = f"mel_statistics {' '.join(word.removeprefix('backbone.') for word in BACKBONE)}"
    rows = rows_of(tmp_path / "outputs/probe/results.csv")
    assert [(row["backbone"], row["recordings"], row["draw"]) for row in rows] == [
        (name, "1", "0"), (name, "1", "1"), (name, "2", "0"), (name, "2", "1"), (name, "all", "0"),
    ]  # fmt: skip
    assert (rows[-1]["macro_f1"], rows[-1]["roc_auc"], rows[-1]["tested"]) == ("1.0", "1.0", "24")
    assert all(float(row["macro_f1"]) > 0.8 for row in rows)
    summary = rows_of(tmp_path / "outputs/probe/summary.csv")
    assert [(row["recordings"], row["draws"]) for row in summary] == [("1", "2"), ("2", "2"), ("all", "1")]
    assert summary[-1]["macro_f1_sd"] == ""
    assert (tmp_path / "outputs/probe/learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert "1.000" in done.stdout


def test_runs_stand_beside_other_backbones(words: list[str], tmp_path: Path, runs: ModuleType) -> None:
    runs.species_run(tmp_path / "a=b" / "003_mine")
    done = run("mel_statistics", "a=b/003_mine", *words, "recordings=[]", "--output", "both")
    assert done.exit_code == 0, done.stderr
    names = dict.fromkeys(row["backbone"] for row in rows_of(tmp_path / "both/results.csv"))
    assert list(names) == ["mel_statistics", "003_mine"]


def test_what_a_run_was_trained_on_is_not_tested(words: list[str], tmp_path: Path, runs: ModuleType) -> None:
    """With any backbone, so that all are tested on the same ones; it is said, and stands in the tables."""
    mine = runs.species_run(tmp_path / "mine")
    every = [f"XC{1000 * species + 100 * number}" for species in (1, 2, 3) for number in range(8)]
    heard = [name for name in every if not name.endswith("700")]
    mine.write_json("recordings.json", {"train": heard[:12], "val": heard[12:], "test": []})
    done = run("mel_statistics", "mine", *words, "recordings=[]")
    assert done.exit_code == 0, done.stderr
    assert "21 of 24 recordings were trained on" in " ".join(done.stderr.split())
    rows = rows_of(tmp_path / "outputs/probe/results.csv")
    assert [(row["tested"], row["left_out"]) for row in rows] == [("3", "21"), ("3", "21")]

    mine.write_json("recordings.json", {"train": every, "val": [], "test": []})
    refused = run("mine", *words, "recordings=[]", "--output", "other")
    assert refused.exit_code == 2
    assert "trained on all recordings that would be tested" in " ".join(refused.stderr.split())


def test_nothing_is_overwritten_unless_asked_for(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "summary.csv").write_text("mine")
    refused = run("mel_statistics", *words, "--output", "mine")
    assert refused.exit_code == 2
    assert "summary.csv exists already" in refused.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["summary.csv"]
    done = run("mel_statistics", *words, "recordings=[]", "--output", "mine", "--overwrite")
    assert done.exit_code == 0, done.stderr


def test_the_licence_is_printed_though_the_embeddings_are_there(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from birdlab.probing.mel_statistics import MelStatistics

    monkeypatch.setattr(MelStatistics, "licence", "ask before you sell it")
    for folder in ("one", "two"):
        done = run("mel_statistics", *words, "recordings=[]", "--output", folder)
        assert "mel_statistics: ask before you sell it" in done.stderr
        monkeypatch.setattr(MelStatistics, "embed", None)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "Name one backbone at least: birdnet"),
        (["birdnett"], "there are birdnet, efficientnet_lite0"),
        (["backbone=birdnet", "untrained"], "birdnet ..."),
        (["mel_statistics", "untrained", "backbone.hop=250"], "of which backbone"),
        (["mel_statistics", "backbone.hopp=250"], "backbone.hop"),
        (["mel_statistics", "recording=[1]"], "recordings"),
        (["mel_statistics", "recordings=[0]"], "whole numbers, at least 1"),
        (["mel_statistics", "draws=many"], "whole numbers, at least 1"),
        (["timm"], "backbone.model has no value"),
        (["mel_statistics", "data.folds=9"], "owl"),
        (["mel_statistics", "data.root=nowhere"], "nowhere"),
        (["mel_statistics", "data=synthetic", "~data.root"], "."),
    ],
)
def test_mistakes_are_explained(words: list[str], tmp_path: Path, wrong: list[str], said: str) -> None:
    done = run(*words, *wrong)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "outputs").exists()


def test_a_missing_package_is_named_before_time_is_spent(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(birdnet, "_PACKAGE", "not_installed")
    monkeypatch.setattr(embeddings, "_of_file", None)
    done = run("mel_statistics", "birdnet", *words)
    assert done.exit_code == 2
    assert "pip install 'birdlab[birdnet]'" in done.stderr


def test_a_kept_head_names_recordings(words: list[str], tiny_species: Path, tmp_path: Path) -> None:
    """In the command and from Python alike, each as the pitch that it has learnt."""
    done = run("mel_statistics", *words, *BACKBONE, "recordings=[]", "--head", "tones.npz")
    assert done.exit_code == 0, done.stderr
    recordings = sorted(tiny_species.rglob("*.wav"))
    asked = ["tones.npz", str(tiny_species), "--output=out", "--table=csv", "--min-confidence=.4"]
    predicted = CliRunner().invoke(predict, asked)
    assert predicted.exit_code == 0, predicted.output
    species = birdlab.load_species("tones.npz")
    for recording in recordings:
        (table,) = (tmp_path / "out").rglob(f"{recording.stem}.csv")
        rows = rows_of(table)
        assert {row["label"] for row in rows} == {recording.parent.name}
        audio, rate = soundfile.read(recording, dtype="float32")
        likely = species.predict(audio, rate).probabilities.max(axis=1)
        assert [float(row["score"]) for row in rows] == pytest.approx(likely.tolist(), abs=1e-3)


def test_a_head_is_of_one_backbone(words: list[str], tmp_path: Path) -> None:
    refused = run("mel_statistics", "untrained", *words, "--head", "tones.npz")
    assert "of which backbone?" in refused.stderr
    refused = run("mel_statistics", *words, "--head", "tones.onnx")
    assert "ends in .npz" in " ".join(refused.stderr.split())
    (tmp_path / "tones.npz").write_bytes(b"mine")
    refused = run("mel_statistics", *words, "--head", "tones.npz")
    assert "tones.npz exists already" in " ".join(refused.stderr.split())
    with pytest.raises(BirdlabError, match=r"tones\.npz wasn't written by birdlab\.probe"):
        birdlab.load_species("tones.npz")
    assert not (tmp_path / "outputs").exists()
