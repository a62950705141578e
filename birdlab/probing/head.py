"""The head: logistic regression on standardised embeddings, its strength chosen on training data alone."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from birdlab.errors import BirdlabError
from birdlab.probing.backbone import Embeddings

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of which one is chosen: inverse weights of the penalty, scikit-learn's C."""
DEFAULT = 1.0
"""Where some species was recorded on one visit only, and nothing can be held out."""
_PARTS = 3
_LEAST = 1e-12

Labels = NDArray[np.int64]


def log_probabilities(
    train: Embeddings, labels: Labels, groups: Sequence[str], test: Embeddings, classes: int
) -> NDArray[np.float64]:
    """Log-probabilities [M, K] of recordings, by a head fitted to others.

    Multinomial logistic regression, each species of equal weight. Its strength is the one of `STRENGTHS` with
    the lowest cross-entropy, each species of equal weight, in cross-validation over groups within the
    training data.

    Args:
        train: embeddings [N, D].
        labels: of the species of each [N].
        groups: visits of each [N]: one is never divided.
        test: embeddings [M, D].
        classes: K; those without training data get the least probability.

    Raises:
        BirdlabError: if scikit-learn is not installed, or there is only one species.
    """
    if len(np.unique(labels)) < 2:
        raise BirdlabError("A head tells species apart, and there is only one to learn: set data.species.")
    strength = chosen_strength(train, labels, groups, classes)
    return _fitted(train, labels, test, strength, classes)


def chosen_strength(train: Embeddings, labels: Labels, groups: Sequence[str], classes: int) -> float:
    """The best of `STRENGTHS`; `DEFAULT` where some species comes from one group only."""
    parts = inner_parts(labels, groups)
    if not parts:
        return DEFAULT
    found = dict.fromkeys(STRENGTHS, 0.0)
    weights = (1 / np.bincount(labels, minlength=classes).clip(min=1))[labels]
    for inside, outside in parts:
        for strength in STRENGTHS:
            logs = _fitted(train[inside], labels[inside], train[outside], strength, classes)
            found[strength] -= float(logs[np.arange(len(outside)), labels[outside]] @ weights[outside])
    # Of equals the most cautious.
    return min(STRENGTHS, key=lambda strength: (round(found[strength], 9), strength))


def inner_parts(labels: Labels, groups: Sequence[str]) -> list[tuple[Labels, Labels]]:
    """Indices to fit to and to try on, at most three times; none where a species has one group only."""
    model_selection = _sklearn().model_selection
    names = np.array(groups)
    fewest = min(len(set(names[labels == label])) for label in np.unique(labels))
    if fewest < 2:
        return []
    divide = model_selection.StratifiedGroupKFold(min(_PARTS, fewest), shuffle=True, random_state=0)
    with warnings.catch_warnings():
        # Fewer recordings of a species than parts.
        warnings.simplefilter("ignore", UserWarning)
        parts = list(divide.split(names, labels, names))
    return [(inside, outside) for inside, outside in parts if len(np.unique(labels[inside])) > 1]


def _fitted(
    train: Embeddings, labels: Labels, test: Embeddings, strength: float, classes: int
) -> NDArray[np.float64]:
    sklearn = _sklearn()
    # The rotation changes nothing but the time: a penalised solution lies in the span of the recordings,
    # which are fewer than the features.
    head = sklearn.pipeline.make_pipeline(
        sklearn.preprocessing.StandardScaler(),
        sklearn.decomposition.PCA(svd_solver="full"),
        sklearn.linear_model.LogisticRegression(C=strength, class_weight="balanced", max_iter=5000),
    ).fit(train.astype(np.float64), labels)
    logs = np.full((len(test), classes), np.log(_LEAST))
    logs[:, head.classes_] = np.log(head.predict_proba(test.astype(np.float64)).clip(min=_LEAST))
    return logs


def _sklearn() -> Any:
    try:
        import sklearn.decomposition
        import sklearn.linear_model
        import sklearn.model_selection
        import sklearn.pipeline
        import sklearn.preprocessing
    except ImportError as error:
        raise BirdlabError("The head is scikit-learn's: pip install 'birdlab[probe]'.") from error
    return sklearn
