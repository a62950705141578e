"""Folders in the layout of BirdCLEF 2021: curated, split, read as stacks; and what can be wrong with them."""

import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType

import librosa
import numpy as np
import pytest
import soundfile
from rich.console import Console

from birdlab.audio import io
from birdlab.data.birdclef import BirdCLEF, _labels
from birdlab.data.png import read_image, write_image
from birdlab.data.source import SPLITS
from birdlab.data.species import LabelledStack
from birdlab.errors import BirdlabError

Rows = dict[str, dict[str, str]]


@pytest.fixture
def root(birds: ModuleType, tmp_path: Path) -> Path:
    """Five owls, four wrens, four emus of 1.2 to 2 s, and two finches."""
    lengths = {
        "owl": [2.0, 1.8, 1.6, 1.4, 1.2],
        "wren": [1.5] * 4,
        "emu": [1.5, 1.5, 1.2, 1.2],
        "finch": [1.5] * 2,
    }
    birds.birdclef_files(tmp_path / "data", lengths)
    return tmp_path / "data"


def source(birds: ModuleType, root: Path, **settings: object) -> BirdCLEF:
    return BirdCLEF(root=root, **birds.SETTINGS | {"species": 3} | settings)


def stacks(source: BirdCLEF) -> list[LabelledStack]:
    splits = source.splits()
    return [sample for split in SPLITS for sample in splits[split]]  # type: ignore[misc]


def text(source: BirdCLEF) -> str:
    console = Console(width=120)
    with console.capture() as shown:
        for table in source.report(source.splits()):
            console.print(table)
    return shown.get()


def decoded(source: BirdCLEF) -> list[LabelledStack]:
    """All samples, once each has been decoded."""
    for sample in stacks(source):
        source.decode(sample)
    return stacks(source)


def file_of(root: Path, id: str) -> Path:
    (found,) = root.glob(f"train_short_audio/*/{id}.*")
    return found


def test_the_curation_of_the_paper(birds: ModuleType, tmp_path: Path) -> None:
    # Mean lengths 1.6, 1.5, 1.2: the stacks last .9 * 1.433 = 1.29 s.
    extra: Rows = {
        "XC1400": {"secondary_labels": "['wren', 'jay']"},
        "XC2000": {"secondary_labels": "['jay']"},
    }
    birds.birdclef_files(
        tmp_path / "data",
        {"owl": [2.0, 1.8, 1.6, 1.4, 1.2, 1.2], "wren": [1.5] * 4, "emu": [1.3, 1.3, 1.0]},
        extra,
    )
    curated = source(birds, tmp_path / "data", segment_s=None, species=2)
    assert curated.seconds == pytest.approx(
        0.9 * np.mean([np.mean([2.0, 1.8, 1.6, 1.4, 1.2]), 1.5, 1.2]), rel=1e-3
    )
    kept = [sample for split in SPLITS for sample in curated.splits()[split]]
    counts = curated.curated.steps
    assert counts["found"] == {"owl": 6, "wren": 4, "emu": 3}
    assert counts["no other target"] == {"owl": 5, "wren": 4, "emu": 3}
    assert counts["1.3 s or longer"] == {"owl": 4, "wren": 4, "emu": 2}
    assert counts["chosen species"] == counts["balanced"] == {"owl": 4, "wren": 4}
    assert curated.names == ("owl", "wren")
    assert len(kept) == 8
    assert all(sample.real_s == pytest.approx(curated.samples_in_stack / birds.RATE) for sample in kept)  # type: ignore[attr-defined]
    assert curated.samples_in_stack / birds.RATE == pytest.approx(curated.seconds, abs=4 * 250 / birds.RATE)


