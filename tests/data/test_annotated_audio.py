"""Recordings with boxes: paired, cut into windows, boxes painted where they are heard."""

import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.annotated_audio import AnnotatedAudio, paint
from birdlab.data.boxes import Box
from birdlab.errors import BirdlabError

RATE = 32_000


def sine(frequency: float, begin_s: float, end_s: float, duration_s: float) -> np.ndarray:
    time = np.arange(round(duration_s * RATE)) / RATE
    return 0.025 * np.sin(2 * np.pi * frequency * time) * ((begin_s <= time) & (time < end_s))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One recording of .5 s: a tone of 5 kHz from .2 to .3 s in a box drawn around it."""
    (tmp_path / "audio").mkdir()
    (tmp_path / "labels").mkdir()
    soundfile.write(tmp_path / "audio/XC1.wav", sine(5000, 0.2, 0.3, 0.5), RATE)
    (tmp_path / "labels/XC1.txt").write_text("0.2\t0.3\tbird\n\\\t4700\t5300\n")
    return tmp_path


def test_paint_by_hand() -> None:
    """8 Hz, rows each 1 Hz from -3 to 4, columns centred at .25, .5, .75, ... s."""
    spectrogram = Spectrogram(sample_rate=8, window_length=4, hop=2, n_fft=8)
    mask = paint([Box(0.4, 1.0, 1.5, 3.0, "")], spectrogram, columns=5)
    assert mask.T.tolist() == [[0] * 8, [1, 1, 0, 0, 0, 1, 1, 0], [1, 1, 0, 0, 0, 1, 1, 0], [0] * 8, [0] * 8]
    assert paint([Box(2.4, 3.0, 1.5, 3.0, "")], spectrogram, columns=5, begin_s=2).tolist() == mask.tolist()
    assert paint([Box(0.0, 0.3, 0, math.inf, "")], spectrogram, columns=2).T.tolist() == [[1] * 8, [0] * 8]
    assert not paint([], spectrogram, columns=2).any()


@pytest.mark.parametrize("sides", ["two", "one"])
def test_boxes_lie_on_their_sound(root: Path, sides: str) -> None:
    source = AnnotatedAudio(root=root, window_s=None, sides=sides)
    image, mask = source.read(source.splits()["test"][0])
    assert image.shape == mask.shape == (1024 if sides == "two" else 513, 249)
    loud = image > 100
    assert (loud & (mask == 0)).sum() <= 0.05 * loud.sum()
    assert (loud & (mask == 1)).sum() >= 0.5 * mask.sum()
    if sides == "two":
        assert np.array_equal(mask[:511], mask[512:1023][::-1])


def test_windows_and_their_audio(root: Path) -> None:
    source = AnnotatedAudio(root=root, window_s=0.2, hop_s=0.2)
    samples = source.splits()["test"]
    assert [sample.id for sample in samples] == ["XC1@0.000s", "XC1@0.200s", "XC1@0.300s"]
    assert {sample.group for sample in samples} == {"XC1"}
    whole = soundfile.read(root / "audio/XC1.wav", dtype="float32")[0]
    for sample, start in zip(samples, (0, 6400, 9600), strict=True):
        assert np.array_equal(source.audio(sample), whole[start : start + 6400])
    columns = [source.read(sample)[1].any(axis=0) for sample in samples]
    # Column c is centred at (64 + 64 c) / 32000 s; the tone ends in the middle of the second window.
    assert [(c.sum(), len(c)) for c in columns] == [(0, 99), (49, 99), (0, 99)]


def test_short_recordings_are_padded(root: Path) -> None:
    source = AnnotatedAudio(root=root)
    (sample,) = source.splits()["test"]
    image, mask = source.read(sample)
    assert image.shape == mask.shape == (1024, 1499)
    assert not source.audio(sample)[16_000:].any()
    assert not image[:, 250:].any()


def test_other_sample_rates_are_resampled(root: Path) -> None:
    source = AnnotatedAudio(root=root, sample_rate=16_000, window_s=0.2)
    samples = source.splits()["test"]
    assert [len(source.audio(sample)) for sample in samples] == [3200] * 3
    image, mask = source.read(samples[1])
    assert image[mask == 1].mean() > 20 * image[mask == 0].mean()


def test_labels_beside_the_recordings_and_ravens_names(tmp_path: Path) -> None:
    table = "Begin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\n0\t.1\t0\t16000\n"
    for stem, ending in (("a", ".txt"), ("b", ".selections.txt"), ("c.d", ".Table.1.selections.txt")):
        soundfile.write(tmp_path / f"{stem}.flac", np.zeros(RATE), RATE)
        (tmp_path / f"{stem}{ending}").write_text(table)
    source = AnnotatedAudio(root=tmp_path, window_s=1.0)
    samples = source.splits()["test"]
    assert [sample.id for sample in samples] == ["a@0.000s", "b@0.000s", "c.d@0.000s"]
    assert all(source.read(sample)[1][:, :49].all() for sample in samples)


def test_labels_in_a_folder_of_their_own(root: Path, tmp_path: Path) -> None:
    """As corrected predictions lie: other tables, of other recordings and of all, don't matter."""
    elsewhere = tmp_path / "results"
    elsewhere.mkdir()
    (elsewhere / "XC1.csv").write_text("begin_s,end_s,low_hz,high_hz\n.1,.2,0,4000\n")
    (elsewhere / "_summary.csv").write_text("file,events\nXC1.wav,1\n")
    (elsewhere / "_summary.selections.txt").write_text("Begin Time (s)\tEnd Time (s)\n0\t9\n")
    source = AnnotatedAudio(root=root, labels=elsewhere, window_s=None)
    (sample,) = source.splits()["test"]
    _, mask = source.read(sample)
    assert np.flatnonzero(mask.any(axis=0))[[0, -1]] * 0.002 == pytest.approx([0.1, 0.2], abs=0.005)
    with pytest.raises(BirdlabError, match=r"data\.labels=.*nowhere"):
        AnnotatedAudio(root=root, labels=tmp_path / "nowhere").splits()


