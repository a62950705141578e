"""Folds, draws and scores of the learning curve."""

from pathlib import Path

import numpy as np
import pytest

from birdlab.data.birdclef import BirdCLEF
from birdlab.data.species import LabelledStack
from birdlab.errors import BirdlabError
from birdlab.probing.curve import ALL, SCORES, Point, few, folds_of, learning_curve, summary

pytest.importorskip("sklearn")
NAMES = ("owl", "wren", "dipper")


def table(root: Path, each: int = 8) -> BirdCLEF:
    """Recordings whose files are never read but for their headers; two of each author."""
    import soundfile

    lines = ["primary_label,filename,author"]
    for species, name in enumerate(NAMES, start=1):
        (root / "train_short_audio" / name).mkdir(parents=True)
        for number in range(each):
            file = f"XC{species}{number:02d}000.wav"
            soundfile.write(root / "train_short_audio" / name / file, np.ones(1600), 16_000)
            lines.append(f"{name},{file},{name} {number // 2}")
    (root / "train_metadata.csv").write_text("\n".join(lines))
    return BirdCLEF(root=root, species=NAMES, segment_s=1.0, short="tile", balance=False, folds=4)


def samples_of(source: BirdCLEF) -> list[LabelledStack]:
    (fold, *_) = folds_of(source)
    return sorted((*fold.train, *fold.test), key=lambda sample: sample.id)


def test_each_recording_is_tested_once_by_a_head_that_never_heard_its_visit(tmp_path: Path) -> None:
    folds = folds_of(table(tmp_path))
    assert len(folds) == 4
    assert sorted(sample.id for fold in folds for sample in fold.test) == sorted(
        sample.id for sample in (*folds[0].train, *folds[0].test)
    )
    for fold in folds:
        assert not {sample.group for sample in fold.train} & {sample.group for sample in fold.test}
        assert len(fold.train) + len(fold.test) == 24  # what validates elsewhere is learnt from here
        assert len({sample.group for sample in (*fold.train, *fold.test)}) == 12  # two by each author


def test_few_recordings_are_among_more_of_the_same_draw(tmp_path: Path) -> None:
    samples = samples_of(table(tmp_path))
    drawn = [{each.id for each in few(samples, count, "0:0")} for count in (1, 2, 5, 100)]
    assert [len(each) for each in drawn] == [3, 6, 15, 24]
    assert drawn[0] < drawn[1] < drawn[2] < drawn[3]
    assert drawn[2] == {each.id for each in few(samples[::-1], 5, "0:0")}
    assert drawn[0] != {each.id for each in few(samples, 1, "0:1")}


def test_separable_embeddings_score_one_and_meaningless_ones_chance(tmp_path: Path) -> None:
    source = table(tmp_path, each=12)
    folds, samples = folds_of(source), samples_of(source)
    rng = np.random.default_rng(0)
    noise = {sample.id: rng.normal(size=8).astype(np.float32) for sample in samples}
    told = {sample.id: noise[sample.id][:3] / 20 + 9 * np.eye(3)[sample.label] for sample in samples}
    points = list(learning_curve(folds, told, 3, [5, 1], draws=2))
    assert [(point.recordings, point.draw) for point in points] == [(1, 0), (1, 1), (5, 0), (5, 1), (ALL, 0)]
    assert [point.mean_recordings for point in points] == [1, 1, 5, 5, 9]
    for point in points:
        assert [point.scores[name] for name in SCORES] == pytest.approx([1] * 5)
        assert point.scores["recordings"] == 36
    (last,) = learning_curve(folds, noise, 3, [], draws=1)
    assert abs(last.scores["accuracy"] - 1 / 3) < 0.2
    assert abs(last.scores["roc_auc"] - 1 / 2) < 0.2


def test_without_folds_the_test_split_is_tested(tmp_path: Path) -> None:
    from dataclasses import replace

    source = replace(table(tmp_path), folds=None, fractions=(0.5, 0.25, 0.25))
    (fold,) = folds_of(source)
    assert [sample.id for sample in fold.test] == [sample.id for sample in source.splits()["test"]]


def test_a_summary_is_the_mean_and_deviation_over_draws() -> None:
    scores = [dict.fromkeys(SCORES, value) | {"recordings": 9} for value in (0.2, 0.4, 0.9)]
    points = [
        Point(1, 1.0, 0, scores[0]),
        Point(1, 1.0, 1, scores[1]),
        Point(ALL, 7.5, 0, scores[2]),
    ]
    first, last = summary(points)
    assert (first["recordings"], first["draws"], first["macro_f1"]) == (1, 2, pytest.approx(0.3))
    assert first["macro_f1_sd"] == pytest.approx(0.141421)  # of (.2, .4), n - 1
    assert (last["recordings"], last["mean_recordings"], last["macro_f1"]) == (ALL, 7.5, 0.9)
    assert np.isnan(last["macro_f1_sd"])
    assert points[0].row() == {
        "recordings": 1,
        "mean_recordings": 1.0,
        "draw": 0,
        "tested": 9,
        "left_out": 0,
    } | dict.fromkeys(SCORES, 0.2)


def test_several_species_a_recording_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(BirdlabError, match=r"data\.multilabel"):
        folds_of(replace(table(tmp_path), multilabel=True))


def test_too_few_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match="dipper"):
        folds_of(table(tmp_path, each=6))
