"""What does the padding of short recordings say of the species? Writes ``padding.csv`` beside itself.

Logistic regression, which hears nothing: it is told how many seconds of a stack are real, or how long the
recording is. Grouped cross-validation, species of equal weight; scores are of all recordings together.

    python experiments/species_comparison/padding.py DIR
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from birdlab.data.birdclef import BirdCLEF
from birdlab.data.source import Split
from birdlab.data.species import LabelledStack
from birdlab.files import write_csv

RESULTS = Path(__file__).with_suffix(".csv")
FOLDS = 5


def told(samples: list[LabelledStack], what: str) -> np.ndarray:
    """The one number that is known of each recording [N, 1]."""
    return np.array([[getattr(sample, what)] for sample in samples])


def scores(root: Path, species: int, seconds: float, what: str) -> dict[str, object]:
    """Of all recordings, each tested once."""
    truth: list[int] = []
    said: list[int] = []
    repeated: list[bool] = []
    for fold in range(FOLDS):
        source = BirdCLEF(
            root=root,
            species=species,
            short="tile",
            segment_s=seconds / 10,
            balance=False,
            folds=FOLDS,
            fold=fold,
            fold_tests=True,
        )
        splits: dict[Split, list[LabelledStack]] = source.splits()  # type: ignore[assignment]
        train, test = [*splits["train"], *splits["val"]], splits["test"]
        model = make_pipeline(
            StandardScaler(),
            PolynomialFeatures(3),
            LogisticRegression(class_weight="balanced"),
        ).fit(told(train, what), [sample.label for sample in train])
        truth += [sample.label for sample in test]
        said += model.predict(told(test, what)).tolist()
        repeated += [sample.real_s < seconds - 1e-6 for sample in test]
    return {
        "stack_s": seconds,
        "told": {"real_s": "seconds that are real", "duration_s": "seconds of the recording"}[what],
        "repeated": float(np.mean(repeated)),
        "accuracy": accuracy_score(truth, said),
        "balanced_accuracy": balanced_accuracy_score(truth, said),
        "chance": 1 / species,
        "recordings": len(truth),
    }


def main(
    root: Annotated[Path, typer.Argument(help="In the layout of BirdCLEF 2021.")],
    species: Annotated[int, typer.Option(help="Those with most recordings.")] = 8,
) -> None:
    """Measure at several lengths of a stack, print a table, and write padding.csv."""
    rows = [scores(root, species, seconds, "real_s") for seconds in (5.0, 10.0, 20.0)]
    rows.append(scores(root, species, 10.0, "duration_s"))
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)
    write_csv(RESULTS, rows)


if __name__ == "__main__":
    typer.run(main)