def test_each_step_can_be_left_out(birds: ModuleType, root: Path) -> None:
    assert Counter(s.stratum for s in stacks(source(birds, root))) == {"owl": 4, "wren": 4, "emu": 4}
    assert Counter(s.stratum for s in stacks(source(birds, root, balance=False)))["owl"] == 5
    long = {"segments": 4, "segment_s": 0.35, "balance": False, "fractions": (0.5, 0.5, 0), "species": 3}
    assert Counter(s.stratum for s in stacks(source(birds, root, **long))) == {"owl": 4, "wren": 4, "emu": 2}
    tiled = stacks(source(birds, root, **long | {"short": "tile"}))
    assert Counter(s.stratum for s in tiled) == {"owl": 5, "wren": 4, "emu": 4}
    real = {sample.id: sample.real_s for sample in tiled}
    assert real["XC1400"] == pytest.approx(1.2)
    assert real["XC1000"] == pytest.approx(1.375, abs=0.02)


def test_what_repetition_gives_away_is_shown(birds: ModuleType, root: Path) -> None:
    shown = text(source(birds, root, segment_s=0.35, short="tile", balance=False))
    rows = {words[0]: words[1:] for line in shown.splitlines() if len(words := line.split()) == 5}
    assert rows["emu"] == ["4", "1.2", "1.3", "50%"]
    assert rows["wren"] == ["4", "1.4", "1.4", "0%"]
    assert "Recordings left after each step" in shown


def test_a_stack_is_one_spectrogram_cut_in_pieces(birds: ModuleType, root: Path) -> None:
    made = source(birds, root)
    sample = stacks(made)[0]
    stack = made.decode(sample)["stacks"]
    assert stack.shape == (4, 16, 16)
    assert stack.dtype == np.float16
    audio = io.read(sample.files[0])
    first = round((len(audio) - birds.RATE) / 2)  # the middle second
    mel = librosa.feature.melspectrogram(
        y=audio[first : first + birds.RATE],
        sr=birds.RATE,
        n_fft=512,
        hop_length=250,
        n_mels=16,
        fmin=200,
        fmax=7000,
    )
    expected = librosa.power_to_db(mel, top_db=None)[:, :64]
    np.testing.assert_allclose(np.concatenate(list(stack), axis=1), expected, atol=0.1)


def test_short_recordings_are_repeated_from_the_start(birds: ModuleType, root: Path) -> None:
    made = source(birds, root, segment_s=0.5, short="tile")
    sample = next(each for each in stacks(made) if each.duration_s == pytest.approx(1.2))
    whole = np.concatenate(list(made.decode(sample)["stacks"]), axis=1)
    real = round(1.2 * birds.RATE) // 250
    np.testing.assert_array_equal(whole[:, real : 2 * real], whole[:, : whole.shape[1] - real][:, :real])


