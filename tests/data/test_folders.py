"""Folders of images and masks: found, paired, checked, turned the right way up, cut into windows."""

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
import torch

from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.folders import ImageFolders
from birdlab.data.png import write_image
from birdlab.errors import BirdlabError

Image = np.ndarray
Add = Callable[..., None]


@pytest.fixture
def add(tmp_path: Path) -> Add:
    """Writes an image and its mask below ``tmp_path``."""

    def add(folder: str, stem: str, rows: int = 4, columns: int = 6, mask_columns: int | None = None) -> None:
        image = np.arange(rows * columns).astype(np.uint8).reshape(rows, columns)
        mask = np.zeros((rows, mask_columns or columns), np.uint8)
        mask[0, -1] = 255
        write_image(tmp_path / folder / "Images" / f"{stem}.png", image)
        write_image(tmp_path / folder / "Masks" / f"{stem}.png", mask)

    return add


def ids(source: ImageFolders) -> dict[str, list[str]]:
    return {split: [sample.id for sample in samples] for split, samples in source.splits().items()}


@pytest.mark.parametrize(
    "names", [("Training", "Valid", "Test"), ("train", "val", "test"), ("TRAIN", "Validation", "testing")]
)
def test_split_folders_in_usual_spellings(tmp_path: Path, add: Add, names: tuple[str, str, str]) -> None:
    for stem, name in zip("abc", names, strict=True):
        add(name, stem)
    assert ids(ImageFolders(root=tmp_path)) == {"train": ["a"], "val": ["b"], "test": ["c"]}


def test_absent_split_folders_are_empty_splits(tmp_path: Path, add: Add) -> None:
    add("Valid", "b")
    add("Valid", "a")
    assert ids(ImageFolders(root=tmp_path)) == {"train": [], "val": ["a", "b"], "test": []}


def test_two_folders_for_one_split_are_refused(tmp_path: Path, add: Add) -> None:
    add("Train", "a")
    add("Training", "b")
    with pytest.raises(BirdlabError, match="both Train and Training"):
        ImageFolders(root=tmp_path).splits()


def test_one_folder_is_split_by_recording(tmp_path: Path, add: Add) -> None:
    for number in range(10):
        for side in ("left", "right"):
            add(".", f"XC{number}_{side}")
    splits = ImageFolders(root=tmp_path, fractions=(0.5, 0.3, 0.2)).splits()
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 10, "val": 6, "test": 4}
    groups = [{sample.group for sample in samples} for samples in splits.values()]
    assert [len(group) for group in groups] == [5, 3, 2]
    assert len(set.union(*groups)) == 10


def test_pieces_of_what_a_recorder_began_at_one_time_stay_together(tmp_path: Path, add: Add) -> None:
    days = [f"hill_2024050{day}_053000" for day in range(1, 10)]
    for day in days:
        for piece in range(3):
            add("", f"{day}_{piece:02}")
    splits = ids(ImageFolders(root=tmp_path, fractions=(0.6, 0.2, 0.2)))
    assert all(splits.values())
    for day in days:
        assert sorted(sum(id.startswith(day) for id in split) for split in splits.values()) == [0, 0, 3]


@pytest.mark.parametrize("named", ["{recording}@{piece}.000s", "{recording}_part{piece}"])
def test_pieces_of_one_recording_stay_together(tmp_path: Path, add: Add, named: str) -> None:
    """birdlab's own tiles do by their names, others by a table."""
    pieces = {named.format(recording=name, piece=piece): name for name in "abcdef" for piece in range(4)}
    for piece in pieces:
        add("", piece)
    table = tmp_path / "groups.csv"
    table.write_text("recording,group\n" + "".join(f"{p}.png,{name}\n" for p, name in pieces.items()))
    groups = None if "@" in named else table
    splits = ImageFolders(root=tmp_path, groups=groups, fractions=(0.5, 0.25, 0.25)).splits()
    recordings = [{pieces[sample.id] for sample in samples} for samples in splits.values()]
    assert all(recordings)
    assert sum(map(len, recordings)) == 6
    table.write_text("recording,group\nelse,a\n")
    with pytest.raises(BirdlabError, match=r"data\.groups=.*line 2 .*'else'"):
        ImageFolders(root=tmp_path, groups=table).splits()


