"""Model cards: the numbers of the run, a head for Hugging Face, and nothing that a run smuggles in."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from birdlab.config import compose
from birdlab.files import write_csv
from birdlab.report import report
from birdlab.reporting.card import card, interval
from birdlab.reporting.conditions import Condition, conditions
from birdlab.reporting.read import RunRecord, find_runs, flat, read_runs

MakeRun = Callable[..., Path]


def parts(text: str) -> tuple[dict[str, Any], str]:
    """The head and the body."""
    empty, head, body = text.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(head), body


def tables(body: str) -> list[list[list[str]]]:
    """The cells of each table, escaped."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", body, re.MULTILINE)
    cells = [
        [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()]
        for block in blocks
    ]
    assert all(len(row) == len(table[0]) for table in cells for row in table)
    return cells


def facts(body: str) -> dict[str, str]:
    return {row[0]: row[1] for table in tables(body) for row in table if len(row) == 2}


def test_a_run_has_a_card_with_its_numbers(tmp_path: Path, made_run: MakeRun) -> None:
    folder = made_run(tmp_path / "runs" / "000_seed-0", facts={"command": ["train.py", "+experiment=a b"]})
    (folder / "splits.json").write_text(json.dumps({"train": ["a"] * 1200, "val": ["b"], "test": []}))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["test"] |= {"calibration_error": 0.0123, "calibration_error_unscaled": 0.0456}
    (folder / "metrics.json").write_text(json.dumps(metrics | {"temperature": 1.75}))
    target = report([tmp_path / "runs"], None, None, None)
    head, body = parts((target / "model_card.md").read_text())
    assert not (target / "cards").exists()

    (model,) = head["model-index"]
    (result,) = model["results"]
    values = {each["type"]: each["value"] for each in result["metrics"]}
    assert values == {name: round(metrics["test_tuned"][name], 4) for name in ("iou", "iou_pooled", "dice")}
    assert (head["license"], result["dataset"]["name"]) == ("unknown", "Synthetic")
    assert head["metrics"] == list(values)

    (scores,) = (table for table in tables(body) if table[0][0] == "score")
    assert scores[0][1:] == ["this network", "95 % interval", "energy threshold", "ceiling of resizing"]
    rows = {row[0]: row[1:] for row in scores[2:]}
    assert rows["IoU"][0] == f"{metrics['test_tuned']['iou']:.3f}"
    low, high = map(float, rows["IoU"][1].split(" to "))
    assert low < metrics["test_tuned"]["iou"] < high
    assert rows["IoU"][2:] == ["0.350", "0.780"]
    assert rows["pooled IoU"][1] == "—"  # no mean over recordings

    said = facts(body)
    assert said["samples"] == "train 1,200, val 1, test 0"
    assert said["licence"] == "none: synthetic sounds, made by birdlab"
    assert said["temperature (validation)"] == "1.750"
    assert said["expected calibration error (test)"] == "0.0123"
    assert said["the same without the temperature"] == "0.0456"
    assert said["× real time"] == "not measured (python -m birdlab.speed RUN)"
    assert said["parameters"] == "1,986,817"
    assert said["time (min)"] == f"{(900 + 500 * 0.5) / 60:.1f}"
    assert said["loss"] == "WeightedSum of BCELoss, FocalTverskyLoss"
    assert "\npython -m birdlab.train '+experiment=a b'\n" in body
    assert "birdlab.predict 000_seed-0 recordings/" in body
    assert "It was trained and tested on synthetic sounds." in body


def test_a_card_says_how_fast_it_is_if_that_was_measured(tmp_path: Path, made_run: MakeRun) -> None:
    """And where: on another machine, maybe, than that of the training."""
    for seed, speed in enumerate((40.0, 60.0)):
        gpu = {"real_time_gpu": 900.0, "real_time_gpu_device": "Some <GPU>"}
        made_run(tmp_path / "runs" / f"00{seed}", seed=seed, facts={"real_time_1_core": speed} | gpu)
    target = report([tmp_path / "runs"], None, None, None)
    said = facts(parts((target / "model_card.md").read_text())[1])
    assert said["× real time, 1 core"] == "50"  # an older birdlab didn't say
    assert said["× real time, GPU"] == r"900, Some \<GPU\>"
    assert said["device"] == "CPU"
    assert "× real time" not in said
    page = (target / "report.html").read_text()
    assert page.count("× real time, GPU: on Some &lt;GPU&gt;.") == 1  # in a note of the one table that has it
    rows = list(csv.DictReader((target / "results.csv").open(encoding="utf-8")))
    assert [row["real_time_gpu_device"] for row in rows] == ["Some <GPU>"] * 2


