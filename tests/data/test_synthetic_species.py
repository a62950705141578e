"""The embedded species: written once, as far as asked for, and told by their song alone."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from birdlab.audio import io
from birdlab.data.birdclef import BirdCLEF
from birdlab.data.source import SPLITS
from birdlab.data.synthesis import species as synthesis
from birdlab.data.synthesis.species import FieldRecipe, Take, duration_s, grammar, recording
from birdlab.data.synthetic_species import SyntheticSpecies
from birdlab.data.visits import sessions
from birdlab.errors import BirdlabError

BRIEF = FieldRecipe(duration_s=(1.0, 2.0))


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings of one or two seconds, for tests as brief."""
    monkeypatch.setattr(SyntheticSpecies, "_recipe", BRIEF)


def small(root: Path, **settings: object) -> SyntheticSpecies:
    chosen = {"species": 2, "size": 6, "segment_s": 0.1, "fractions": (0.5, 0.25, 0.25)}
    return SyntheticSpecies(root=root, **chosen | settings)  # type: ignore[arg-type]


def test_a_pair_shares_its_voice_and_pitch_and_differs_in_grammar() -> None:
    names = set()
    for number in range(0, synthesis.MOST, 2):
        one, other = grammar(number, 0), grammar(number + 1, 0)
        assert one.name[:-2] == other.name[:-2]
        assert one.pitch_hz == other.pitch_hz
        assert one.harmonics == other.harmonics
        assert one.duration_s != other.duration_s
        assert one.gap_s != other.gap_s
        names |= {one.name, other.name}
    assert len(names) == synthesis.MOST
    assert grammar(0, 0) == grammar(0, 0) != grammar(0, 1)


def test_a_recording_depends_on_its_number_alone() -> None:
    audio = recording(Take(1, 2, 0), 5, BRIEF)
    assert np.array_equal(audio, recording(Take(1, 2, 0), 5, BRIEF))
    assert len(audio) == round(duration_s(Take(1, 2, 0), 5, BRIEF) * 32_000)
    assert 32_000 <= len(audio) <= 64_000
    assert not np.array_equal(audio[:32_000], recording(Take(1, 2, 1), 5, BRIEF)[:32_000])
    assert np.abs(audio).max() <= 10 ** (-1 / 20) + 1e-3


def test_level_and_length_say_nothing_of_the_species() -> None:
    # Drawn before anything that depends on the species, or from a stream that nothing else reads.
    lengths = [[duration_s(Take(number, visit, 0), 0, BRIEF) for visit in range(200)] for number in range(2)]
    one, other = map(np.array, lengths)
    assert abs(one.mean() - other.mean()) < 3 * one.std() / np.sqrt(100)
    peaks = [20 * np.log10(np.abs(recording(Take(0, visit, 0), 0, BRIEF)).max()) for visit in range(6)]
    assert min(peaks) >= -30.1
    assert np.std(peaks) > 3


def test_files_are_a_folder_of_birdclef(tmp_path: Path) -> None:
    source = small(tmp_path)
    splits = source.splits()
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 6, "val": 3, "test": 3}
    assert all(len(Counter(s.stratum for s in splits[split])) == 2 for split in SPLITS)
    read = BirdCLEF(root=source.folder, species=2, segment_s=0.1, fractions=(0.5, 0.25, 0.25), balance=False)
    theirs = {recording.id: recording for recording in read.recordings()}
    ours = {recording.id: recording for recording in source.recordings()}
    assert theirs.keys() == ours.keys()
    for id, row in theirs.items():
        assert replace(row, duration_s=0) == replace(ours[id], duration_s=0)
        assert row.duration_s == pytest.approx(ours[id].duration_s, abs=0.01)
    sample = splits["train"][0]
    assert np.abs(io.read(sample.files[0])).max() > 0.01
    assert source.decode(sample)["stacks"].shape == (10, 64, 6)


def test_no_more_is_written_than_asked_for(tmp_path: Path) -> None:
    capped = small(tmp_path, n_train=2, n_val=1, n_test=1)
    kept = {sample.files[0] for samples in capped.splits().values() for sample in samples}
    assert set(capped.folder.glob("*/*/*.ogg")) == kept
    assert len(kept) == 4
    before = {file: file.stat().st_mtime_ns for file in kept}
    table = (capped.folder / "train_metadata.csv").read_text().splitlines()
    assert len(table) == 1 + 4
    more = small(tmp_path, n_train=3, n_val=1, n_test=1)
    assert more.folder == capped.folder
    more.splits()
    assert len(list(more.folder.glob("*/*/*.ogg"))) == 5
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert len((capped.folder / "train_metadata.csv").read_text().splitlines()) == 1 + 5


def test_a_lost_file_is_made_again_the_same(tmp_path: Path) -> None:
    source = small(tmp_path, n_train=1, n_val=1, n_test=1)
    (sample,) = source.splits()["train"]
    before = io.read(sample.files[0])
    sample.files[0].unlink()
    source.splits()
    assert np.array_equal(io.read(sample.files[0]), before)


def test_visits_stay_together_and_apart_from_others(tmp_path: Path) -> None:
    source = small(tmp_path, size=40)
    table = source.recordings()
    visits = Counter(row.author for row in table)
    assert max(visits.values()) == 3
    assert len(visits) > 30
    groups = sessions(table, source.session_gap)
    assert len(set(groups.values())) == len(visits)


def test_other_parameters_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {small(tmp_path).folder, small(tmp_path, seed=1).folder}
    assert small(tmp_path, size=3, species=4).folder in folders
    monkeypatch.setattr(synthesis, "VERSION", synthesis.VERSION + 1)
    folders.add(small(tmp_path).folder)
    assert len(folders) == 3


def test_species_by_name(tmp_path: Path) -> None:
    names = (grammar(3, 0).name, grammar(0, 0).name)
    source = small(tmp_path, species=names, size=1, fractions=(1, 0, 0))
    assert source.names == names
    shutil.rmtree(source.folder, ignore_errors=True)
    with pytest.raises(BirdlabError, match="no recordings of dodo"):
        small(tmp_path, species=("dodo",)).splits()


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"species": 35}, "data.species=35"), ({"size": 0}, "data.size=0"), ({"snr_db": (3, 1)}, "data.snr_db")],
)
def test_impossible_settings_are_named(tmp_path: Path, settings: dict[str, object], named: str) -> None:
    with pytest.raises(BirdlabError, match=named):
        small(tmp_path, **settings)


def test_another_list_of_species_keeps_the_rows_of_the_first(tmp_path: Path) -> None:
    first = small(tmp_path, size=2, fractions=(1, 0, 0))
    first.splits()
    other = small(tmp_path, species=(grammar(4, 0).name,), size=2, fractions=(1, 0, 0))
    other.splits()
    assert other.folder == first.folder
    names = {recording.species for recording in BirdCLEF(root=first.folder, species=None).recordings()}
    assert names == {*first.names, *other.names}