def test_a_recording_in_two_split_folders_is_a_leak(tmp_path: Path, add: Add) -> None:
    add("Training", "XC7_left")
    add("Test", "XC7_right")
    with pytest.raises(
        BirdlabError, match=r"'XC7' .* Two channels are one recording\. Move .*data\.fractions"
    ):
        ImageFolders(root=tmp_path).splits()


def test_the_ways_out_of_a_leak_lead_out(tmp_path: Path, add: Add) -> None:
    for number in range(5):
        add("Training", f"XC{number}_left")
        add("Valid", f"XC{number}_right")
    with pytest.raises(BirdlabError, match=r"as do 4 more: .* data\.folds=5"):
        ImageFolders(root=tmp_path).splits()
    splits = ImageFolders(root=tmp_path, folds=5).splits()
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 8, "val": 2, "test": 0}


def test_two_sided_images_are_read_as_they_are(tmp_path: Path, add: Add) -> None:
    add("Valid", "a")
    source = ImageFolders(root=tmp_path)
    image, mask = source.read(source.splits()["val"][0])
    assert np.array_equal(image, np.arange(24).reshape(4, 6))
    assert np.argwhere(mask).tolist() == [[0, 5]]
    assert mask.max() == 1
    assert image.dtype == mask.dtype == np.uint8


def test_one_sided_pictures_are_turned_over_once(tmp_path: Path, add: Add) -> None:
    add("Valid", "a")
    source = ImageFolders(root=tmp_path, sides="one")
    image, mask = source.read(source.splits()["val"][0])
    assert image[:, 0].tolist() == [18, 12, 6, 0]  # the bottom row of the picture comes first
    assert np.argwhere(mask).tolist() == [[3, 5]]
    assert image.flags.c_contiguous


def test_mask_values_become_class_indices(tmp_path: Path, add: Add) -> None:
    add("Valid", "a")
    values = np.array([[0, 10, 200], [200, 0, 10]], np.uint8)
    write_image(tmp_path / "Valid/Images/a.png", values)
    write_image(tmp_path / "Valid/Masks/a.png", values)
    source = ImageFolders(root=tmp_path, classes={0: "background", 200: "bird", 10: "insect"})
    assert source.read(source.splits()["val"][0])[1].tolist() == [[0, 2, 1], [1, 0, 2]]
    with pytest.raises(BirdlabError, match=r"a\.png.*10, 200.*data\.classes"):
        ImageFolders(root=tmp_path).read(source.splits()["val"][0])


@pytest.mark.parametrize("classes", [{0: "background"}, {0: "background", 256: "bird"}, {"0": "a", "1": "b"}])
def test_impossible_classes_are_refused(tmp_path: Path, classes: dict[int, str]) -> None:
    with pytest.raises(BirdlabError, match=r"data\.classes"):
        ImageFolders(root=tmp_path, classes=classes)


def test_files_without_partner_are_all_named_up_to_ten(tmp_path: Path, add: Add) -> None:
    for number in range(12):
        add("Valid", f"x{number:02}")
        (tmp_path / f"Valid/Masks/x{number:02}.png").unlink()
    add("Valid", "y")
    (tmp_path / "Valid/Images/y.png").unlink()
    add("Valid", "z")
    with pytest.raises(BirdlabError) as error:
        ImageFolders(root=tmp_path).splits()
    message = str(error.value)
    assert "12 image files without mask" in message
    assert "1 mask file without image" in message
    assert [f"x{number:02}.png" in message for number in range(12)] == [True] * 10 + [False] * 2
    assert "and 2 more" in message
    assert "y.png" in message
    assert "z.png" not in message


