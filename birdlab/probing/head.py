"""The head: logistic regression on standardised embeddings, its strength chosen on training data alone."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

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


@dataclass(frozen=True)
class Head:
    """Multinomial logistic regression, each species of equal weight.

    Attributes:
        weights: float64 [D, K].
        bias: float64 [K]; minus infinity for species without training data.
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def fit(cls, train: Embeddings, labels: Labels, groups: Sequence[str], classes: int) -> Self:
        """Fit to recordings.

        The strength is the one of `STRENGTHS` with the lowest cross-entropy, each species of equal weight, in
        cross-validation over groups within these recordings.

        Args:
            train: embeddings [N, D].
            labels: of the species of each [N].
            groups: visits of each [N]: one is never divided.
            classes: K.

        Raises:
            BirdlabError: if scikit-learn is not installed, or there is only one species.
        """
        if len(np.unique(labels)) < 2:
            raise BirdlabError(
                "A head tells species apart, and there is only one to learn: set data.species."
            )
        return cls.of_strength(train, labels, chosen_strength(train, labels, groups, classes), classes)

    @classmethod
    def of_strength(cls, train: Embeddings, labels: Labels, strength: float, classes: int) -> Self:
        """The same of a given strength."""
        sklearn = _sklearn()
        scale = sklearn.preprocessing.StandardScaler()
        # The rotation changes nothing but the time: a penalised solution lies in the span of the recordings,
        # which are fewer than the features.
        rotation = sklearn.decomposition.PCA(svd_solver="full")
        regression = sklearn.linear_model.LogisticRegression(
            C=strength, class_weight="balanced", max_iter=5000
        )
        inputs = rotation.fit_transform(scale.fit_transform(train.astype(np.float64)))
        regression.fit(inputs, labels)
        found, bias = regression.coef_, regression.intercept_
        if len(found) == 1:  # of two species scikit-learn gives the second one's odds
            found, bias = np.concatenate([0 * found, found]), np.concatenate([0 * bias, bias])
        weights, everything = np.zeros((train.shape[1], classes)), np.full(classes, -np.inf)
        weights[:, regression.classes_] = rotation.components_.T @ found.T / scale.scale_[:, None]
        everything[regression.classes_] = bias - (scale.mean_ @ weights)[regression.classes_]
        everything[regression.classes_] -= found @ (rotation.components_ @ rotation.mean_)
        return cls(weights, everything)

    def log_probabilities(self, embeddings: Embeddings) -> NDArray[np.float64]:
        """Log-probabilities [M, K] of embeddings [M, D]; of what was not learnt the least there is."""
        logits = embeddings.astype(np.float64) @ self.weights + self.bias
        logs: NDArray[np.float64] = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return logs.clip(min=np.log(_LEAST))


def chosen_strength(train: Embeddings, labels: Labels, groups: Sequence[str], classes: int) -> float:
    """The best of `STRENGTHS`; `DEFAULT` where some species comes from one group only."""
    parts = inner_parts(labels, groups)
    if not parts:
        return DEFAULT
    found = dict.fromkeys(STRENGTHS, 0.0)
    weights = (1 / np.bincount(labels, minlength=classes).clip(min=1))[labels]
    for inside, outside in parts:
        for strength in STRENGTHS:
            head = Head.of_strength(train[inside], labels[inside], strength, classes)
            logs = head.log_probabilities(train[outside])
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


def _sklearn() -> Any:
    try:
        import sklearn.decomposition
        import sklearn.linear_model
        import sklearn.model_selection
        import sklearn.preprocessing
    except ImportError as error:
        raise BirdlabError("The head is scikit-learn's: pip install 'birdlab[probe]'.") from error
    return sklearn