def composed(*words: str, **config: object) -> Condition:
    """A run of a study as it is shipped."""
    leaves = flat(OmegaConf.to_container(compose(list(words)), resolve=True))
    run = RunRecord(Path("run"), "run", "finished", config=leaves | config, scores={"test/iou": 0.5})
    return Condition("study", {}, (run,))


def test_a_card_says_what_the_network_sees() -> None:
    frontier = facts(parts(card(composed("+experiment=frontier")))[1])["what it sees"].replace("\\", "")
    assert frontier == (
        "sample_rate 32000, picture level, image_size [128, 192], window_length 1024, "
        "channels [level, excess, frequency], window_s 3"
    )
    pictures = facts(parts(card(composed("+experiment=focal_tversky")))[1])["what it sees"].replace("\\", "")
    assert pictures == (
        "sample_rate 32000, picture magnitude, sides two, image_size [128, 128], channels 1, window_s 3"
    )


def test_a_card_says_how_it_was_trained() -> None:
    solved = facts(parts(card(composed("+experiment=species_frontier")))[1])
    assert solved["optimizer"] == "Adam, rate 0"
    assert solved["beside the steps"] == "FittedHead penalty 0.03; FrozenEncoder epochs None"
    assert solved["augmentation"] == solved["schedule of the rate"] == "none"
    stepped = facts(parts(card(composed("+experiment=frontier")))[1])
    assert stepped["optimizer"] == "AdamW, rate 0.003"
    assert stepped["beside the steps"] == "AveragedWeights decay 0.995"
    assert "none" not in (stepped["augmentation"], stepped["schedule of the rate"])


def test_a_card_says_what_is_found_where_no_bird_is() -> None:
    run = composed("+experiment=frontier").runs[0]
    rate = {
        "wanted_an_hour": 10.0,
        "threshold": 0.61,
        "an_hour": 9.5,
        "an_hour_at_most": 14.21,
        "recall": 0.5,
    }
    asked = {"folder": "night", "hours": 2.0, "recordings": 12, "rates": [rate, {"wanted_an_hour": 1.0}]}
    marked = card(Condition("study", {}, (replace(run, facts={"bird_free": asked}),)))
    assert "Without birds: false events in 2 hours of 12 recordings" in marked
    rows = {row[0]: row[1:] for table in tables(parts(marked)[1]) for row in table}
    assert rows["10"] == ["0.61", "9.5", "14.2", "0.500", "—"]
    assert rows["1"] == ["—"] * 5
    share = {"wanted": 0.05, "confidence": 0.912346, "found": 0.048, "named": 0.71, "right": None}
    share |= {"found_at_most": 0.075}
    asked = {"folder": "night", "stretches": 90, "recordings": 12, "shares": [share]}
    named = card(Condition("study", {}, (replace(run, facts={"bird_free": asked}),)))
    rows = {row[0]: row[1:] for table in tables(parts(named)[1]) for row in table}
    assert rows["5%"] == ["0.912346", "4.8%", "7.5%", "71.0%", "—"]
    assert "was not measured" in card(Condition("study", {}, (run,)))


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ([], "ImageNet's weights"),
        (["model.weights=null"], "random weights"),
        (["model.weights=outputs/first"], "outputs/first"),
        (["start_from=outputs/whole"], "outputs/whole"),  # whatever model.weights says
        (["model=resunet"], "random weights"),
        (["model=fpn"], "random weights"),
        (["model=fpn", "model.encoder_weights=imagenet"], "ImageNet's weights"),
        (["model=fpn", "model.encoder_weights=ssl"], "ssl weights"),
    ],
)
def test_a_card_says_what_training_started_from(words: list[str], start: str) -> None:
    said = facts(parts(card(composed("+experiment=frontier", *words)))[1])
    assert said["starts from"] == start
    if not any(word.startswith("model=") for word in words):
        assert said["network"] == "EncoderUNet of create_model"


