"""Splits by recording: whole groups only, strata in equal shares, the same for the same seed, no leaks.

All draws sort by a hash of (seed, name), so they don't depend on the order in which files are found.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from birdlab.data.source import SPLITS, Sample, Source, Split
from birdlab.errors import BirdlabError

_DRAWS = 16


def split_groups(
    groups: Sequence[str],
    fractions: tuple[float, float, float],
    seed: int,
    strata: Sequence[str] | None = None,
) -> dict[str, Split]:
    """Draws the split of every group.

    Args:
        groups: the group of each sample, so a group counts as often as it occurs.
        strata: what each sample is an example of; every split gets its share of each as far as whole groups
            allow. None for samples that are all alike.
        fractions: shares of train, val and test, counted in samples; they add up to 1.
        seed: of the draw.

    Returns:
        The split of each group. Without strata a split's size exceeds its share by less than one group of
        the largest size.
        A split with a share above 0 is not empty if there are at least as many groups as such splits.

    Raises:
        BirdlabError: if the fractions are negative or don't add up to 1.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise BirdlabError(
            f"data.fractions is {tuple(fractions)}: give three shares (train, val, test), none below 0, "
            "that add up to 1, e.g. (0.7, 0.15, 0.15)."
        )
    return {group: SPLITS[part] for group, part in _partition(groups, fractions, seed, strata).items()}


def assign(
    samples: Sequence[Sample], fractions: tuple[float, float, float], seed: int
) -> dict[Split, list[Sample]]:
    """Splits samples by their group and stratum; see `split_groups`."""
    groups, strata = [sample.group for sample in samples], [sample.stratum for sample in samples]
    split_of = split_groups(groups, fractions, seed, strata)
    splits: dict[Split, list[Sample]] = {split: [] for split in SPLITS}
    for sample in samples:
        splits[split_of[sample.group]].append(sample)
    return splits


def fold(
    splits: dict[Split, list[Sample]], folds: int, fold: int, seed: int, *, tests: bool = False
) -> dict[Split, list[Sample]]:
    """Splits train and val anew for grouped cross-validation; test stays as it is, or is a fold, too.

    Args:
        splits: the samples of each split.
        folds: how many parts of near equal size the groups are divided into.
        fold: the part that validates, from 0; over all folds each group validates once.
        seed: of the draw; the parts don't depend on ``fold``.
        tests: all samples are divided; the part ``fold`` is tested, and the one after it validates.

    Raises:
        BirdlabError: if there are fewer than 2 folds (3 with ``tests``), fewer groups than folds, or no fold
            of that number.
    """
    samples = [*splits["train"], *splits["val"], *(splits["test"] if tests else ())]
    groups = [sample.group for sample in samples]
    fewest = 3 if tests else 2
    if folds < fewest:
        raise BirdlabError(
            f"data.folds={folds}: cross-validation needs at least {fewest} folds (null for none)."
        )
    if not isinstance(fold, int) or not 0 <= fold < folds:
        raise BirdlabError(f"data.fold={fold}: with data.folds={folds} it runs from 0 to {folds - 1}.")
    if not groups:
        raise BirdlabError(
            f"data.folds={folds}: all samples are for testing. Add data.fold_tests=true, so that "
            "each fold is tested once, or leave some for training (data.fractions)."
        )
    if folds > len(set(groups)):
        raise BirdlabError(
            f"data.folds={folds}: the data hold only {len(set(groups))} separate recordings to divide; "
            "set data.folds to that at most."
        )
    part_of = _partition(groups, [1 / folds] * folds, seed, [sample.stratum for sample in samples])
    validates = (fold + 1) % folds if tests else fold
    held_out = {validates, fold}
    return {
        "train": [sample for sample in samples if part_of[sample.group] not in held_out],
        "val": [sample for sample in samples if part_of[sample.group] == validates],
        "test": [s for s in samples if part_of[s.group] == fold] if tests else list(splits["test"]),
    }


def finish(splits: dict[Split, list[Sample]], source: Source) -> dict[Split, list[Sample]]:
    """What every source does last: folds, checks and caps its splits.

    A cap keeps a draw by ``source.seed`` and not the first samples, since a sorted folder begins with one
    recordist or one visit. The samples of a smaller cap are among those of a larger one. Each split comes out
    in order of id.

    Raises:
        BirdlabError: for a fold that can't be, a cap below 1, an id that occurs twice, or a leak.
    """
    if source.folds is not None:
        splits = fold(splits, source.folds, source.fold, source.seed, tests=source.fold_tests)
    elif source.fold:
        raise BirdlabError(f"data.fold={source.fold} says nothing without data.folds. Set data.folds=5, say.")
    check_no_leaks(splits)
    repeated = [id for id, n in Counter(s.id for split in SPLITS for s in splits[split]).items() if n > 1]
    if repeated:
        raise BirdlabError(
            f"{len(repeated)} sample ids occur twice, e.g. {min(repeated)!r}: give every file its own name."
        )
    caps = {"train": source.n_train, "val": source.n_val, "test": source.n_test}
    return {
        split: sorted(_capped(splits[split], split, caps[split], source.seed), key=_id) for split in SPLITS
    }