def test_trimming_by_energy_and_by_mask_finds_the_bird(birds: ModuleType, root: Path, tmp_path: Path) -> None:
    quiet = np.random.default_rng(0).normal(0, 0.001, 3 * birds.RATE).astype(np.float32)
    quiet[-birds.RATE // 2 :] += birds.tone(0.5, 3000)
    soundfile.write(file_of(root, "XC2000"), quiet, birds.RATE)
    masks = tmp_path / "masks"
    for file in root.glob("train_short_audio/*/*.wav"):
        mask = np.zeros((8, 30), np.uint8)
        mask[3, 25:] = 255
        write_image(masks / f"{file.stem}.png", mask)

    def loudest(**settings: object) -> float:
        made = source(birds, root, **settings)
        sample = next(each for each in stacks(made) if each.id == "XC2000")
        return float(made.decode(sample)["stacks"].max())

    assert loudest() < loudest(trim="energy") - 20
    assert loudest(trim="mask", masks=masks) == pytest.approx(loudest(trim="energy"), abs=1)
    # As birdlab.predict leaves a recording that is longer than a window.
    whole = read_image(masks / "XC2000.png")
    (masks / "XC2000.png").unlink()
    for start, part in ((0.0, whole[:, :10]), (9.5, whole[:, 10:20]), (10.5, whole[:, 20:])):
        write_image(masks / "XC2000.masks" / f"XC2000@{start:.3f}s.png", part)
    assert loudest(trim="mask", masks=masks) == pytest.approx(loudest(trim="energy"), abs=1)
    shutil.rmtree(masks / "XC2000.masks")
    with pytest.raises(BirdlabError, match=r"masks: no XC2000\.mask\.png for XC2000\.wav"):
        loudest(trim="mask", masks=masks)


def test_trim_is_part_of_the_cache_key_and_labels_are_not(birds: ModuleType, root: Path) -> None:
    plain = source(birds, root).settings()
    assert source(birds, root, species=2, seed=4, folds=2).settings() == plain
    assert source(birds, root, trim="energy").settings() != plain
    assert source(birds, root, segments=5).settings() != plain


def test_visits_and_authors_stay_together(birds: ModuleType, tmp_path: Path) -> None:
    extra = {
        f"XC{species}{number}00": {"author": f"a{number // 2}"} for species in (1, 2) for number in range(8)
    }
    birds.birdclef_files(tmp_path / "data", {"owl": [1.2] * 8, "wren": [1.2] * 8}, extra)
    made = source(birds, tmp_path / "data", species=2, fractions=(0.5, 0.25, 0.25))
    splits = made.splits()
    split_of = {sample.id: split for split in SPLITS for sample in splits[split]}
    assert all(split_of[f"XC1{n}00"] == split_of[f"XC2{n - n % 2}00"] for n in range(8))
    for split, number in {"train": 4, "val": 2, "test": 2}.items():
        assert Counter(sample.stratum for sample in splits[split]) == {"owl": number, "wren": number}  # type: ignore[index]


def test_folds_test_every_recording_once(birds: ModuleType, root: Path) -> None:
    parts = [
        source(birds, root, species=2, folds=4, fold=fold, fold_tests=True, balance=False).splits()
        for fold in range(4)
    ]
    tested = [sample.id for part in parts for sample in part["test"]]
    assert len(tested) == len(set(tested)) == 9
    for number, part in enumerate(parts):
        assert part["val"] == parts[(number + 1) % 4]["test"]
        assert len(part["train"]) + len(part["val"]) + len(part["test"]) == 9
        assert Counter(sample.stratum for sample in part["test"]).keys() == {"emu", "owl"}
    with pytest.raises(BirdlabError, match=r"data\.folds=2: .* at least 3"):
        source(birds, root, folds=2, fold_tests=True).splits()


def test_species_by_name_keep_their_order(birds: ModuleType, root: Path) -> None:
    made = source(birds, root, species=["wren", "owl"])
    assert made.names == ("wren", "owl")
    assert {(sample.stratum, sample.label) for sample in stacks(made)} == {("wren", 0), ("owl", 1)}


def test_shares_of_species_place_and_date(birds: ModuleType, tmp_path: Path) -> None:
    known = {
        "latitude": "45",
        "longitude": "-90",
        "date": "2020-04-01",
        "secondary_labels": "['wren', 'jay']",
    }
    extra: Rows = {
        "XC1000": known,
        "XC1100": {"latitude": "Not specified", "longitude": "3", "date": "2013-00-00"},
        "XC1200": {"latitude": "nan", "longitude": "9999", "date": ""},
    }
    birds.birdclef_files(tmp_path / "data", {"owl": [1.2] * 3, "wren": [1.2]}, extra)
    made = source(birds, tmp_path / "data", species=None, multilabel=True, prior=True, balance=False)
    by_id = {sample.id: sample for sample in stacks(made)}
    assert made.names == ("owl", "wren")
    assert by_id["XC1000"].targets == (1.0, 0.5)
    assert by_id["XC2000"].targets == (0.0, 1.0)
    turn = 2 * np.pi * 92 / 365.25
    assert by_id["XC1000"].prior == pytest.approx((0.5, -0.5, np.sin(turn), np.cos(turn)))
    assert by_id["XC1100"].prior == by_id["XC1200"].prior == (0, 0, 0, 0)


def test_origins_come_from_the_table_or_the_config(birds: ModuleType, root: Path, tmp_path: Path) -> None:
    told = source(birds, root, origins={"zoo": ["emu"], "wild": ["owl", "wren"]})
    assert {(s.stratum, s.origin) for s in stacks(told)} == {
        ("emu", "zoo"),
        ("owl", "wild"),
        ("wren", "wild"),
    }
    birds.birdclef_files(tmp_path / "more", {"owl": [1.2] * 3}, {"XC1000": {"origin": "attic"}})
    named = {s.id: s.origin for s in stacks(source(birds, tmp_path / "more", species=1))}
    assert named == {"XC1000": "attic", "XC1100": "", "XC1200": ""}


def test_precomputed_spectrograms_are_read_in_place_of_recordings(birds: ModuleType, root: Path) -> None:
    file = file_of(root, "XC2000")
    levels = np.random.default_rng(0).normal(-40, 10, (16, 80)).astype(np.float32)
    np.save(file.with_suffix(".npy"), levels)
    write_image(file.parent / "XC2100.png", np.full((16, 90), 9, np.uint8))
    np.save(file.with_name("XC2200.npy"), levels[:, :10])
    made = source(birds, root, species=["owl", "wren"], fractions=(0.5, 0.5, 0))
    by_id = {sample.id: sample for sample in stacks(made)}
    assert by_id["XC2000"].files == (file.with_suffix(".npy"),)
    assert by_id["XC2000"].duration_s == pytest.approx(80 * 250 / birds.RATE)
    assert "XC2200" not in by_id  # too short
    whole = np.concatenate(list(made.decode(by_id["XC2000"])["stacks"]), axis=1)
    np.testing.assert_allclose(whole, levels[:, 8:72], atol=0.05)
    if "XC2100" in by_id:
        with pytest.raises(BirdlabError, match=r"XC2100\.png: holds nothing but silence"):
            made.decode(by_id["XC2100"])


def test_a_sonogram_beside_a_recording_is_no_precomputed_one(birds: ModuleType, root: Path) -> None:
    file = file_of(root, "XC2000")
    write_image(file.with_suffix(".png"), np.full((300, 400), 9, np.uint8))
    by_id = {s.id: s for s in stacks(source(birds, root, species=["owl", "wren"], fractions=(0.5, 0.5, 0)))}
    assert by_id["XC2000"].files == (file,)


@pytest.fixture
def soundscapes(birds: ModuleType, tmp_path: Path) -> Path:
    root = tmp_path / "data"
    birds.birdclef_files(root, {"owl": [6.0] * 2, "wren": [6.0] * 2})
    birds.soundscape_files(root)
    return root


def test_soundscapes_are_rows_of_five_seconds(birds: ModuleType, soundscapes: Path) -> None:
    settings = {
        "species": None,
        "multilabel": True,
        "segments": 5,
        "segment_s": 1.0,
        "fractions": (0.5, 0.5, 0),
    }
    made = source(birds, soundscapes, **settings, soundscapes="test")
    splits = made.splits()
    assert [(s.id, s.targets) for s in splits["test"]] == [  # type: ignore[attr-defined]
        ("7019_COR_10", (0.0, 0.0)),
        ("7019_COR_15", (0.0, 0.0)),
        ("7019_COR_5", (1.0, 1.0)),
    ]
    assert len({sample.group for sample in splits["test"]}) == 1
    assert len(splits["train"]) + len(splits["val"]) == 4
    loud = {
        s.id: int(made.decode(s)["stacks"].astype(float).mean(axis=(0, 2)).argmax()) for s in splits["test"]
    }
    assert loud["7019_COR_15"] < loud["7019_COR_5"] < loud["7019_COR_10"]
    (soundscapes / "train_soundscapes" / "7019_COR_20190904.ogg").rename(soundscapes / "gone.ogg")
    with pytest.raises(BirdlabError, match="0 recordings 7019_COR"):
        source(birds, soundscapes, **settings, soundscapes="test").splits()


def test_recordings_that_soundscapes_displace_are_trained_on(birds: ModuleType, soundscapes: Path) -> None:
    settings = {"species": None, "multilabel": True, "segments": 5, "segment_s": 1.0, "session_gap": 0}
    made = source(birds, soundscapes, **settings, soundscapes="test", fractions=(0.5, 0.25, 0.25))
    splits = made.splits()
    assert len(splits["train"]) + len(splits["val"]) == 4
    assert {sample.id[:4] for sample in splits["test"]} == {"7019"}


def test_recordings_that_soundscapes_displace_are_counted(birds: ModuleType, soundscapes: Path) -> None:
    settings = {"species": None, "multilabel": True, "segments": 5, "segment_s": 1.0}
    made = source(birds, soundscapes, **settings, soundscapes="test", fractions=(0.5, 0.25, 0.25))
    assert made.assigned() == made.splits()


def test_soundscapes_that_cannot_be_read_are_named_or_skipped(birds: ModuleType, soundscapes: Path) -> None:
    settings = {"species": None, "multilabel": True, "segments": 5, "segment_s": 1.0, "soundscapes": "test"}
    settings |= {"fractions": (0.5, 0.5, 0)}
    file = soundscapes / "train_soundscapes" / "7019_COR_20190904.ogg"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(BirdlabError, match=r"7019_COR_20190904\.ogg.*data\.on_error=skip"):
        source(birds, soundscapes, **settings).splits()
    made = source(birds, soundscapes, **settings, on_error="skip")
    assert made.splits()["test"] == []
    (why,) = made.skipped["unreadable soundscapes"]
    assert "7019_COR_20190904.ogg" in why


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("7019_COR_5,COR,7019,ten,owl", "line 2: seconds are 'ten'"),
        ("7019_COR_5,COR,7019", "line 2 is incomplete"),
    ],
)
def test_a_bad_row_of_soundscapes_is_named(birds: ModuleType, soundscapes: Path, row: str, said: str) -> None:
    (soundscapes / "train_soundscape_labels.csv").write_text(f"row_id,site,audio_id,seconds,birds\n{row}\n")
    settings = {"species": None, "multilabel": True, "segments": 5, "segment_s": 1.0, "soundscapes": "test"}
    with pytest.raises(BirdlabError, match=said):
        source(birds, soundscapes, **settings, fractions=(0.5, 0.5, 0)).splits()