def test_a_card_of_seeds_with_a_start_each_names_all_of_them() -> None:
    folds = [
        replace(run, name=f"{seed}-{fold}", samples=[{"id": str(fold)}])
        for seed in range(3)
        for fold in range(2)
        for run in [
            species_record(**{"seed": seed, "data.fold": fold, "start_from": f"outputs/{seed}-{fold}"})
        ]
    ]
    (condition,) = conditions(folds)
    body = parts(card(condition))[1]
    every = ", ".join(f"outputs/{seed}-{fold}" for seed in range(3) for fold in range(2))
    assert facts(body)["starts from"] == every
    assert facts(body)["not in that time"].endswith(every)
    assert "differ from it in their seed alone, of which each has its own start; scores" in body


def test_a_card_of_several_species_at_once_offers_what_such_a_run_can() -> None:
    condition = composed("+experiment=multilabel", **{"task.names": ["owl", "wren"]})
    body = parts(card(condition))[1]
    assert "whether it is heard in a recording" in body
    assert facts(body)["task"] == "which species are heard in a recording"
    assert "\npython -m birdlab.predict run recordings/ --output found\n" in body
    for one_at_a_time in ("one of those", "One name is given", "gets one of these names", "--accuracy"):
        assert one_at_a_time not in body
        assert one_at_a_time in card(Condition("birds", {}, (species_record(),)))


def test_each_condition_has_a_card_and_seeds_share_it(grid: Path, tmp_path: Path) -> None:
    target = report([grid], tmp_path / "report", None, None, licence="CC BY-NC 4.0")
    report([grid], tmp_path / "report", None, None, licence="CC BY-NC 4.0")
    cards = {file.stem: file.read_text() for file in (target / "cards").iterdir()}
    assert sorted(cards) == [
        *("adam_lr_0.0001", "adam_lr_0.001", "adam_lr_0.01"),
        *("sgd_lr_0.001", "sgd_lr_0.01"),
    ]
    assert not (target / "model_card.md").exists()
    head, body = parts(cards["adam_lr_0.01"])
    assert (head["license"], head["license_name"]) == ("other", "CC BY-NC 4.0")
    assert head["model-index"][0]["name"] == "focal_tversky: adam, lr 0.01"
    assert facts(body)["seeds"] == "0, 1, 2"
    assert facts(body)["licence"] == "CC BY-NC 4.0"
    assert re.search(r"\| IoU \| 0\.\d{3} ± 0\.\d{3} \| 0\.\d{3} to 0\.\d{3} \|", body)
    assert "bootstrap over recordings and seeds" in body


def test_a_report_of_one_condition_removes_the_cards_of_several(made_run: MakeRun, tmp_path: Path) -> None:
    made_run(tmp_path / "runs" / "a", "optimizer.lr=0.1")
    made_run(tmp_path / "runs" / "b", "optimizer.lr=0.2")
    target = report([tmp_path / "runs"], tmp_path / "report", None, None)
    assert len(list((target / "cards").iterdir())) == 2
    report([tmp_path / "runs" / "a"], tmp_path / "report", None, None)
    assert (target / "model_card.md").is_file()
    assert not (target / "cards").exists()


def test_the_interval_widens_with_seeds_that_differ(made_run: MakeRun, tmp_path: Path) -> None:
    for seed, quality in enumerate((0.4, 0.5, 0.6)):
        made_run(tmp_path / f"{seed}", seed=seed, quality=quality)
    (several,) = conditions(read_runs(find_runs([tmp_path])))
    alone = Condition(several.label, {}, several.runs[:1])
    found, one = interval(several, "iou"), interval(alone, "iou")
    assert found is not None
    assert one is not None
    assert found.high - found.low > 2 * (one.high - one.low)
    assert interval(several, "iou_pooled") is None