def check_no_leaks(splits: dict[Split, list[Sample]]) -> None:
    """Makes sure that no group stands in two splits.

    Raises:
        BirdlabError: naming a group and the two splits that hold it.
    """
    for one, other in combinations(SPLITS, 2):
        shared = {s.group for s in splits[one]} & {s.group for s in splits[other]}
        if shared:
            group = min(shared)
            ids = [min(s.id for s in splits[split] if s.group == group) for split in (one, other)]
            more = f", as do {len(shared) - 1} more" if len(shared) > 1 else ""
            raise BirdlabError(
                f"recording {group!r} stands in {one} (sample {ids[0]!r}) and {other} (sample {ids[1]!r})"
                f"{more}: scores would be too good. Two channels are one recording. Move all files of a "
                "recording into the folder of one split, or all files of the data set into one pair of "
                "Images/ and Masks/, which data.fractions divides by recording. If only train and val share "
                "recordings, data.folds=5 divides these anew."
            )


def _capped(samples: Sequence[Sample], split: Split, cap: int | None, seed: int) -> Sequence[Sample]:
    if cap is None:
        return samples
    if cap < 1:
        raise BirdlabError(f"data.n_{split}={cap}: give at least 1, or null for all.")
    return sorted(samples, key=lambda sample: drawn(seed, sample.id))[:cap]


def _partition(
    groups: Sequence[str], shares: Sequence[float], seed: int, strata: Sequence[str] | None = None
) -> dict[str, int]:
    """Groups to parts: the best of some draws.

    Dealing out the largest groups first would come nearer to the shares, but would leave nothing except small
    groups to small parts: a test split of short recordings only.
    """
    kinds = list(strata) if strata else [""] * len(groups)
    sizes = Counter(groups)
    # How many samples of each stratum a group holds.
    held: dict[str, Counter[str]] = {group: Counter() for group in sizes}
    for group, kind in zip(groups, kinds, strict=True):
        held[group][kind] += 1
    draws = []
    for attempt in range(_DRAWS):
        order = sorted(sizes, key=lambda group: drawn(seed, f"{attempt}:{group}"))
        parts = _dealt(order, held, shares)
        got: Counter[tuple[int, str]] = Counter()
        for group, part in parts.items():
            got.update({(part, kind): size for kind, size in held[group].items()})
        distance = sum(
            abs(share * total - got[part, kind])
            for kind, total in Counter(kinds).items()
            for part, share in enumerate(shares)
        )
        # Of draws that are equal to every stratum, the one whose parts have the right sizes.
        size = Counter(parts[group] for group in groups)
        distance += sum(abs(share * len(groups) - size[part]) for part, share in enumerate(shares)) / 1000
        draws.append((round(distance, 6), attempt, parts))
    return min(draws)[2]


def _dealt(order: Sequence[str], held: dict[str, Counter[str]], shares: Sequence[float]) -> dict[str, int]:
    """Groups to parts, one after the other, each to the part that lacks the most of what it holds.

    Of parts that lack the same, to the one that lacks the most of all kinds together: rare kinds, of fewer
    groups than there are parts, would all go to the first ones.
    """
    totals: Counter[str] = Counter()
    for kinds in held.values():
        totals.update(kinds)
    lacking = [{kind: share * total for kind, total in totals.items()} for share in shares]
    lacking_in_all = [share * totals.total() for share in shares]
    parts: dict[str, int] = {}
    for group in order:
        # How much nearer to its shares each part would come.
        gains = [sum(size * lack[kind] for kind, size in held[group].items()) for lack in lacking]
        ranks = [(round(gain, 9), lack) for gain, lack in zip(gains, lacking_in_all, strict=True)]
        part = parts[group] = max(range(len(shares)), key=ranks.__getitem__)
        for kind, size in held[group].items():
            lacking[part][kind] -= size
        lacking_in_all[part] -= held[group].total()

    # Few groups leave nothing to a small share, but a split that was asked for must not be empty.
    for part, share in enumerate(shares):
        taken = Counter(parts.values())
        spare = [group for group in order if taken[parts[group]] > 1]
        if share > 0 and taken[part] == 0 and spare:
            parts[min(spare, key=lambda group: held[group].total())] = part
    _spread(parts, held, [part for part, share in enumerate(shares) if share > 0])
    return parts


def _spread(parts: dict[str, int], held: dict[str, Counter[str]], wanted: Sequence[int]) -> None:
    """Give each part some of every kind, as far as others can spare it: a score would leave the kind out."""
    number = Counter((part, kind) for group, part in parts.items() for kind in held[group])
    for kind in sorted({kind for kinds in held.values() for kind in kinds}):
        for part in wanted:
            spare = [
                group
                for group, own in parts.items()
                if kind in held[group] and all(number[own, each] > 1 for each in held[group])
            ]
            if number[part, kind] == 0 and spare:
                moved = min(spare, key=lambda group: held[group].total())
                number.subtract((parts[moved], each) for each in held[moved])
                number.update((part, each) for each in held[moved])
                parts[moved] = part


def drawn(seed: int | str, name: str) -> bytes:
    """A number by lot for each name, whatever their order."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _id(sample: Sample) -> str:
    return sample.id