def test_soundscapes_need_stacks_of_five_seconds(birds: ModuleType, soundscapes: Path) -> None:
    with pytest.raises(BirdlabError, match=r"stacks of 1 s.*last 5 s"):
        source(
            birds, soundscapes, species=None, multilabel=True, soundscapes="val", fractions=(1, 0, 0)
        ).splits()
    with pytest.raises(BirdlabError, match=r"data\.multilabel=true"):
        source(birds, soundscapes, soundscapes="val")


# What can be wrong with the files


def spoilt(file: Path, how: str) -> None:
    """Make a recording useless in one way or another."""
    audio, rate = soundfile.read(file, dtype="float32")
    if how == "empty":
        file.write_bytes(b"")
    elif how == "no samples":
        soundfile.write(file, audio[:0], rate)
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:-5000])
    elif how == "not audio":
        file.write_text("<html>404</html>")
    elif how == "silent":
        soundfile.write(file, np.zeros_like(audio), rate)
    else:
        audio[7000:7010] = np.nan
        soundfile.write(file, audio, rate, subtype="FLOAT")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "the file is empty"),
        ("no samples", "holds no samples"),
        ("truncated", "truncated"),
        ("not audio", "cannot be read as WAV"),
        ("silent", "nothing but silence"),
        ("NaN", "10 samples are NaN"),
    ],
)
def test_bad_recordings_are_named_or_skipped_and_counted(
    birds: ModuleType, root: Path, how: str, message: str
) -> None:
    spoilt(file_of(root, "XC2000"), how)
    with pytest.raises(BirdlabError, match=rf"XC2000\.wav: .*{message}.*"):
        decoded(source(birds, root, balance=False))
    skipping = source(birds, root, on_error="skip", balance=False, fractions=(0.5, 0.5, 0))
    assert Counter(sample.stratum for sample in decoded(skipping)) == {"owl": 5, "wren": 3, "emu": 4}
    assert [message in reason for reason in skipping.skipped["unreadable"]] == [True]
    assert "unreadable" in text(skipping)