def test_sizes_that_differ_are_named_before_anything_is_decoded(tmp_path: Path, add: Add) -> None:
    add("Training", "a", mask_columns=5)
    with pytest.raises(BirdlabError, match=r"a\.png \(4 x 6; mask 4 x 5\)"):
        ImageFolders(root=tmp_path).splits()


def test_a_truncated_picture_is_named(tmp_path: Path, add: Add) -> None:
    add("Valid", "a", 40, 60)
    path = tmp_path / "Valid/Images/a.png"
    path.write_bytes(path.read_bytes()[:-30])
    source = ImageFolders(root=tmp_path)
    with pytest.raises(BirdlabError, match=r"Images.a\.png.*truncated"):
        source.read(source.splits()["val"][0])


def test_what_is_not_there_is_named(tmp_path: Path, add: Add) -> None:
    with pytest.raises(BirdlabError, match=r"data\.root=.*nowhere"):
        ImageFolders(root=tmp_path / "nowhere").splits()
    with pytest.raises(BirdlabError, match="no folder Images"):
        ImageFolders(root=tmp_path).splits()
    (tmp_path / "Images").mkdir()
    with pytest.raises(BirdlabError, match="no PNG"):
        ImageFolders(root=tmp_path).splits()
    add(".", "a")
    (tmp_path / "Images/.DS_Store").touch()
    ImageFolders(root=tmp_path).splits()
    cv2.imwrite(str(tmp_path / "Images/b.jpg"), np.zeros((4, 6), np.uint8))
    with pytest.raises(BirdlabError, match=r"b\.jpg"):
        ImageFolders(root=tmp_path).splits()


def test_windows(tmp_path: Path, add: Add) -> None:
    """At 6400 Hz a column is 10 ms; .05 s = 320 samples hold (320 - 128) / 64 + 1 = 4 columns."""
    add("Valid", "a", columns=11)
    add("Valid", "b", columns=3)
    source = ImageFolders(root=tmp_path, sample_rate=6400, window_s=0.05, hop_s=0.04)
    samples = source.splits()["val"]
    assert [sample.id for sample in samples] == ["a@0.000s", "a@0.040s", "a@0.070s", "b@0.000s"]
    assert {sample.group for sample in samples[:3]} == {"a"}
    pictures = [source.read(sample) for sample in samples]
    assert [image[0].tolist() for image, _ in pictures] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [7, 8, 9, 10],
        [0, 1, 2, 0],
    ]
    assert [mask[0].tolist() for _, mask in pictures] == [[0] * 4, [0] * 4, [0, 0, 0, 1], [0, 0, 1, 0]]


def test_sources_and_samples_travel_to_workers(tmp_path: Path, add: Add) -> None:
    add("Valid", "a")
    source = ImageFolders(root=str(tmp_path))
    sample = source.splits()["val"][0]
    source.read(sample)
    other, copy = pickle.loads(pickle.dumps((source, sample)))
    assert repr(other) == repr(source) == repr(ImageFolders(root=tmp_path))
    assert np.array_equal(other.read(copy)[0], source.read(sample)[0])
    assert sample.files == (tmp_path / "Valid/Images/a.png", tmp_path / "Valid/Masks/a.png")


def test_recordings_beside_the_images(tmp_path: Path, add: Add) -> None:
    add("Valid", "a", columns=11)
    source = ImageFolders(root=tmp_path, sample_rate=6400)
    sample = source.splits()["val"][0]
    with pytest.raises(BirdlabError, match=r"Raw_audios.*a\.png"):
        source.audio(sample)
    noise = np.random.default_rng(0).uniform(-1, 1, 768).astype(np.float32)
    for folder, gain in (("Raw_audios", 1), ("Denoised_audios", 0.5)):
        (tmp_path / "Valid" / folder).mkdir()
        soundfile.write(tmp_path / "Valid" / folder / "a.wav", gain * noise, 6400, subtype="FLOAT")
    assert np.array_equal(source.audio(sample), noise)
    assert np.array_equal(source.clean(sample), noise / 2)
    windows = ImageFolders(root=tmp_path, sample_rate=6400, window_s=0.05)
    assert np.array_equal(windows.audio(windows.splits()["val"][1]), noise[320:640])