def test_where_masks_fail(made_run: MakeRun, tmp_path: Path) -> None:
    """24 samples, the fainter ones found to a half, and two without birds, one of them with an alarm."""
    folder = made_run(tmp_path / "run")
    rows = []
    for number in range(24):
        hit = 50 if number < 12 else 90
        counts = {"true_positive": hit, "false_negative": 100 - hit, "false_positive": 10, "true_negative": 0}
        rows.append({"id": str(number), "iou": hit / 110, "foreground_share": 0.1, "snr_db": number} | counts)
    for number, alarm in ((24, 0), (25, 7)):
        counts = {"true_positive": 0, "false_negative": 0, "false_positive": alarm, "true_negative": 93}
        rows.append({"id": str(number), "iou": float(not alarm), "foreground_share": 0.0} | counts)
    write_csv(folder / "scores.csv", rows)
    (condition,) = conditions(read_runs([folder]))
    body = parts(card(condition))[1]
    (failing,) = (table for table in tables(body) if table[0][0] == "by")
    by_snr = [row for row in failing if row[0].startswith("SNR")]
    assert [row[1:4] for row in by_snr] == [
        ["0 to 7", "8", f"{50 / 110:.3f}"],
        ["8 to 15", "8", f"{70 / 110:.3f}"],
        ["16 to 23", "8", f"{90 / 110:.3f}"],
    ]
    assert [row[6] for row in by_snr] == ["0.50", "0.30", "0.10"]
    assert "| of them with a false alarm | 1 |" in body


def species_record(**config: object) -> RunRecord:
    said = [("owl", "wren", 0.6), ("owl", "owl", 0.95), ("wren", "wren", 0.97), ("dipper", "wren", 0.55)]
    rows = [
        {"id": f"{number}", "group": f"{number}", "label": true, "predicted": name}
        | {f"p_{each}": str(p if each == name else 0.01) for each in ("owl", "wren", "dipper")}
        for number, (true, name, p) in enumerate(said)
    ]
    target = "birdlab.tasks.ClassificationTask"
    settings = {"task.module._target_": target, "task.names": ["owl", "wren", "dipper"], **config}
    scores = {"test/accuracy": 0.5}
    return RunRecord(Path("run"), "run", "finished", config=settings, scores=scores, samples=rows)


def test_where_species_fail_and_what_silence_brings() -> None:
    body = parts(card(Condition("birds", {}, (species_record(),))))[1]
    found = {tuple(table[0]): table[2:] for table in tables(body)}
    assert found["species", "found", "recordings"] == [
        ["dipper", "0.000", "1"],
        ["owl", "0.500", "2"],
        ["wren", "1.000", "1"],
    ]
    assert found["species", "taken for", "recordings"] == [["dipper", "wren", "1"], ["owl", "wren", "1"]]
    assert found["--min-confidence", "named", "accuracy"] == [
        ["0", "1.000", "0.500"],
        ["0.5", "1.000", "0.500"],
        ["0.7", "0.500", "1.000"],
        ["0.9", "0.500", "1.000"],
        ["0.95", "0.500", "1.000"],
    ]
    assert "--species run --min-confidence 0.7" in body
    assert "No confidence is known from which on 90% of the names are right" in body
    scores = {"test/accuracy": 0.5, "test/sure": 0.5, "test/sure_right": 0.4}
    chosen = replace(species_record(), facts={"confidence": 0.62}, scores=scores)
    body = parts(card(Condition("birds", {}, (chosen,))))[1]
    assert "From --min-confidence 0.620 on, 90% of the names are right on validation data" in body
    assert "On the test split 50.0% of the recordings get a name at that; 80.0% of these are right." in body
    assert "--species run --accuracy 0.9" in body
    several = parts(card(Condition("birds", {}, (species_record(**{"data.multilabel": True}),))))[1]
    assert "The run keeps nothing of single samples" in several