def test_a_pause_is_no_reason_to_refuse(birds: ModuleType, root: Path) -> None:
    audio = np.zeros(6 * birds.RATE, np.float32)
    audio[:100] = 0.1
    soundfile.write(file_of(root, "XC2000"), audio, birds.RATE)
    made = source(birds, root)
    sample = next(each for each in stacks(made) if each.id == "XC2000")
    assert (made.decode(sample)["stacks"] == -100).all()


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT"])
def test_any_rate_depth_and_channels_give_the_same_stack(
    birds: ModuleType, root: Path, rate: int, subtype: str
) -> None:
    made = source(birds, root)
    sample = next(each for each in stacks(made) if each.id == "XC1000")
    expected = made.decode(sample)["stacks"].astype(float)
    resampled = librosa.resample(io.read(sample.files[0]), orig_sr=birds.RATE, target_sr=rate)
    soundfile.write(sample.files[0], np.stack([resampled, resampled], axis=1), rate, subtype=subtype)
    again = made.decode(sample)["stacks"].astype(float)
    low = expected[:, :6]  # below half of the lowest rate
    assert np.abs(again[:, :6] - low).mean() < 0.5


def test_rows_and_files_must_belong_together(birds: ModuleType, root: Path) -> None:
    file_of(root, "XC3100").rename(root / "train_short_audio" / "emu" / "XC3150.wav")
    with pytest.raises(BirdlabError, match=r"1 times a row without file: emu/XC3100"):
        source(birds, root).splits()
    skipping = source(birds, root, on_error="skip", balance=False)
    assert Counter(sample.stratum for sample in stacks(skipping))["emu"] == 3
    assert skipping.skipped == {
        "a row without file": ["emu/XC3100"],
        "a file without row": [str(root / "train_short_audio" / "emu" / "XC3150.wav")],
    }
    shutil.copy(
        root / "train_short_audio" / "emu" / "XC3150.wav", root / "train_short_audio" / "emu" / "XC3100.wav"
    )
    with pytest.raises(BirdlabError, match=r"1 times a file without row: .*XC3150\.wav"):
        source(birds, root).splits()
    # Species that nobody asked for may be incomplete.
    assert stacks(source(birds, root, species=["owl", "wren"]))


