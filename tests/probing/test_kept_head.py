"""A head and its backbone, written and read again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from birdlab.errors import BirdlabError
from birdlab.prediction.naming import Namer
from birdlab.probing.head import Head
from birdlab.probing.kept_head import KeptHead
from birdlab.probing.origin import Origin

MEL = {
    "_target_": "birdlab.probing.mel_statistics.MelStatistics",
    "sample_rate": 8000,
    "seconds": 0.5,
    "n_fft": 256,
    "hop": 125,
    "n_mels": 8,
    "fmin": 200,
    "fmax": 4000,
}


def kept(settings: dict[str, Any] = MEL) -> KeptHead:
    backbone = Origin(settings=settings).open()
    rng = np.random.default_rng(0)
    head = Head(rng.normal(0, 0.1, (16, 2)), rng.normal(size=2))
    return KeptHead(backbone, head, ("owl", "wren"), 2.0)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = kept()
    written.write(tmp_path / "head.npz", Origin(settings=MEL))
    read = KeptHead.open(tmp_path / "head.npz")
    assert isinstance(read, Namer)
    assert (read.name, read.species, read.temperature) == (written.name, ("owl", "wren"), 2.0)
    for seconds in (0.2, 0.5, 1.7):
        audio = np.random.default_rng(1).normal(0, 0.1, round(8000 * seconds)).astype(np.float32)
        assert read.scores(audio).tolist() == written.scores(audio).tolist()
        assert read.scores(audio).sum() == pytest.approx(1)


def test_a_temperature_makes_it_less_sure() -> None:
    audio = np.random.default_rng(1).normal(0, 0.1, 4000).astype(np.float32)
    odds = [
        np.log(each[0] / each[1])
        for each in (kept().scores(audio), replace(kept(), temperature=1).scores(audio))
    ]
    assert odds[0] == pytest.approx(odds[1] / 2, rel=1e-4)


def changed(path: Path, **facts: object) -> Path:
    """The same file with other facts."""
    with np.load(path) as arrays:
        about = json.loads(str(arrays["about"])) | facts
        np.savez(path, about=json.dumps(about), weights=arrays["weights"], bias=arrays["bias"])
    return path


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    kept().write(tmp_path / "head.npz", Origin(settings=MEL | {"n_mels": 9}))
    with pytest.raises(BirdlabError, match=r"head\.npz was fitted to embeddings of .*, and what is here is"):
        KeptHead.open(tmp_path / "head.npz")


@pytest.mark.parametrize(
    "settings",
    [
        {"_target_": "os.system", "command": "true"},
        {
            "_target_": "timm.create_model",
            "model_name": "resnet18",
        },  # birdlab ships it, but not as a backbone
        MEL | {"checkpoint_path": "weights.pth"},
    ],
)
def test_a_backbone_of_somebody_elses_is_not_built(tmp_path: Path, settings: dict[str, Any]) -> None:
    kept().write(tmp_path / "head.npz", Origin(settings=settings))
    with pytest.raises(BirdlabError, match=r"head\.npz can't bring back its backbone.*--trust"):
        KeptHead.open(tmp_path / "head.npz")


@pytest.mark.parametrize(
    "facts",
    [
        {"species": ["owl"]},
        {"species": "ab"},
        {"species": ["owl", "owl"]},
        {"species": [1, 2]},
        {"temperature": 0},
        {"temperature": "hot"},
        {"origin": {"shell": "true"}},
        {"origin": {}},
        {"origin": {"run": 5}},
        {"origin": {"run": "here", "settings": MEL}},
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, facts: dict[str, object]) -> None:
    kept().write(tmp_path / "head.npz", Origin(settings=MEL))
    with pytest.raises(BirdlabError, match=r"head\.npz wasn't written by birdlab\.probe --head"):
        KeptHead.open(changed(tmp_path / "head.npz", **facts))


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    kept().write(tmp_path / "head.npz", Origin(settings=MEL))
    content = (tmp_path / "head.npz").read_bytes()
    for part in (content[:-40], content[:10], b""):
        (tmp_path / "head.npz").write_bytes(part)
        with pytest.raises(BirdlabError, match=r"head\.npz wasn't written by birdlab\.probe --head"):
            KeptHead.open(tmp_path / "head.npz")


def test_a_head_of_another_width_is_refused(tmp_path: Path) -> None:
    wrong = replace(kept(), head=Head(np.zeros((15, 2)), np.zeros(2)))
    wrong.write(tmp_path / "head.npz", Origin(settings=MEL))
    with pytest.raises(BirdlabError, match=r"head on 15 features, and its backbone has 16"):
        KeptHead.open(tmp_path / "head.npz")


def test_a_run_that_is_gone_is_named_with_the_head(tmp_path: Path) -> None:
    kept().write(tmp_path / "head.npz", Origin(run=str(tmp_path / "gone")))
    with pytest.raises(BirdlabError, match=r"head\.npz can't bring back its backbone.*gone"):
        KeptHead.open(tmp_path / "head.npz")


def test_other_species_are_another_head() -> None:
    """What was predicted by one isn't taken for the other's."""
    assert kept().name != replace(kept(), species=("wren", "owl")).name
    assert kept().name != replace(kept(), temperature=1.0).name
