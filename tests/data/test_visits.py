"""Recordings that were made together."""

from pathlib import Path

import pytest

from birdlab.data.curation import Recording
from birdlab.data.visits import check_divisible, sessions
from birdlab.errors import BirdlabError


def recording(id: str, species: str = "wren", author: str = "") -> Recording:
    return Recording(file=Path(f"{id}.ogg"), species=species, duration_s=10, author=author)


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


def test_channels_of_one_recording_are_one_group() -> None:
    table = [recording("XC500_left"), recording("XC500_right"), recording("XC505"), recording("XC900")]
    groups = sessions(table, gap=10)
    assert groups["XC500_left"] == groups["XC500_right"] == groups["XC505"] != groups["XC900"]


def test_species_with_too_few_groups_are_named() -> None:
    table = [recording("XC1"), recording("XC2"), recording("XC500"), recording("XC900", "owl")]
    groups = sessions(table, gap=10)
    check_divisible(table[:3], groups, 2)
    with pytest.raises(BirdlabError, match=r"for 3 splits: owl \(1 in 1\), wren \(3 in 2\)"):
        check_divisible(table, groups, 3)
