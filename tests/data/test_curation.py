"""Each rule of the curation by itself."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from birdlab.data.curation import (
    Curation,
    Recording,
    balanced,
    check_known,
    common_length,
    long_enough,
    most_recorded,
    of_species,
    sessions,
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


def test_neighbouring_numbers_of_one_species_are_one_visit() -> None:
    table = [recording(f"XC{number}") for number in (100, 110, 120, 131)] + [recording("XC105", "owl")]
    groups = sessions(table, gap=10)
    assert groups["XC100"] == groups["XC110"] == groups["XC120"]
    assert len({groups[id] for id in ("XC100", "XC131", "XC105")}) == 3
    assert len(set(sessions(table, gap=0).values())) == 5


def test_one_author_is_one_group_and_chains_are_joined() -> None:
    table = [
        recording("XC100", author="ann"),
        recording("XC900", "owl", author="ann"),
        recording("XC905", "owl", author="bob"),  # beside ann's
        recording("XC500", author="bob"),
        recording("XC700", author=""),
        recording("take one", author=""),
    ]
    groups = sessions(table, gap=10)
    assert groups["XC100"] == groups["XC900"] == groups["XC905"] == groups["XC500"]
    assert len(set(groups.values())) == 3


def test_the_table_counts_each_step() -> None:
    notes, console = Curation(), Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    notes.note("found", [recording("a"), recording("b"), recording("c", "owl"), recording("d", "emu")])
    notes.note("long", [recording("a"), recording("c", "owl")])
    console.print(notes.table(["owl", "wren"]))
    rows = [line.split() for line in console.export_text().splitlines()]
    assert ["owl", "1", "1"] in rows
    assert ["wren", "2", "1"] in rows
    assert ["1", "others", "1", "0"] in rows
    assert ["all", "4", "2"] in rows