def test_two_channels_of_one_recording_share_a_split(tmp_path: Path) -> None:
    for stem in ("XC1_left", "XC1_right", "XC2", "XC3"):
        soundfile.write(tmp_path / f"{stem}.wav", np.zeros(RATE), RATE)
        (tmp_path / f"{stem}.txt").touch()
    splits = AnnotatedAudio(root=tmp_path, fractions=(0.5, 0.25, 0.25)).splits()
    assert sorted(len(samples) for samples in splits.values()) == [1, 1, 2]
    assert {sample.group for sample in splits["train"]} == {"XC1"}


def test_what_a_table_groups_stays_together(tmp_path: Path) -> None:
    for number in range(6):
        soundfile.write(tmp_path / f"site{number}.wav", sine(5000, 0.2, 0.3, 0.5), RATE)
        (tmp_path / f"site{number}.txt").write_text("0.2\t0.3\tbird\n")
    table = tmp_path / "who.tsv"
    table.write_text("recording,group\nsite0.wav,Ann\nsite1,Ann\nsite2,Ben\nsite3,Ben\n")
    source = AnnotatedAudio(root=tmp_path, groups=table, folds=3, fold_tests=True, fractions=(0.5, 0.2, 0.3))
    for fold in range(3):
        splits = replace(source, fold=fold).splits()
        groups = [{sample.group for sample in samples} for samples in splits.values()]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 4
    table.write_text("recording,group\nsite9,Ann\n")
    with pytest.raises(BirdlabError, match=r"data\.groups=.*line 2 .*'site9'.* such as site0"):
        source.splits()
    table.write_text("name,who\nsite0,Ann\n")
    with pytest.raises(BirdlabError, match="give the columns recording and group"):
        source.splits()


