"""The confusion matrix as a picture."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from birdlab.figures import confusion_matrix, learning_curves

Overlapping = Callable[[Figure], list[tuple[str, str]]]

COUNTS = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])


def test_rows_are_true_species_and_shades_their_shares() -> None:
    axes = confusion_matrix(COUNTS, ["Parus", "Anas", "Corvus"]).axes[0]
    (image,) = axes.images
    np.testing.assert_allclose(image.get_array(), [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "Parus (4)",
        "Anas (4)",
        "Corvus (0)",
    ]
    assert sorted(text.get_text() for text in axes.texts) == ["1", "3", "4"]


def test_no_text_overlaps(overlapping: Overlapping) -> None:
    names = [f"Turdus philomelos {number}" for number in range(8)]
    assert overlapping(confusion_matrix(np.full((8, 8), 12), names)) == []


def test_many_species_are_shades_alone() -> None:
    many = 40
    axes = confusion_matrix(np.eye(many, dtype=np.int64), [str(number) for number in range(many)]).axes[0]
    assert not axes.texts


def test_curves_of_species_are_their_scores(overlapping: Overlapping) -> None:
    history = [
        {
            "epoch": e,
            "train/loss": 2 - e / 10,
            "val/loss": 2.1 - e / 10,
            "val/accuracy": e / 20,
            "val/macro_f1": e / 30,
        }
        for e in range(10)
    ]
    figure = learning_curves(history, score="val/accuracy")
    _, scores = figure.axes
    assert scores.get_title(loc="left") == "best epoch 9: 0.450"
    assert {text.get_text() for text in scores.texts} == {"accuracy", "macro F1"}
    assert overlapping(figure) == []
