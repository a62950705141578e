"""What differs between runs, and which are repetitions."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from birdlab import config
from birdlab.reporting.conditions import conditions, factors, overridden, short_names, with_repeats_marked
from birdlab.reporting.read import RunRecord, flat

BASE = {"name": "study", "seed": 0, "loader.num_workers": 2}


def record(label: str, **config: object) -> RunRecord:
    leaves = BASE | {key.replace("__", "."): value for key, value in config.items()}
    return RunRecord(Path(label), label, "finished", config=leaves, scores={"test/iou": 0.5})


def from_config(name: str, text: str, seed: int = 0) -> RunRecord:
    return RunRecord(
        Path(name),
        name,
        "finished",
        config=flat(yaml.safe_load(text)) | {"seed": seed},
        scores={"test/iou": 0.5},
    )


def test_runs_that_differ_in_seed_and_fold_are_repetitions() -> None:
    runs = [
        record(f"r{seed}", seed=seed, task__datamodule__seed=seed, data__fold=seed % 2) for seed in range(4)
    ]
    (found,) = conditions(runs)
    assert found.label == "study"
    assert found.runs == tuple(runs)


def test_how_many_recordings_a_fold_trains_on_sets_no_runs_apart() -> None:
    counts = {0: "[3, 4]", 1: "[4, 3]"}
    runs = [
        record(f"r{fold}", data__fold=fold, task__counts=counts[fold], loss__counts=counts[fold])
        for fold in (0, 1)
    ]
    assert factors(runs) == {}


@pytest.mark.parametrize("key", ["start_from", "model__weights"])
def test_runs_whose_seeds_each_have_a_start_of_their_own_are_repetitions(key: str) -> None:
    """Pretrained three times, each goes on: what differs is the seed, from the very beginning."""
    runs = [record(f"r{seed}", seed=seed, **{key: f"outputs/pretrained_{seed}"}) for seed in range(3)]
    (found,) = conditions(runs)
    assert (found.label, len(found.values("iou"))) == ("study", 3)
    # Each seed's start is the same in all folds, or each fold of it has one of its own.
    for start in ("outputs/{seed}", "outputs/{seed}_{fold}", "outputs/{fold}"):
        folds = [
            replace(run, samples=[{"id": str(fold)}])
            for seed in range(3)
            for fold in range(5)
            for run in [record("r", seed=seed, data__fold=fold, **{key: start.format(seed=seed, fold=fold)})]
        ]
        (found,) = conditions(folds)
        assert len(found.runs) == 3


def test_starts_of_a_seed_each_are_one_beside_what_else_differs() -> None:
    rates = [
        record(f"{rate}{seed}", seed=seed, optimizer__lr=rate, start_from=f"outputs/{rate}_{seed}")
        for rate in (0.1, 0.01)
        for seed in range(3)
    ]
    assert [(one.label, len(one.runs)) for one in conditions(rates)] == [("lr 0.1", 3), ("lr 0.01", 3)]
    helped = [
        record(f"{number}{seed}", seed=seed, start_from=start)
        for seed in range(3)
        for number, start in enumerate((None, f"outputs/{seed}"))
    ]
    found = [(one.label, len(one.runs)) for one in conditions(helped)]
    assert found == [("start_from None", 3), ("start_from one each", 3)]


@pytest.mark.parametrize(
    "starts",
    [
        # of two seeds each
        {0: ["a"], 1: ["a"], 2: ["b"], 3: ["b"]},
        # two of each seed
        {0: ["a0", "b0"], 1: ["a1", "b1"]},
        # a sweep of which too little has run
        {0: ["None", "a"], 1: ["None", "b"], 2: ["None"]},
        # no runs
        {0: ["None"], 1: ["imagenet"]},
    ],
)
def test_other_starts_are_choices(starts: dict[int, list[str]]) -> None:
    runs = [record("r", seed=seed, model__weights=start) for seed in starts for start in starts[seed]]
    assert factors(runs) == {"model.weights": [start for seed in starts for start in starts[seed]]}


def test_copies_and_nuisances_are_no_factors() -> None:
    runs = [
        record(
            f"r{batch}",
            loader__batch_size=batch,
            task__datamodule__batch_size=batch,
            loader__num_workers=batch,
        )
        for batch in (8, 16)
    ]
    assert overridden(runs) == ["loader.batch_size", "task.datamodule.batch_size"]
    assert factors(runs) == {"loader.batch_size": ["8", "16"]}
    assert [one.label for one in conditions(runs)] == ["batch_size 8", "batch_size 16"]


def test_what_callbacks_do_to_a_training_sets_runs_apart_and_what_they_draw_does_not() -> None:
    runs = [
        record(
            f"r{n}",
            callbacks__fitted__penalty=0.1 * n,
            callbacks__panels__every=n,
            callbacks__last__filename=n,
        )
        for n in (1, 2)
    ]
    assert overridden(runs) == ["callbacks.fitted.penalty"]


def test_a_run_once_more_is_no_further_seed() -> None:
    first, again, other = (
        replace(record(name, seed=seed, data__root=f"/{name}"), facts={"began": at, "data_hash": "5ca1e"})
        for name, seed, at in (("first", 0, 5.0), ("again", 0, 9.0), ("other", 1, 7.0))
    )
    failed = replace(first, name="failed", status="failed", facts={"began": 99.0})
    marked = with_repeats_marked([first, again, other, failed])
    assert [one.status for one in marked] == ["repeated", "finished", "finished", "failed"]
    assert marked[0].reason == "again is the same, and began later"
    (condition,) = conditions(marked)
    assert [run.name for run in condition.runs] == ["again", "other"]


def test_where_runs_log_and_what_they_draw_sets_none_apart() -> None:
    texts = (
        "{logger: {csv: {_target_: Csv}}, callbacks: {panels: {_target_: Panels}}}",
        "{logger: {wandb: {_target_: Wandb, project: a}}}",
        "{callbacks: {errors: {_target_: Errors}, last: {_target_: Checkpoint}}}",
    )
    runs = [from_config(f"{seed}", text, seed) for seed, text in enumerate(texts)]
    assert factors(runs) == {}
    assert [len(found.runs) for found in conditions(runs)] == [3]


@pytest.mark.parametrize("name", ["early_stopping", "averaged"])
def test_choices_that_add_to_another_one_are_known_by_their_name(name: str) -> None:
    runs = [
        replace(record(choice), config=flat(OmegaConf.to_container(config.compose([f"callbacks={choice}"]))))
        for choice in ("default", name)
    ]
    assert factors(runs)["callbacks"] == ["default", name]


def test_a_group_is_named_after_its_choice_and_brings_its_settings_along() -> None:
    adam = "optimizer: {_target_: torch.optim.Adam, lr: RATE, betas: [0.9, 0.999]}"
    sgd = "optimizer: {_target_: torch.optim.SGD, lr: RATE, momentum: 0.9}"
    runs = [
        from_config(f"{number}", text.replace("RATE", rate), seed)
        for number, (text, rate, seed) in enumerate(
            [(adam, "0.01", 0), (adam, "0.1", 0), (sgd, "0.01", 0), (sgd, "0.1", 0), (sgd, "0.1", 1)]
        )
    ]
    assert factors(runs) == {
        "optimizer": ["adam", "adam", "sgd", "sgd", "sgd"],
        "optimizer.lr": ["0.01", "0.1", "0.01", "0.1", "0.1"],
    }
    found = conditions(runs)
    assert [one.label for one in found] == ["adam, lr 0.01", "adam, lr 0.1", "sgd, lr 0.01", "sgd, lr 0.1"]
    assert len(found[-1].runs) == 2


def test_choices_that_are_made_of_others_are_recognised_and_foreign_ones_named_by_class() -> None:
    loss = """loss: {_target_: birdlab.losses.WeightedSum, losses: {bce: {_target_: birdlab.losses.BCELoss},
        dice: {_target_: birdlab.losses.DiceLoss}}, weights: {bce: 1, dice: 1}}"""
    foreign = "loss: {_target_: my.own.Loss, hardness: 3}"
    assert factors([from_config("a", loss), from_config("b", foreign)]) == {"loss": ["bce_dice", "Loss"]}
    augment = """augment: {_target_: birdlab.data.augment.Augmentation,
        transforms: [{_target_: albumentations.Affine}]}"""
    runs = [from_config("a", augment), from_config("b", "augment: null")]
    assert factors(runs) == {"augment": ["paper003", "none"]}


def test_a_random_search_keeps_every_key() -> None:
    runs = [record(f"{n}", optimizer__lr=0.1 / n, model__dropout=0.1 * n) for n in (1, 2, 3)]
    assert set(factors(runs)) == {"optimizer.lr", "model.dropout"}


def test_what_follows_from_the_study_is_its_name() -> None:
    runs = [
        record("a", name="one", epochs=3, model__width=1),
        record("b", name="two", epochs=5, model__width=2),
    ]
    assert factors(runs) == {"name": ["one", "two"]}
    assert [one.label for one in conditions(runs)] == ["one", "two"]


def test_what_an_ablation_changes_is_its_name() -> None:
    """As +sweep=ablations has them: a switch, another network, another size, a seeded augmentation."""
    resunet = "model: {_target_: birdlab.models.resunet.ResUNet, residual: RESIDUAL}"
    other = "model: {_target_: segmentation_models_pytorch.Unet, encoder_name: mobilenet_v2}"
    rows = [
        ("none", resunet.replace("RESIDUAL", "true"), 128),
        ("no_residual", resunet.replace("RESIDUAL", "false"), 128),
        ("mobilenet_encoder", other, 128),
        ("resolution_256", resunet.replace("RESIDUAL", "true"), 256),
        (
            "augment_physical",
            resunet.replace("RESIDUAL", "true") + "\naugment: {_target_: a.B, seed: SEED}",
            128,
        ),
    ]
    runs = [
        from_config(
            name,
            f"name: study\nablation: {name}\ndata: {{image_size: [{size}, {size}]}}\n{model}".replace(
                "SEED", str(seed)
            ),
            seed,
        )
        for name, model, size in rows
        for seed in (0, 1)
    ]
    names = [name for name, *_ in rows]
    assert [one.label for one in conditions(runs)] == names
    assert factors(runs) == {"ablation": [name for name in names for _ in (0, 1)]}
    rates = [
        record(f"{ablation}{rate}", ablation=ablation, optimizer__lr=rate, model__residual=ablation == "none")
        for ablation in ("none", "no_residual")
        for rate in (0.1, 0.01)
    ]
    assert [one.label for one in conditions(rates)] == [
        *("none, lr 0.1", "none, lr 0.01", "no_residual, lr 0.1", "no_residual, lr 0.01")
    ]
    studies = [
        record(f"{name}{ablation}", name=name, epochs=epochs, ablation=ablation)
        for name, epochs in (("one", 3), ("two", 5))
        for ablation in ("none", "plain")
    ]
    assert factors(studies) == {
        "name": ["one", "one", "two", "two"],
        "ablation": ["none", "plain", "none", "plain"],
    }


def test_the_same_data_in_another_folder_is_no_factor() -> None:
    def runs(*hashes: str | None) -> list[RunRecord]:
        return [
            RunRecord(Path(p), p, "finished", config=BASE | {"data.root": p}, facts={"data_hash": h})
            for p, h in zip(("/a", "/b"), hashes, strict=True)
        ]

    assert factors(runs("x", "x")) == {}
    assert factors(runs("x", None)) == {}
    assert factors(runs("x", "y")) == {"data.root": ["/a", "/b"]}


def test_what_a_probe_found_sets_no_runs_apart() -> None:
    def runs(*probed: list[str]) -> list[RunRecord]:
        return [
            RunRecord(Path(p), p, "finished", config=BASE | {"memory_format": p}, facts={"probed": found})
            for p, found in zip(("contiguous", "channels_last"), probed, strict=True)
        ]

    assert factors(runs(["memory_format"], ["memory_format"])) == {}
    assert list(factors(runs(["memory_format"], []))) == ["memory_format"]


def test_names_are_as_short_as_tells_them_apart() -> None:
    keys = ["optimizer.lr", "scheduler.lr", "model.widths", "seed"]
    assert list(short_names(keys).values()) == ["optimizer.lr", "scheduler.lr", "widths", "seed"]