def test_channels_stay_together_whatever_a_table_says_of_one(tmp_path: Path) -> None:
    for name in [f"XC{number}_{side}" for number in range(10) for side in ("left", "right")]:
        soundfile.write(tmp_path / f"{name}.wav", sine(5000, 0.2, 0.3, 0.5), RATE)
        (tmp_path / f"{name}.txt").write_text("0.2\t0.3\tbird\n")
    table = tmp_path / "who.tsv"
    table.write_text("recording,group\n" + "".join(f"XC{n}_left,site{n // 2}\n" for n in range(10)))
    splits = AnnotatedAudio(root=tmp_path, groups=table, fractions=(0.6, 0.2, 0.2)).splits()
    names = {split: {sample.id.split("@")[0] for sample in samples} for split, samples in splits.items()}
    assert {split: len(those) for split, those in names.items()} == {"train": 12, "val": 4, "test": 4}
    for those in names.values():
        assert {name.replace("left", "right") for name in those if "left" in name} == {
            name for name in those if "right" in name
        }
    assert {sample.group for samples in splits.values() for sample in samples} == {
        f"site{number}" for number in range(5)
    }


def test_each_label_is_in_every_fold(tmp_path: Path) -> None:
    for number in range(12):
        soundfile.write(tmp_path / f"XC{70_000 + number}.wav", np.zeros(RATE), RATE)
        labels = ["Parus major", f"only {number}"] + ["Turdus merula"] * (number % 4 == 0)
        boxes = "".join(f"0.1\t0.2\t{label}\n" for label in labels)
        (tmp_path / f"XC{70_000 + number}.txt").write_text(boxes, encoding="utf-8")
    source = AnnotatedAudio(root=tmp_path, folds=3, fold_tests=True)
    for fold in range(3):
        tested = [int(sample.group[2:]) % 4 == 0 for sample in replace(source, fold=fold).splits()["test"]]
        assert (tested.count(True), tested.count(False)) == (1, 3)


def test_files_without_partner_are_named(root: Path) -> None:
    soundfile.write(root / "audio/XC2.wav", np.zeros(RATE), RATE)
    (root / "labels/XC3.txt").touch()
    with pytest.raises(
        BirdlabError, match=r"audio file without label: .*XC2\.wav.*label file without audio: .*XC3\.txt"
    ):
        AnnotatedAudio(root=root).splits()


def test_labels_of_another_recording_are_refused(root: Path) -> None:
    (root / "labels/XC1.txt").write_text("0.2\t0.3\n7.5\t8\n")
    with pytest.raises(BirdlabError, match=r"XC1\.txt.*XC1\.wav.*7\.5"):
        AnnotatedAudio(root=root).splits()


def test_broken_files_are_named_before_anything_is_decoded(root: Path) -> None:
    (root / "labels/XC1.txt").write_text("0.2\tx\n")
    with pytest.raises(BirdlabError, match=r"XC1\.txt, line 1"):
        AnnotatedAudio(root=root).splits()
    (root / "labels/XC1.txt").write_text("0.2\t0.3\n")
    (root / "audio/XC1.wav").write_bytes((root / "audio/XC1.wav").read_bytes()[:999])
    with pytest.raises(BirdlabError, match=r"XC1\.wav: truncated"):
        AnnotatedAudio(root=root).splits()


def test_absent_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match=r"data\.root=.*nowhere"):
        AnnotatedAudio(root=tmp_path / "nowhere").splits()
    with pytest.raises(BirdlabError, match="no recordings"):
        AnnotatedAudio(root=tmp_path).splits()


def test_sources_and_samples_travel_to_workers(root: Path) -> None:
    source = AnnotatedAudio(root=str(root))
    other, sample = pickle.loads(pickle.dumps((source, source.splits()["test"][0])))
    assert repr(other) == repr(source) == repr(AnnotatedAudio(root=root))
    assert np.array_equal(other.read(sample)[0], source.read(sample)[0])


def test_all_real_recordings_load(real_data: Path) -> None:
    source = AnnotatedAudio(root=real_data / "boxes")
    splits = source.splits()
    assert not splits["train"]
    assert not splits["val"]
    assert len({sample.group for sample in splits["test"]}) == 38
    pictures = [source.read(sample) for sample in splits["test"]]
    assert {picture.shape for pair in pictures for picture in pair} == {(1024, 1499)}
    inside = np.mean([image[mask == 1].mean() for image, mask in pictures if mask.any()])
    outside = np.mean([image[mask == 0].mean() for image, mask in pictures if not mask.all()])
    assert inside > 1.5 * outside
