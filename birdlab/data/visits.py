"""Which recordings were made together, so that a split must not divide them."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from scipy.cluster.hierarchy import DisjointSet

from birdlab.data.curation import Recording
from birdlab.data.names import recording_id
from birdlab.data.pairs import listed
from birdlab.errors import BirdlabError


def sessions(recordings: Sequence[Recording], gap: int) -> dict[str, str]:
    """What was recorded by one person, or on one visit: recordings that look alike for that reason alone.

    One author is one group, and so are channels that are files of their own (``_left``, ``_right``). Numbers
    of xeno-canto are given out in order of upload, and people upload a visit's recordings one after the
    other: recordings of one species whose numbers differ by ``gap`` at most are one group, too. Groups that
    share a recording are one.

    Args:
        recordings: the table.
        gap: largest difference of neighbouring numbers; 0 goes by author only.

    Returns:
        The group of each recording by id: the id of one of its recordings.
    """
    together = DisjointSet(each.id for each in recordings)
    first_by: dict[str, str] = {}
    first_of: dict[str, str] = {}
    numbered: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for each in recordings:
        if each.author:
            together.merge(first_by.setdefault(each.author, each.id), each.id)
        # Channels of one recording, which data sets keep as files of their own, are one group.
        recording = recording_id(each.id)
        together.merge(first_of.setdefault(recording, each.id), each.id)
        if number := re.fullmatch(r"XC(\d+)", recording):
            numbered[each.species].append((int(number[1]), each.id))
    for visits in numbered.values():
        visits.sort()
        for (before, one), (after, other) in pairwise(visits):
            if after - before <= gap:
                together.merge(one, other)
    first: dict[str, str] = {}
    for group in together.subsets():
        first |= dict.fromkeys(group, min(group))
    return {each.id: first[each.id] for each in recordings}


def check_divisible(recordings: Sequence[Recording], groups: Mapping[str, str], parts: int) -> None:
    """Every split can get a group of every species, or a score would leave that species out.

    Raises:
        BirdlabError: naming the species with fewer groups than there are splits.
    """
    held: defaultdict[str, set[str]] = defaultdict(set)
    for each in recordings:
        held[each.species].add(groups[each.id])
    counts = Counter(each.species for each in recordings)
    few = [
        f"{name} ({counts[name]} in {len(held[name])})" for name in sorted(held) if len(held[name]) < parts
    ]
    if few:
        raise BirdlabError(
            f"too few recordings, or too few separate visits and authors, for {parts} splits: {listed(few)}. "
            "Leave these species out (data.species=[...]), or set data.folds, data.fractions or "
            "data.session_gap accordingly."
        )
