"""Several data sets as one: whose samples go where, and that they are read as their own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.data.joined import Joined
from birdlab.data.mixtures import Mixtures
from birdlab.errors import BirdlabError

RATE = 32_000


def recordings(folder: Path, names: list[str], hertz: float) -> AnnotatedAudio:
    """Half a second each, with a tone in a box."""
    for name in names:
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        (folder / "labels").mkdir(exist_ok=True)
        time = np.arange(RATE // 2) / RATE
        tone = 0.02 * np.sin(2 * np.pi * hertz * time) * ((time >= 0.2) & (time < 0.3))
        soundfile.write(folder / f"audio/{name}.wav", tone, RATE)
        (folder / f"labels/{name}.txt").write_text(f"0.2\t0.3\tbird\n\\\t{hertz - 300}\t{hertz + 300}\n")
    return AnnotatedAudio(root=folder, fractions=(0.5, 0.25, 0.25))


@pytest.fixture
def joined(tmp_path: Path) -> Joined:
    low = recordings(tmp_path / "low", [f"XC{n}" for n in range(4)], 2000)
    high = recordings(tmp_path / "high", [f"XC{n}" for n in range(10, 14)], 6000)
    return Joined(parts={"low": low, "high": high}, window_s=0.5, image_size=(32, 20), sides="one")


def by_part(joined: Joined) -> dict[str, list[str]]:
    return {
        split: sorted(sample.id.split("/")[0] for sample in samples)
        for split, samples in joined.splits().items()
    }


def test_splits_are_those_of_the_parts(joined: Joined) -> None:
    expected = {"train": ["high"] * 2 + ["low"] * 2, "val": ["high", "low"], "test": ["high", "low"]}
    assert by_part(joined) == expected


def test_some_parts_alone_validate_and_are_tested(joined: Joined) -> None:
    chosen = replace(joined, validating=["low"], testing=["high"])
    assert by_part(chosen) == {
        "train": ["high"] * 3 + ["low"] * 2,
        "val": ["low"],
        "test": ["high"],
    }


@pytest.mark.parametrize("picture", ["magnitude", "level"])
def test_samples_are_read_as_their_own(joined: Joined, picture: str) -> None:
    joined = replace(joined, picture=picture)  # type: ignore[arg-type]
    for sample in joined.splits()["train"]:
        decoded = joined.decode(sample)
        rows = np.flatnonzero(decoded["masks"].any(axis=1))
        # Rows of 500 Hz.
        assert abs(rows.mean() * 500 + 250 - (2000 if sample.id.startswith("low") else 6000)) < 500
        assert decoded["images"].shape == decoded["masks"].shape == (32, 20)
        loudest = decoded["images"][:, 10].argmax()
        assert loudest in range(rows.min() - 1, rows.max() + 2)


def test_what_the_network_sees_is_said_once(joined: Joined) -> None:
    assert {part.window_s for part in joined.parts.values()} == {0.5}
    assert {part.image_size for part in joined.parts.values()} == {(32, 20)}
    assert joined.settings() != replace(joined, picture="level").settings()
    assert joined.facts(joined.splits()["train"][0]) == {"duration_s": 0.5}


def test_one_recording_in_two_parts_stays_on_one_side(joined: Joined, tmp_path: Path) -> None:
    again = recordings(tmp_path / "again", [f"XC{n}" for n in range(4)], 3000)
    with pytest.raises(BirdlabError, match="scores would be too good"):
        replace(joined, parts={**joined.parts, "again": replace(again, seed=1)}).splits()


def test_parts_that_are_not_there(joined: Joined) -> None:
    with pytest.raises(BirdlabError, match=r"data\.validating has \['middle'\], but the parts are low, high"):
        replace(joined, validating=["middle"])
    with pytest.raises(BirdlabError, match=r"data\.parts is empty"):
        Joined(parts={})


def test_settings_of_parts_are_said_where_they_count(joined: Joined) -> None:
    with pytest.raises(BirdlabError, match=r"data\.folds: each part has its own\. Set data\.parts\.NAME"):
        replace(joined, folds=5)
    with pytest.raises(BirdlabError, match=r"data\.fold: each part has its own\."):
        replace(joined, fold=3)
    odd = replace(joined.parts["low"], window_s=1.0)
    with pytest.raises(BirdlabError, match=r"data\.parts\.low\.window_s=1\.0: .* Set data\.window_s"):
        replace(joined, parts={"low": odd})


def test_a_call_of_mixtures_that_is_tested_elsewhere_is_refused(joined: Joined, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("calls", "noise"):
        (tmp_path / folder).mkdir()
    for number in range(10):
        time = np.arange(RATE // 5) / RATE
        soundfile.write(tmp_path / f"calls/XC{number}_a.wav", 0.1 * np.sin(2 * np.pi * 3000 * time), RATE)
        soundfile.write(tmp_path / f"noise/2023010{number}_120000.wav", rng.normal(0, 0.02, RATE), RATE)
    mixtures = Mixtures(
        calls=tmp_path / "calls",
        noise=tmp_path / "noise",
        size={"train": 40, "val": 0, "test": 0},
        window_s=0.5,
        fractions=(1.0, 0.0, 0.0),
    )
    with pytest.raises(BirdlabError, match=r"recording 'XC\d' is heard in mixtures of train and stands in"):
        replace(joined, parts={**joined.parts, "mixtures": mixtures}).splits()

    # Whatever archive it is from: a clip is called after the recording that it was cut from.
    recordings(tmp_path / "archive", ["mallard_614590"], 2000)
    (tmp_path / "calls/XC3_a.wav").rename(tmp_path / "calls/614590_2_01.wav")
    archive = AnnotatedAudio(root=tmp_path / "archive", fractions=(0.0, 0.0, 1.0))
    with pytest.raises(
        BirdlabError, match="recording '614590' is heard in mixtures of train and stands in test"
    ):
        replace(joined, parts={"archive": archive, "mixtures": mixtures}).splits()

    # Or is a call in other mixtures, over other noise.
    (tmp_path / "rain").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / f"rain/2022010{number}_120000.wav", rng.normal(0, 0.02, RATE), RATE)
    tested = replace(
        mixtures,
        noise=tmp_path / "rain",
        size={"train": 0, "val": 0, "test": 40},
        fractions=(0.0, 0.0, 1.0),
    )
    with pytest.raises(BirdlabError, match=r"is heard in mixtures of train and stands in test, too"):
        replace(joined, parts={"mixtures": mixtures, "tested": tested}, testing=("tested",)).splits()


def test_a_recording_in_two_parts_stands_on_one_side(joined: Joined) -> None:
    low = joined.parts["low"]
    again = replace(low, seed=1)
    assert again.splits() != low.splits()
    with pytest.raises(BirdlabError, match=r"recording 'XC\d' stands in .* and in .*divide them alike"):
        replace(joined, parts={"low": low, "again": again}).splits()
    both = replace(joined, parts={"low": low, "again": low}).splits()
    assert [len(both[split]) for split in ("train", "val", "test")] == [4, 2, 2]