def test_missing_species_and_too_few_recordings_are_named(birds: ModuleType, root: Path) -> None:
    with pytest.raises(BirdlabError, match=r"no recordings of dodo\. There are emu, finch, owl, wren"):
        source(birds, root, species=["owl", "dodo"]).splits()
    with pytest.raises(BirdlabError, match=r"data\.species=5: there are recordings of 4 species left"):
        source(birds, root, species=5).splits()
    with pytest.raises(BirdlabError, match=r"for 3 splits: finch \(2 in 2\)"):
        source(birds, root, species=["owl", "finch"]).splits()
    with pytest.raises(
        BirdlabError, match=r"no recording of wren: stacks last 1\.6 s\. Set data\.short=tile"
    ):
        source(birds, root, species=["owl", "wren"], segment_s=0.4).splits()


def test_a_class_with_one_recording_is_named(birds: ModuleType, tmp_path: Path) -> None:
    birds.birdclef_files(tmp_path / "data", {"owl": [1.2] * 3, "wren": [1.2]})
    with pytest.raises(BirdlabError, match=r"wren \(1 in 1\).*Leave these species out"):
        source(birds, tmp_path / "data", species=2, balance=False).splits()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "cannot be read"),
        ("", "has no rows"),
        ("primary_label,filename\n", "has no rows"),
        ("label,filename\nowl,XC1000.wav\n", "lacks the columns primary_label"),
        ("primary_label,filename\nowl,\n", "line 2 has no"),
        ("primary_label,filename\nowl,XC1000.wav\nowl,XC1000.wav\n", "a second row: owl/XC1000"),
        ("primary_label,filename\nb\xfcho,XC1000.wav\n", "not CSV in UTF-8"),
    ],
)
def test_tables_that_are_none_are_refused(
    birds: ModuleType, root: Path, table: str | None, message: str
) -> None:
    path = root / "train_metadata.csv"
    if table is None:
        path.unlink()
    else:
        path.write_bytes(table.encode("latin-1"))
    if "second" in message:
        for name in ("XC1100", "XC1200", "XC1300", "XC1400"):
            file_of(root, name).unlink()
    with pytest.raises(BirdlabError, match=message):
        source(birds, root).splits()


