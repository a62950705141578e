"""Species beside their references, on a handful of recordings."""

from pathlib import Path

import pytest
import torch

from birdlab import config
from birdlab.analysis import confusion
from birdlab.build import build_data
from birdlab.data.classification import ClassificationData
from birdlab.evaluation import compared
from birdlab.evaluation.species import reference_logits
from birdlab.tasks.base import Tested


@pytest.fixture
def data(tiny_species: Path, tiny_species_settings: list[str], tmp_path: Path) -> ClassificationData:
    words = ["+experiment=mobilenet_optimizers", *tiny_species_settings, f"loader.cache_dir={tmp_path}"]
    made = build_data(config.compose(words))
    assert isinstance(made, ClassificationData)
    return made


def answers(data: ClassificationData, *, right: bool) -> Tested:
    """As by a network that is always right, or never."""
    rows = []
    for sample in reversed(data.labelled("test")):  # as several ranks would leave them
        predicted = sample.label if right else (sample.label + 1) % len(data.names)
        probability = {f"p_{name}": float(k == predicted) for k, name in enumerate(data.names)}
        rows.append(
            {
                "id": sample.id,
                "label": data.names[sample.label],
                "predicted": data.names[predicted],
                **probability,
            }
        )
    return Tested({"accuracy": float(right), "loss": 0.0}, rows)


def test_a_network_stands_beside_the_commonest_species_and_the_shortcut(data: ClassificationData) -> None:
    made = compared(data, answers(data, right=True), "test", data)
    assert made.main == "accuracy"
    assert set(made.references) == {"commonest species", "loudness, bandwidth, length"}
    commonest = made.references["commonest species"]
    assert commonest["accuracy"] == pytest.approx(1 / 3)  # the test split is balanced
    assert commonest["roc_auc"] == 0.5
    assert [row["id"] for row in made.samples] == [sample.id for sample in data.splits["test"]]
    assert all({"group", "real_s", "duration_s"} <= row.keys() for row in made.samples)
    assert "threshold" not in made.as_dict()
    assert made.table().row_count == 3


def test_accuracy_within_a_collection_stands_beside_the_others(
    tiny_species: Path, tiny_species_settings: list[str], tmp_path: Path
) -> None:
    origins = "data.origins={archive: [owl, wren], field: [dipper]}"
    words = [
        "+experiment=mobilenet_optimizers",
        *tiny_species_settings,
        f"loader.cache_dir={tmp_path}",
        origins,
    ]
    data = build_data(config.compose(words))
    assert isinstance(data, ClassificationData)
    wrong = compared(data, answers(data, right=False), "test", data)
    assert wrong.network["accuracy_within_field"] == 1  # there is but one species in it
    assert {"accuracy_within_archive", "accuracy_within_field"} < set(wrong.columns)
    assert "accuracy_within_archive" in wrong.references["loudness, bandwidth, length"]


def test_the_commonest_species_of_each_collection_is_known(data: ClassificationData) -> None:
    order = [2, 0, 1]  # from the most to the fewest recordings
    by_label = [[s for s in data.labelled("train") if s.label == label] for label in range(3)]
    data.splits["train"] = [s for rank, label in enumerate(order) for s in by_label[label] * (3 - rank)]
    commonest = reference_logits(data, "test", data)["commonest species"][0]
    assert commonest.argsort(descending=True).tolist() == order


def test_rows_of_the_table_give_the_confusion_matrix() -> None:
    rows = [("owl", "owl"), ("owl", "wren"), ("wren", "wren")]
    table = [{"label": label, "predicted": predicted} for label, predicted in rows]
    assert torch.equal(confusion(table, ("owl", "wren")), torch.tensor([[1, 1], [0, 1]]))


def test_without_training_recordings_there_is_nothing_to_fit_on(
    data: ClassificationData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(data.splits, "train", [])
    assert compared(data, answers(data, right=True), "test", data).references == {}
    assert compared(data, answers(data, right=True), "test", None).references == {}
