"""Each rule of the curation by itself."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from birdlab.data.curation import (
    Curated,
    Recording,
    Rules,
    balanced,
    check_known,
    common_length,
    curate,
    long_enough,
    most_recorded,
    of_species,
    without_secondary,
)
from birdlab.errors import BirdlabError


def recording(id: str, species: str = "wren", seconds: float = 10.0, **settings: object) -> Recording:
    return Recording(file=Path(f"{id}.ogg"), species=species, duration_s=seconds, **settings)  # type: ignore[arg-type]


def ids(recordings: list[Recording]) -> list[str]:
    return [each.id for each in recordings]


def test_recordings_with_another_target_are_left_out() -> None:
    table = [
        recording("a"),
        recording("b", secondary=("robin",)),
        recording("c", secondary=("owl",)),
        recording("d", secondary=("wren",)),  # itself, noted twice
        recording("e", "owl", secondary=("wren", "finch")),
    ]
    assert ids(without_secondary(table, ["wren", "robin"])) == ["a", "c", "d"]
    assert ids(without_secondary(table, [])) == ["a", "b", "c", "d", "e"]


def test_the_common_length_is_the_mean_of_the_species_means() -> None:
    # Means 4 and 10, though most recordings are of the first species.
    table = [recording(str(i), seconds=4) for i in range(9)] + [
        recording("x", "owl", 8),
        recording("y", "owl", 12),
    ]
    assert common_length(table, 1.0) == pytest.approx(7)
    assert common_length(table, 0.9) == pytest.approx(6.3)


def test_shorter_recordings_are_dropped() -> None:
    table = [recording("a", seconds=5), recording("b", seconds=4.99), recording("c", seconds=9)]
    assert ids(long_enough(table, 5)) == ["a", "c"]


def test_the_species_with_most_recordings_are_chosen() -> None:
    table = [
        recording(f"{name}{i}", name)
        for name, n in {"d": 1, "c": 2, "b": 2, "a": 3}.items()
        for i in range(n)
    ]
    assert most_recorded(table, 1) == ("a",)
    assert most_recorded(table, 2) == ("a", "b")  # of equals the first by name
    assert most_recorded(table, None) == ("a", "b", "c", "d")
    with pytest.raises(BirdlabError, match=r"data.species=5: .* of 4 species left: a, b, c, d"):
        most_recorded(table, 5)
    assert ids(of_species(table, ["d"])) == ["d0"]


def test_an_unknown_species_is_named() -> None:
    with pytest.raises(BirdlabError, match=r"no recordings of emu\. There are owl, wren"):
        check_known(["wren", "emu"], {"wren", "owl"})


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.integers(0, 5), st.randoms())
def test_balance_keeps_as_many_of_each(species: list[str], seed: int, random: object) -> None:
    table = [recording(f"r{index}", name) for index, name in enumerate(species)]
    kept = balanced(table, seed)
    least = min(species.count(name) for name in set(species))
    assert {name: sum(each.species == name for each in kept) for name in set(species)} == dict.fromkeys(
        set(species), least
    )
    shuffled = list(table)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert set(ids(balanced(shuffled, seed))) == set(ids(kept))


def test_the_table_counts_each_step() -> None:
    steps = {"found": Counter(wren=2, owl=1, emu=1, jay=2), "long": Counter(wren=1, owl=1)}
    console = Console(width=100)
    with console.capture() as shown:
        console.print(Curated((), ("owl", "wren"), 5.0, steps).table())
    rows = [line.split() for line in shown.get().splitlines()]
    assert ["owl", "1", "1"] in rows
    assert ["wren", "2", "1"] in rows
    assert ["2", "others", "3", "0"] in rows
    assert ["all", "6", "2"] in rows


RULES = Rules(
    species=2, seconds=5, length_factor=1, exclude_secondary=True, drop_short=True, balance=False, seed=0
)


def test_targets_that_come_up_later_are_excluded_too() -> None:
    # Four owls and three wrens would be chosen; without the owls that hold wrens emus come up, and the wrens
    # that hold emus must go as well.
    table = [recording(f"o{i}", "owl", secondary=("wren",) * (i < 3)) for i in range(4)]
    table += [recording(f"w{i}", "wren", secondary=("emu",) * (i < 1)) for i in range(3)]
    table += [recording(f"e{i}", "emu") for i in range(2)]
    curated = curate(table, RULES)
    assert curated.names == ("emu", "wren")
    assert ids(list(curated.recordings)) == ["e0", "e1", "w1", "w2"]


def test_nothing_left_is_said() -> None:
    with pytest.raises(BirdlabError, match="There are no recordings"):
        curate([], RULES)
    both = [recording("a", "owl", secondary=("wren",)), recording("b", secondary=("owl",))]
    with pytest.raises(BirdlabError, match="leaves no recording: set it to false"):
        curate(both, RULES)
