"""What can be known of a species without hearing the bird."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from birdlab.data.birdclef import BirdCLEF
from birdlab.data.classification import ClassificationData
from birdlab.shortcuts import (
    LoudnessBandwidthLength,
    features_of,
    origins_of,
    origins_of_species,
    targets_of,
)

RATE = 16_000


def noise_data(root: Path, **of_species: dict[str, float]) -> ClassificationData:
    """Twelve recordings of noise for each species, whose gain, pass band and length are given."""
    rng = np.random.default_rng(0)
    lines = ["primary_label,filename,origin"]
    for number, (name, settings) in enumerate(of_species.items(), start=1):
        (root / "train_short_audio" / name).mkdir(parents=True)
        for index in range(12):
            n = round(RATE * settings.get("seconds", 1.5) * rng.uniform(0.9, 1.1))
            spectrum = np.fft.rfft(rng.normal(0, 1, n))
            spectrum[np.fft.rfftfreq(n, 1 / RATE) > settings.get("top_hz", 8000)] *= 1e-6
            audio = np.fft.irfft(spectrum, n) * settings.get("gain", 0.05) * rng.uniform(0.8, 1.2)
            file = f"XC{number}{index:02d}00.wav"
            soundfile.write(
                root / "train_short_audio" / name / file, audio.clip(-1, 1), RATE, subtype="FLOAT"
            )
            lines.append(f"{name},{file},{'zoo' if number > 2 else 'wild'}")
    (root / "train_metadata.csv").write_text("\n".join(lines))
    source = BirdCLEF(
        root=root, sample_rate=RATE, n_fft=512, hop=250, n_mels=16, fmax=7000.0, segments=4, segment_s=0.25,
        species=len(of_species), short="tile", fractions=(0.5, 0.0, 0.5),
    )  # fmt: skip
    return ClassificationData(source, cache_dir=root.parent / "cache")


def accuracy(data: ClassificationData) -> float:
    guess = LoudnessBandwidthLength().fit(data).predict(data, "test").argmax(dim=1)
    return float((guess == targets_of(data, "test").argmax(dim=1)).double().mean())


@pytest.mark.parametrize("different", [{"gain": 0.2}, {"top_hz": 3000.0}, {"seconds": 1.0}, {"seconds": 0.6}])
def test_it_tells_loudness_bandwidth_and_length(tmp_path: Path, different: dict[str, float]) -> None:
    assert accuracy(noise_data(tmp_path / "data", ant={}, bat=different)) >= 0.9


def test_it_tells_a_middling_loudness(tmp_path: Path) -> None:
    species = {"ant": {"gain": 0.01}, "bat": {"gain": 0.05}, "cat": {"gain": 0.25}}
    assert accuracy(noise_data(tmp_path / "data", **species)) >= 0.9


def test_it_tells_nothing_else(tmp_path: Path) -> None:
    assert accuracy(noise_data(tmp_path / "data", ant={}, bat={}, cat={}, dog={})) <= 0.6


def test_features_by_hand(tmp_path: Path) -> None:
    data = noise_data(tmp_path / "data", ant={}, bat={"gain": 0.5, "seconds": 0.5, "top_hz": 3000})
    # Of all recordings, whichever are drawn for training.
    features = torch.cat([features_of(data, split) for split in ("train", "test")])
    label = torch.cat([targets_of(data, split) for split in ("train", "test")]).argmax(dim=1)
    quiet, loud = features[label == 0].mean(dim=0), features[label == 1].mean(dim=0)
    assert float(loud[0] - quiet[0]) == pytest.approx(20, abs=3)  # ten times the amplitude, fewer bands
    assert quiet[3] == loud[3] == 0
    assert quiet[4] == 15
    assert 8 <= loud[4] <= 12  # 3000 Hz of 7000
    assert quiet[5] == pytest.approx(1.5, abs=0.2)
    assert quiet[6] == pytest.approx(1.0)
    assert loud[5] == loud[6] == pytest.approx(0.5, abs=0.1)


def test_collections_are_those_of_the_recordings(tmp_path: Path) -> None:
    data = noise_data(tmp_path / "data", ant={}, bat={}, cat={})
    assert origins_of_species(data) == [{"wild"}, {"wild"}, {"zoo"}]
    assert set(origins_of(data, "test")) == {"wild", "zoo"}


def test_species_count_alike_however_many_recordings_they_have(tmp_path: Path) -> None:
    """Where nothing tells them apart, no species is guessed for being common."""
    data = noise_data(tmp_path / "data", ant={}, bat={})
    ants, bats = ([s for s in data.labelled("train") if s.label == label] for label in (0, 1))
    data.splits["train"] = [*ants, *bats[::2]]
    probability = LoudnessBandwidthLength().fit(data).predict(data, "train").softmax(dim=1).double()
    weights = (targets_of(data, "train") / targets_of(data, "train").sum(dim=0)).sum(dim=1)
    assert float((probability[:, 0] * weights).sum() / weights.sum()) == pytest.approx(0.5, abs=0.02)


def test_shares_of_species_are_fitted_one_by_one(tmp_path: Path) -> None:
    data = noise_data(tmp_path / "data", ant={}, bat={"gain": 0.5})
    object.__setattr__(data.source, "multilabel", True)
    logits = LoudnessBandwidthLength().fit(data).predict(data, "test")
    assert ((logits > 0).double() == targets_of(data, "test")).double().mean() >= 0.9
