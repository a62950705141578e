from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from birdlab.data.names import recording_id
from birdlab.data.source import SPLITS, Image, Mask, Sample, SegmentationSource, Split
from birdlab.data.splits import assign, check_no_leaks, finish, fold, split_groups
from birdlab.errors import BirdlabError


@dataclass(frozen=True, kw_only=True)
class Nothing(SegmentationSource):
    """A source of which only the settings matter."""

    def splits(self) -> dict[Split, list[Sample]]:
        raise NotImplementedError

    def read(self, sample: Sample) -> tuple[Image, Mask]:
        raise NotImplementedError


def samples(groups: list[str]) -> list[Sample]:
    return [Sample(id=f"{group}@{index}", group=group) for index, group in enumerate(groups)]


def ids(splits: dict[Split, list[Sample]]) -> dict[Split, set[str]]:
    return {split: {sample.id for sample in splits[split]} for split in SPLITS}


many_groups = st.lists(st.integers(1, 9), min_size=1, max_size=40).map(
    lambda sizes: [f"r{number}" for number, size in enumerate(sizes) for _ in range(size)]
)
fractions = st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10)).filter(any)
shares = fractions.map(lambda parts: tuple(part / sum(parts) for part in parts))
seeds = st.integers(0, 2**32)


@given(groups=many_groups, fractions=shares, seed=seeds)
def test_sizes_keep_to_the_fractions_within_one_group(groups, fractions, seed):
    splits = assign(samples(groups), fractions, seed)
    largest = max(Counter(groups).values())
    wanted = sum(fraction > 0 for fraction in fractions)
    assert sum(len(splits[split]) for split in SPLITS) == len(groups)
    check_no_leaks(splits)
    for split, fraction in zip(SPLITS, fractions, strict=True):
        if fraction == 0:
            assert not splits[split]
        if fraction > 0 and len(set(groups)) >= wanted:
            assert splits[split]
        assert len(splits[split]) <= fraction * len(groups) + largest


@given(groups=many_groups, fractions=shares, seed=seeds, data=st.data())
def test_the_order_of_the_samples_does_not_matter(groups, fractions, seed, data):
    shuffled = data.draw(st.permutations(samples(groups)))
    assert ids(assign(samples(groups), fractions, seed)) == ids(assign(shuffled, fractions, seed))


def test_equal_groups_are_split_exactly_and_by_lot():
    groups = [f"r{number}" for number in range(20)]
    one, other = (split_groups(groups, (0.7, 0.2, 0.1), seed) for seed in (0, 1))
    assert Counter(one.values()) == Counter(other.values()) == {"train": 14, "val": 4, "test": 2}
    assert one != other


def test_three_recordings_give_three_splits():
    assert sorted(split_groups(["a", "b", "c"], (0.98, 0.01, 0.01), 0).values()) == ["test", "train", "val"]


def test_two_recordings_cannot_give_three_splits():
    assert len(set(split_groups(["a", "b"], (0.6, 0.3, 0.1), 0).values())) == 2


@pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (1.2, -0.1, -0.1), (1.0, 0.0)])
def test_fractions_that_are_none(fractions):
    with pytest.raises(BirdlabError, match="add up to 1"):
        split_groups(["a"], fractions, 0)


@given(groups=many_groups, folds=st.integers(2, 6), seed=seeds)
def test_over_all_folds_each_sample_validates_once(groups, folds, seed):
    given = samples(groups)
    splits: dict[Split, list[Sample]] = {"train": given[::2], "val": given[1::2], "test": samples(["t", "t"])}
    if len(set(groups)) < folds:
        with pytest.raises(BirdlabError, match="separate recordings"):
            fold(splits, folds, 0, seed)
        return
    rounds = [fold(splits, folds, number, seed) for number in range(folds)]
    validated = Counter(sample.id for splits in rounds for sample in splits["val"])
    assert validated == Counter(sample.id for sample in given)
    for folded in rounds:
        check_no_leaks(folded)
        assert folded["val"]
        assert len(folded["train"]) + len(folded["val"]) == len(given)
        assert folded["test"] == splits["test"]


def test_folds_of_what_is_only_tested():
    splits: dict[Split, list[Sample]] = {"train": [], "val": [], "test": samples(list("abcdef"))}
    with pytest.raises(BirdlabError, match=r"all samples are for testing\. Add data\.fold_tests=true"):
        fold(splits, 3, 0, 0)
    assert fold(splits, 3, 0, 0, tests=True)["train"]


@pytest.mark.parametrize(
    ("folds", "number", "message"), [(1, 0, "at least 2"), (5, 5, "0 to 4"), (5, -1, "0 to 4")]
)
def test_folds_that_cannot_be(folds, number, message):
    splits: dict[Split, list[Sample]] = {"train": samples(list("abcdef")), "val": [], "test": []}
    with pytest.raises(BirdlabError, match=message):
        fold(splits, folds, number, 0)


def test_finish_folds_only_when_asked():
    splits: dict[Split, list[Sample]] = {"train": samples(list("abcd")), "val": samples(["e"]), "test": []}
    assert ids(finish(splits, Nothing())) == ids(splits)
    folded = finish(splits, Nothing(folds=5, fold=2))
    assert len(folded["val"]) == 1
    assert folded == {**fold(splits, 5, 2, 0), "train": sorted(folded["train"], key=lambda sample: sample.id)}


def test_a_fold_without_folds_is_refused():
    splits: dict[Split, list[Sample]] = {"train": samples(list("abcd")), "val": samples(["e"]), "test": []}
    with pytest.raises(BirdlabError, match=r"data\.fold=2 says nothing without data\.folds"):
        finish(splits, Nothing(fold=2))