def test_a_folder_without_recordings_is_named(birds: ModuleType, root: Path) -> None:
    shutil.rmtree(root / "train_short_audio")
    with pytest.raises(BirdlabError, match=r"train_short_audio: no such folder"):
        source(birds, root).splits()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"on_error": "ignore"}, "data.on_error=ignore"),
        ({"short": "pad"}, "data.short=pad"),
        ({"trim": "mask"}, "data.trim=mask, data.masks=None"),
        ({"masks": "x"}, "data.masks=x"),
        ({"length_factor": 0}, "data.length_factor=0"),
        ({"segments": 0}, "data.segments=0"),
        ({"segments": 2.5}, "data.segments=2.5"),
        ({"session_gap": None}, "data.session_gap=None"),
        ({"folds": 3, "fold": None}, "data.fold=None"),
        ({"species": "owl"}, r"data.species=owl: .*\[owl,wren\]"),
        ({"species": ["owl", "owl"]}, "each species once"),
        ({"origins": ["owl"]}, "data.origins=.*list of species for each"),
        ({"origins": {"zoo": "owlet"}}, "data.origins=.*list of species for each"),
        ({"origins": {"zoo": ["owl", "wern"]}}, "data.origins names wern.* there are emu, finch, owl, wren"),
        ({"soundscapes": "test", "multilabel": True, "prior": True}, "data.prior=true with data.soundscapes"),
        ({"segment_s": 0.001}, "data.segment_s=0.001"),
        ({"secondary_target": 2}, "data.secondary_target=2"),
        ({"fmax": 9000.0}, "data.fmax=9000"),
        ({"soundscapes": "train"}, "data.soundscapes=train"),
    ],
)
def test_impossible_settings_are_named(
    birds: ModuleType, root: Path, wrong: dict[str, object], named: str
) -> None:
    with pytest.raises(BirdlabError, match=named):
        source(birds, root, **wrong).splits()


def test_place_and_date_must_be_in_the_table(birds: ModuleType, root: Path) -> None:
    with pytest.raises(BirdlabError, match=r"data\.prior=true needs the columns latitude"):
        source(birds, root, prior=True).splits()


def test_the_real_recordings(real_data: Path) -> None:
    folder = real_data / "species"
    if not folder.is_dir():
        pytest.skip("no species folder")
    every = BirdCLEF(root=folder, species=8, short="tile", segment_s=1.0, balance=False)
    splits = every.splits()
    assert sum(map(len, splits.values())) == 184
    for split in SPLITS:
        assert len({sample.stratum for sample in splits[split]}) == 8
    visits = {sample.id: sample.group for split in SPLITS for sample in splits[split]}
    assert visits["XC178391"] == visits["XC178393"] == visits["XC178394"] == visits["XC178396"]
    assert visits["XC568977"] != visits["XC564137"]
    # As long as the mean, hardly anything of two species is left.
    long = BirdCLEF(root=folder, species=None, balance=False, fractions=(1, 0, 0))
    assert long.seconds == pytest.approx(0.9 * 17.9, abs=0.5)
    assert "parus_major" not in long.names


def test_secondary_labels_may_have_spaces_and_apostrophes() -> None:
    assert _labels("['Parus major', \"Cetti's warbler\"]") == ("Parus major", "Cetti's warbler")
    assert _labels("['amered', 'rewbla']") == _labels("amered rewbla") == ("amered", "rewbla")
    assert _labels("[]") == ()
