"""The head on embeddings whose answers are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from birdlab.errors import BirdlabError
from birdlab.probing.head import DEFAULT, Head, chosen_strength, inner_parts

pytest.importorskip("sklearn")


def blobs(each: int, classes: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Species in corners far apart, two recordings a visit."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    embeddings = rng.normal(0, 0.1, (len(labels), width)) + 10 * np.eye(width)[labels]
    return embeddings.astype(np.float32), labels, [f"visit {i // 2}" for i in range(len(labels))]


def test_separable_embeddings_are_told_apart() -> None:
    train, labels, groups = blobs(6, 4, 4)
    test, truth, _ = blobs(3, 4, 4, seed=1)
    logs = Head.fit(train, labels, groups, 4).log_probabilities(test)
    assert (logs.argmax(axis=1) == truth).all()
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1)


def test_labels_without_meaning_are_told_apart_by_chance() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 200, 10)).astype(np.float32)
    labels, truth = rng.integers(0, 4, (2, 200))
    logs = Head.fit(train, labels, [str(i) for i in range(200)], 4).log_probabilities(test)
    assert abs((logs.argmax(axis=1) == truth).mean() - 0.25) < 0.1
    assert chosen_strength(train, labels, [str(i) for i in range(200)], 4) <= 0.01


def test_the_strength_is_chosen_for_visits_that_the_head_has_not_heard() -> None:
    """Features that tell visits help with recordings of the same visits alone: trusting them is a mistake."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 24)
    visits = np.arange(48) // 4
    own = rng.normal(size=(12, 30))[visits]
    train = (own + rng.normal(0, 0.01, own.shape)).astype(np.float32)
    by_visit = chosen_strength(train, labels, [str(visit) for visit in visits], 2)
    by_recording = chosen_strength(train, labels, [str(i) for i in range(48)], 2)
    assert by_visit < by_recording


def test_the_rotation_changes_nothing() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 12, 40)).astype(np.float32)
    labels = np.arange(12) % 3
    one_visit = ["visit"] * 12  # so that the strength is the default one
    scale = preprocessing.StandardScaler().fit(train.astype(np.float64))
    plain = linear_model.LogisticRegression(C=DEFAULT, class_weight="balanced", max_iter=5000)
    plain.fit(scale.transform(train), labels)
    np.testing.assert_allclose(
        np.exp(Head.fit(train, labels, one_visit, 3).log_probabilities(test)),
        plain.predict_proba(scale.transform(test)),
        atol=1e-4,
    )


def test_one_visit_leaves_nothing_to_choose_by() -> None:
    train, labels, _ = blobs(3, 2, 5)
    assert chosen_strength(train, labels, ["a", "a", "a", "b", "b", "b"], 2) == DEFAULT


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=6, max_size=40))
@settings(max_examples=30)
def test_no_visit_is_divided(drawn: list[tuple[int, int]]) -> None:
    labels = np.array([label for label, _ in drawn])
    groups = [f"{label}-{visit}" for label, visit in drawn]
    for inside, outside in inner_parts(labels, groups):
        assert not {groups[i] for i in inside} & {groups[i] for i in outside}
        assert sorted([*inside, *outside]) == list(range(len(drawn)))


def test_a_species_that_was_not_learnt_is_least_likely() -> None:
    train, labels, groups = blobs(4, 2, 5)
    logs = Head.fit(train, labels * 2, groups, 3).log_probabilities(train)
    assert (logs.argmin(axis=1) == 1).all()
    assert (logs.argmax(axis=1) == labels * 2).all()


def test_one_species_is_no_choice() -> None:
    train, labels, groups = blobs(4, 1, 5)
    with pytest.raises(BirdlabError, match=r"data\.species"):
        Head.fit(train, labels, groups, 1).log_probabilities(train)