@pytest.mark.parametrize(("key", "said"), [("sides", "two or one"), ("picture", "magnitude or level")])
def test_misspelt_settings_of_pictures_are_refused(key, said):
    with pytest.raises(BirdlabError, match=rf"data\.{key}=Two: give {said}"):
        Nothing(**{key: "Two"})


def test_caps_are_nested_draws():
    splits: dict[Split, list[Sample]] = {
        "train": samples([f"r{n:02}" for n in range(50)]),
        "val": [],
        "test": [],
    }
    small, large = (ids(finish(splits, Nothing(n_train=n)))["train"] for n in (10, 20))
    assert small < large
    assert len(small) == 10
    assert len(large) == 20
    assert large != {sample.id for sample in splits["train"][:20]}
    backwards: dict[Split, list[Sample]] = {**splits, "train": splits["train"][::-1]}
    assert finish(backwards, Nothing(n_train=10)) == finish(splits, Nothing(n_train=10))


def test_a_cap_above_the_number_takes_all_and_one_below_1_is_refused():
    splits: dict[Split, list[Sample]] = {"train": [], "val": samples(["a", "b"]), "test": []}
    assert len(finish(splits, Nothing(n_val=9))["val"]) == 2
    with pytest.raises(BirdlabError, match=r"data\.n_val=0"):
        finish(splits, Nothing(n_val=0))


def test_a_leak_names_the_recording_and_both_splits():
    splits: dict[Split, list[Sample]] = {"train": samples(["a", "b"]), "val": [], "test": samples(["c", "b"])}
    with pytest.raises(BirdlabError, match=r"'b' stands in train \(sample 'b@1'\) and test \(sample 'b@1'\)"):
        finish(splits, Nothing())


def test_an_id_that_occurs_twice_is_named():
    twice = [Sample(id="same", group="a"), Sample(id="same", group="a")]
    with pytest.raises(BirdlabError, match="'same'"):
        finish({"train": twice, "val": [], "test": []}, Nothing())


@pytest.mark.parametrize(
    ("stem", "recording"),
    [
        ("XC41136", "XC41136"),
        ("XC41136_left", "XC41136"),
        ("XC41136_RIGHT", "XC41136"),
        ("XC118395_-_Fairy_Gerygone", "XC118395"),
        ("Turdus_XC12 (1)", "XC12"),
        ("xc41136_left", "XC41136"),
        ("site_left", "site"),
        ("site-R", "site"),
        ("site ch1", "site"),
        ("leftover", "leftover"),
        ("AXC12", "AXC12"),
        ("hill_20240501_053000", "hill_20240501_053000"),
        ("hill_20240501_053000_07", "hill_20240501_053000"),
        ("dale-240501-053000_left", "dale-240501-053000"),
        ("train_00001", "train_00001"),
        ("scene_000001_000002", "scene_000001_000002"),
        ("scene_000001_0000023", "scene_000001_0000023"),
    ],
)
def test_recording_id(stem, recording):
    assert recording_id(stem) == recording


def test_every_split_gets_its_share_of_every_stratum() -> None:
    # Eight groups of two for one species, and twenty of one for another.
    made = [
        Sample(id=f"{stratum}{number}@{part}", group=f"{stratum}{number}", stratum=stratum)
        for stratum, groups, size in (("owl", 8, 2), ("wren", 20, 1))
        for number in range(groups)
        for part in range(size)
    ]
    for seed in range(5):
        splits = assign(made, (0.5, 0.25, 0.25), seed)
        for split, owls, wrens in (("train", 8, 10), ("val", 4, 5), ("test", 4, 5)):
            assert Counter(s.stratum for s in splits[split]) == {"owl": owls, "wren": wrens}
        parts = [fold(splits, 4, number, seed) for number in range(4)]
        assert all(Counter(s.stratum for s in part["val"])["owl"] in {2, 4} for part in parts)


@pytest.mark.parametrize("few", [3, 4])
def test_a_rare_stratum_is_in_every_split_all_the_same(few: int) -> None:
    made = [
        Sample(id=f"{stratum}{number}", group=f"{stratum}{number}", stratum=stratum)
        for stratum, groups in (("owl", 9), ("wren", 9), ("finch", few))
        for number in range(groups)
    ]
    for seed in range(10):
        splits = assign(made, (0.7, 0.15, 0.15), seed)
        for samples_of in splits.values():
            assert {sample.stratum for sample in samples_of} == {"owl", "wren", "finch"}


def test_folds_of_rare_strata_are_of_one_size() -> None:
    made = [
        Sample(id=f"{stratum}{number}", group=f"{stratum}{number}", stratum=stratum)
        for stratum in "abcdefghi"
        for number in range(2)
    ]
    splits: dict[Split, list[Sample]] = {"train": made, "val": [], "test": []}
    for seed in range(5):
        assert [len(fold(splits, 6, number, seed)["val"]) for number in range(6)] == [3] * 6


def test_a_fold_can_be_tested() -> None:
    splits: dict[Split, list[Sample]] = {
        "train": samples(list("abcd")),
        "val": samples(["e"]),
        "test": samples(["f"]),
    }
    parts = [fold(splits, 3, number, 0, tests=True) for number in range(3)]
    assert sorted(s.group for part in parts for s in part["test"]) == list("abcdef")
    for number, part in enumerate(parts):
        assert ids(parts[(number + 1) % 3])["test"] == ids(part)["val"]
        check_no_leaks(part)
    with pytest.raises(BirdlabError, match=r"data\.folds=2: cross-validation needs at least 3"):
        fold(splits, 2, 0, 0, tests=True)