def test_a_card_of_both_tasks_says_what_it_marks_and_whom_it_names() -> None:
    names = ["chirp", "trill"]
    config = {"task.module._target_": "birdlab.tasks.MultitaskTask", "task.names": names}
    scores = {"test_tuned/iou": 0.5, "test_tuned/callers_average_precision": 0.75}
    rows = [{"id": f"{n}", "callers_right": "1", "callers_wrong": f"{n % 2}"} for n in range(8)]
    scores["test_tuned/callers_micro_f1"] = 16 / 20
    run = RunRecord(Path("run"), "run", "finished", config=config, scores=scores, samples=rows)
    body = parts(card(Condition("both", {}, (run,))))[1]
    assert "Marks, cell by cell" in body
    assert "names no species" not in body
    assert "It names the callers listed above and no others" in body
    assert facts(body)["callers"] == "chirp, trill"
    assert facts(body)["task"] == "bird or not, for each cell; who is heard, for each window"
    assert "birdlab.predict run recordings/" in body
    (found,) = (table for table in tables(body) if table[0][0] == "score")
    by_score = {row[0]: row[1:] for row in found[2:]}
    assert by_score["callers' average precision"] == ["0.750", "—"]
    low, high = map(float, by_score["callers' micro F1"][1].split(" to "))
    assert low < 0.8 < high
    assert "means nothing" not in body
    for key, useless in (("mask_weight", "what it marks"), ("callers_weight", "whom it names")):
        run = replace(run, config=config | {f"task.module.{key}": 0})
        assert f"{useless} means nothing" in card(Condition("both", {}, (run,)))


def test_what_all_folds_took_is_not_said_to_be_one_training() -> None:
    folds = []
    for number in range(5):
        whole = species_record(**{"seed": 0, "data.fold": number, "start_from": "outputs/first"})
        rows = [{**row, "id": f"{number}-{row['id']}"} for row in whole.samples]
        folds.append(replace(whole, samples=rows, facts={"wall_s": 120.0, "peak_memory_gb": 1.0}))
    (joined,) = conditions(folds)
    body = parts(card(joined))[1]
    assert facts(body)["time of all 5 folds (min)"] == "10.0"
    assert "## Cost of all 5 folds\n" in body
    assert "one training" not in body
    assert facts(body)["not in that time"].endswith("outputs/first")
    alone = parts(card(Condition("birds", {}, (species_record(),))))[1]
    assert "## Cost of one training\n" in alone
    assert "not in that time" not in alone


def test_calibration_is_that_of_all_seeds(made_run: MakeRun, tmp_path: Path) -> None:
    for seed, temperature in enumerate((1.0, 1.5, 2.0)):
        folder = made_run(tmp_path / f"{seed}", seed=seed)
        metrics = json.loads((folder / "metrics.json").read_text())
        (folder / "metrics.json").write_text(json.dumps(metrics | {"temperature": temperature}))
    (several,) = conditions(read_runs(find_runs([tmp_path])))
    assert facts(parts(card(several))[1])["temperature (validation)"] == "1.500 ± 0.500"


@pytest.mark.parametrize(
    "evil", ["a\n---\nb", "<script>", "```\nrm", "| x | y |", "[x](http://y)", "{{ 1 + 1 }}"]
)
def test_a_run_cannot_write_markup_into_its_card(evil: str) -> None:
    hostile = species_record(
        **{"name": evil, "model._target_": evil, "data._target_": evil, "data.sample_rate": evil}
    )
    run = RunRecord(
        Path("run"),
        evil,
        "finished",
        config=hostile.config,
        scores=hostile.scores,
        references={evil: {"accuracy": 0.1}},
        facts={"command": ["train.py", evil], "device": evil, "versions": {evil: evil}, "commit": evil},
        samples=[row | {"label": evil} for row in hostile.samples],
    )
    head, body = parts(card(Condition(evil, {}, (run,)), evil))
    assert head["license_name"] == head["model-index"][0]["name"] == " ".join(evil.split())
    assert len([line for line in body.splitlines() if line.startswith("```")]) == 4
    outside = "".join(re.split(r"^```.*?^```$", body, flags=re.MULTILINE | re.DOTALL))
    assert "<script>" not in outside
    assert "[x](" not in outside.replace("\\[x\\](", "")
    assert "\n---\n" not in body
    tables(outside)