def test_the_published_example(real_data: Path) -> None:
    source = ImageFolders(root=real_data / "birdsoundsdenoising_sample", sample_rate=48_000)
    splits = source.splits()
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 0, "val": 1, "test": 0}
    (sample,) = splits["val"]
    image, mask = source.read(sample)
    assert sample.id == sample.group == "XC41136"
    assert image.shape == mask.shape == (1024, 3032)
    assert mask.mean() == pytest.approx(0.105, abs=5e-4)
    assert len(source.clean(sample)) == source.spectrogram.samples(3032)
    assert len(source.audio(sample)) == 195_840


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[..., Path]:
    """Half a second with a tone at 5 kHz from .2 to .3 s, its picture and mask, and what a decoder adds."""

    def draw(sides: str, delay: int = 0, rate: int = 32_000) -> Path:
        time = np.arange(16_000) / 32_000
        tone = 0.025 * np.sin(2 * np.pi * 5000 * time) * ((time >= 0.2) & (time < 0.3))
        spectrogram = Spectrogram(sides=sides)  # type: ignore[arg-type]
        image = spectrogram.image(torch.from_numpy(tone)).numpy()
        mask = np.where(image > 60, 255, 0).astype(np.uint8)
        turned = slice(None) if sides == "two" else slice(None, None, -1)
        for kind, picture in (("Images", image), ("Masks", mask)):
            write_image(tmp_path / kind / "a.png", picture[turned])
        (tmp_path / "Raw_audios").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "Raw_audios/a.wav", np.concatenate([np.zeros(delay), tone]), rate)
        return tmp_path

    return draw


def levels_of(root: Path, **settings: object) -> ImageFolders:
    return ImageFolders(
        root=root, picture="level", image_size=(64, 20), fractions=(1.0, 0.0, 0.0), **settings
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("sides", ["two", "one"])
@pytest.mark.parametrize("delay", [0, 528])
def test_levels_of_a_recording_lie_under_its_mask(drawn: Callable[..., Path], sides: str, delay: int) -> None:
    source = levels_of(drawn(sides, delay), sides=sides, window_s=0.5)
    (sample,) = source.splits()["train"]
    assert [file.parent.name for file in sample.files] == ["Images", "Masks", "Raw_audios"]
    assert source.read(sample)[1].shape[0] == 513
    decoded = source.decode(sample)
    rows, columns = np.nonzero(decoded["masks"])
    # Rows of 250 Hz, columns of 25 ms.
    assert rows.mean() == pytest.approx(20, abs=0.6)
    assert columns.mean() == pytest.approx(9.5, abs=0.6)
    loud = np.argwhere(decoded["images"] == decoded["images"].max())
    assert abs(loud[0, 0] - 20) <= 1
    assert 8 <= loud[0, 1] < 12
    quiet = decoded["images"][20, [6, 13]]
    assert (quiet < decoded["images"][20, [8, 11]]).all()


def test_recordings_that_are_not_their_pictures_are_refused(drawn: Callable[..., Path]) -> None:
    source = levels_of(drawn("two", rate=48_000), window_s=0.4)
    with pytest.raises(
        BirdlabError, match=r"lasts 0\.333 s, and its picture shows 0\.500 s at data\.sample_rate"
    ):
        source.decode(source.splits()["train"][0])
    (source.root / "Raw_audios/a.wav").unlink()
    with pytest.raises(BirdlabError, match="1 are missing in Raw_audios: a"):
        source.splits()


def test_pictures_of_the_other_kind_are_refused(drawn: Callable[..., Path]) -> None:
    two = levels_of(drawn("two"), sides="one", window_s=0.5)
    with pytest.raises(BirdlabError, match=r"Set data\.sides=two"):
        two.read(two.splits()["train"][0])
    one = levels_of(drawn("one"), sides="two", window_s=0.5)
    with pytest.raises(BirdlabError, match=r"Set data\.sides=one"):
        one.read(one.splits()["train"][0])
