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
    return KeptHead(backbone, head, ("owl", "wren"), 2.0, {0.9: 1.0, 0.6: 0.8})


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = kept()
    written.write(tmp_path / "head.npz", Origin(settings=MEL))
    read = KeptHead.open(tmp_path / "head.npz")
    assert isinstance(read, Namer)
    assert (read.name, read.species, read.validation_accuracy) == (
        written.name, ("owl", "wren"), {0.9: 1.0, 0.6: 0.8},
    )  # fmt: skip
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


def test_a_backbone_of_somebody_elses_is_not_built(tmp_path: Path) -> None:
    kept().write(tmp_path / "head.npz", Origin(settings={"_target_": "os.system", "command": "true"}))
    with pytest.raises(BirdlabError, match=r"os\.system.*--trust"):
        KeptHead.open(tmp_path / "head.npz")


@pytest.mark.parametrize("facts", [{"species": ["owl"]}, {"origin": {"shell": "true"}}, {"accuracy": []}])
def test_damaged_files_are_refused(tmp_path: Path, facts: dict[str, object]) -> None:
    kept().write(tmp_path / "head.npz", Origin(settings=MEL))
    with pytest.raises(BirdlabError, match=r"head\.npz wasn't written by birdlab\.probe --head"):
        KeptHead.open(changed(tmp_path / "head.npz", **facts))
