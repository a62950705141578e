"""Model cards: what a network is, was trained on, scores, gets wrong and costs, for whoever is handed it.

One for each condition of a report, that is for runs that are the same but for the seed. Everything in it
comes from the run directories; the head is what Hugging Face reads of a model card.
"""

import re
import shlex
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from birdlab import __version__, licence
from birdlab.data.source import PICTURE_KEYS, STACK_KEYS
from birdlab.files import replacing_folder, write_text
from birdlab.reporting import failing
from birdlab.reporting.comparison import POOLED, common_samples, sample_scores
from birdlab.reporting.conditions import NUISANCE, Condition, shown
from birdlab.reporting.read import RunRecord
from birdlab.reporting.rendering import Cell, Table, escaped_markdown
from birdlab.reporting.tables import SPEEDS, heading, mean_cell, printed_scores, speed_devices
from birdlab.significance import Estimate, estimate, estimate_statistic
from birdlab.thresholds import SURE
from birdlab.trained_on import STARTS

FILE, FOLDER = "model_card.md", "cards"
_ASSETS = Path(__file__).with_name("assets")
_INPUT = (*dict.fromkeys([*PICTURE_KEYS, *STACK_KEYS]), "segment_s")
"""Keys of ``data`` that say what the network sees."""


def write_cards(target: Path, conditions: Sequence[Condition], stated_licence: str | None) -> list[Path]:
    """Write ``model_card.md`` for a single condition, ``cards/CONDITION.md`` for each of several.

    Args:
        target: the report's folder; what an earlier report left of cards is replaced.
        conditions: finished runs.
        stated_licence: of the data that they were trained on; None if nobody says.

    Returns:
        The files.
    """
    (target / FILE).unlink(missing_ok=True)
    shutil.rmtree(target / FOLDER, ignore_errors=True)
    if len(conditions) == 1:
        write_text(target / FILE, card(conditions[0], stated_licence))
        return [target / FILE]
    if not conditions:
        return []
    with replacing_folder(target / FOLDER) as folder:
        names: list[str] = []
        for number, condition in enumerate(conditions):
            name = re.sub(r"[^A-Za-z0-9._-]+", "_", condition.label).strip("._")[:80] or "condition"
            # Labels may differ in signs alone, and not every file system tells case apart.
            name = f"{number}_{name}" if name.lower() in [each.lower() for each in names] else name
            names.append(name)
            write_text(folder / f"{name}.md", card(condition, stated_licence))
    return [target / FOLDER / f"{name}.md" for name in names]


def card(condition: Condition, stated_licence: str | None = None) -> str:
    """The model card of runs that are the same but for the seed, as Markdown."""
    run = condition.runs[0]
    species = is_species(run)
    data = str(run.config.get("data._target_", "unknown"))
    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # this is Markdown, which has an escape of its own
    )
    environment.filters["text"] = lambda value: escaped_markdown(str(value))
    return environment.get_template("model_card.md").render(
        head=yaml.safe_dump(_head(condition, stated_licence), sort_keys=False, allow_unicode=True),
        title=_name(condition),
        species=species,
        several_species=_names_several(run),
        callers=_names_callers(run),
        untrained=[
            part
            for part in ("mask", "callers")
            if _names_callers(run) and run.config.get(f"task.module.{part}_weight") == 0
        ],
        synthetic=data.startswith("birdlab.data.synthetic"),
        several=len(condition.runs) > 1,
        own_starts=len(_starts(condition)) > 1,
        run=run,
        facts=_facts(condition),
        data=_data(run, licence.of_training_data(data, stated_licence)),
        scores=_scores(condition),
        failures=failing.species_tables(run) if species else failing.mask_tables(run),
        alarms=next(filter(None, map(failing.bird_free_table, condition.runs)), None),
        calibration=_calibration(condition),
        coverage=(coverage := failing.coverage_table(run) if species else None),
        sure=_sure(condition) if coverage else "",
        chosen=bool(condition.facts("confidence")),
        wanted=SURE,
        cost=_cost(condition),
        provenance=_provenance(condition),
        path=_one_line(shlex.quote(_folder(run))),
        trained=_command(run),
        version=__version__,
    )


def _folder(run: RunRecord) -> str:
    """Of a run to predict with: of folds that were put together, whose name is their own, the first."""
    return run.name if run.name.endswith(run.directory.name) else run.directory.name


def is_species(run: RunRecord) -> bool:
    """Whether a run names species, and doesn't mark pixels."""
    return _task(run).endswith("ClassificationTask")


def _names_several(run: RunRecord) -> bool:
    """Whether a run says of each species by itself whether it is heard."""
    return is_species(run) and run.config.get("data.multilabel") is True


def _names_callers(run: RunRecord) -> bool:
    """Whether a run marks pixels and says who is heard, both."""
    return _task(run).endswith("MultitaskTask")


def _task(run: RunRecord) -> str:
    return str(run.config.get("task.module._target_", ""))


def interval(condition: Condition, score: str) -> Estimate | None:
    """A score's mean with what it lies between, if the runs keep enough of each sample."""
    if score in POOLED:
        samples = common_samples(condition.runs)
        seeds = [one for run in condition.runs if (one := POOLED[score](run, samples)) is not None]
        return estimate_statistic(seeds, [group for _, group, *_ in samples]) if seeds else None
    scores = [found for run in condition.runs if (found := sample_scores(run, score))]
    common = sorted(set.intersection(*map(set, scores))) if scores else []
    if not common:
        return None
    return estimate([[one[key] for key in common] for one in scores], [group for _, group, *_ in common])


def _head(condition: Condition, stated_licence: str | None) -> dict[str, Any]:
    run = condition.runs[0]
    species = is_species(run)
    data = _one_line(_last(run.config.get("data._target_", "unknown")))
    metrics = [
        {"type": score, "name": heading(score), "value": round(statistics.fmean(values), 4)}
        for score in printed_scores(condition.runs)
        if (values := condition.values(score))
    ]
    task = "audio-classification" if species else "image-segmentation"
    # The weights' own licence is their author's to choose, with that of the data in mind.
    stated = (
        {"license": "other", "license_name": _one_line(stated_licence)}
        if stated_licence
        else {"license": "unknown"}
    )
    return {
        "library_name": "birdlab",
        **stated,
        "tags": ["bioacoustics", "birds", "audio", "spectrogram", task],
        "metrics": [each["type"] for each in metrics],
        "model-index": [
            {
                "name": _name(condition),
                "results": [
                    {
                        "task": {"type": task},
                        "dataset": {"name": data, "type": data.lower(), "split": "test"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def _facts(condition: Condition) -> Table:
    run = condition.runs[0]
    config = run.config
    return _pairs(
        {
            "task": _asked(run),
            "network": _built(run, "model"),
            "starts from": ", ".join(_starts(condition)),
            "parameters": _number(run.cost("parameters"), ",.0f"),
            "what it sees": ", ".join(f"{key} {shown(value)}" for key, value in _seen(run).items()),
            "loss": _built(run, "loss"),
            "optimizer": f"{_built(run, 'optimizer')}, rate {shown(config.get('optimizer.lr', 'unknown'))}",
            "schedule of the rate": _built(run, "scheduler", "none"),
            "augmentation": _built(run, "augment", "none"),
            "beside the steps": _beside(run),
            "epochs": shown(config.get("trainer.max_epochs", "unknown")),
            "best epoch": ", ".join(str(each.facts.get("best_epoch", "—")) for each in condition.runs),
            "seeds": ", ".join(shown(each.config.get("seed", "—")) for each in condition.runs),
        },
    )


def _starts(condition: Condition) -> list[str]:
    return list(dict.fromkeys(_start(run) for run in condition.runs))


def _start(run: RunRecord) -> str:
    """What training started from, as `birdlab.build` decides it."""
    keys = (*STARTS, "model.encoder_weights")
    key, start = next(((key, run.config[key]) for key in keys if run.config.get(key)), ("", "random"))
    if start == "imagenet":
        return "ImageNet's weights"
    return str(start) if key in STARTS else f"{start} weights"


def _seen(run: RunRecord) -> dict[str, Any]:
    """What the network is given, by key of ``data``."""
    # A picture of levels has one side whatever the data's files have; any other one, no window of its own.
    unsaid = "sides" if run.config.get("data.picture") == "level" else "window_length"
    values = {key: run.config.get(f"data.{key}") for key in _INPUT if key != unsaid}
    channels = run.config.get("task.module.front_end.channels")
    if isinstance(channels, list):
        values["channels"] = f"[{', '.join(map(str, channels))}]"
    return {key: value for key, value in values.items() if value is not None}


def _asked(run: RunRecord) -> str:
    """What the network answers."""
    if _names_several(run):
        return "which species are heard in a recording"
    if is_species(run):
        return "species of a recording"
    marks = "bird or not, for each cell"
    return f"{marks}; who is heard, for each window" if _names_callers(run) else marks


def _data(run: RunRecord, its_licence: str) -> Table:
    names = run.config.get("task.names")
    return _pairs(
        {
            "data set": _built(run, "data"),
            "samples": ", ".join(f"{split} {count:,}" for split, count in run.splits.items()) or "unknown",
            "manifest (SHA-256 of splits, names and sizes)": str(run.facts.get("data_hash", "unknown")),
            "licence": its_licence,
        }
        | (
            {"callers" if _names_callers(run) else "species": ", ".join(map(str, names))}
            if isinstance(names, list)
            else {}
        ),
    )


def _scores(condition: Condition) -> Table:
    run = condition.runs[0]
    rows = []
    for score in printed_scores(condition.runs):
        found = interval(condition, score)
        between = "—"
        if found is not None and found.low < found.high:
            share = found.of_share()
            between = f"{share.low:.3f} to {share.high:.3f}"
        others = [references.get(score) for references in run.references.values()]
        rows.append(
            (
                Cell(heading(score), heading(score)),
                mean_cell(condition.values(score)),
                Cell(between, between),
                *(mean_cell([] if value is None else [value]) for value in others),
            )
        )
    over = "recordings and seeds" if len(condition.runs) > 1 else "recordings; other seeds aren't in it"
    deviation = "± is the standard deviation over seeds. " if len(condition.runs) > 1 else ""
    return Table(
        "",
        ("score", "this network", "95 % interval", *run.references),
        tuple(rows),
        f"{deviation}The interval is a bootstrap over {over}; — where what was kept of each "
        "recording doesn't say, or a score is the same for all.",
    )


def _calibration(condition: Condition) -> Table:
    # Not `Condition.values`: errors are of probabilities, whatever the threshold.
    errors, unscaled, of_names = (
        [run.scores[f"test/{name}"] for run in condition.runs if f"test/{name}" in run.scores]
        for name in ("calibration_error", "calibration_error_unscaled", "callers_calibration_error")
    )
    boxes = condition.facts("box_threshold")
    content = {
        "temperature (validation)": mean_cell(condition.facts("temperature")).text,
        "threshold (validation)": mean_cell(condition.facts("threshold")).text,
        **({"threshold of boxes (validation)": mean_cell(boxes).text} if boxes else {}),
        "expected calibration error (test)": mean_cell(errors, digits=4).text,
        "the same without the temperature": mean_cell(unscaled, digits=4).text,
    }
    if of_names:
        content["of the names, at a temperature of their own"] = mean_cell(of_names, digits=4).text
    return _pairs(content, "± is the standard deviation over seeds." if len(condition.runs) > 1 else "")


def _sure(condition: Condition) -> str:
    """What the confidence that validation data chose brings on the test split."""
    chosen, named, right = (
        condition.facts("confidence"),
        condition.values("sure"),
        condition.values("sure_right"),
    )
    if not chosen or not named:
        return f"No confidence is known from which on {SURE:.0%} of the names are right on validation data."
    accuracy = f"{sum(right) / sum(named):.1%} of these are right" if sum(named) else "none"
    return (
        f"From --min-confidence {mean_cell(chosen).text} on, {SURE:.0%} of the names are right on validation "
        f"data, which chose it. On the test split {statistics.fmean(named):.1%} of the recordings get a name "
        f"at that; {accuracy}."
    )


def _cost(condition: Condition) -> Table:
    run = condition.runs[0]

    def mean(name: str, form: str, unit: float = 1.0) -> str:
        values = condition.facts(name)
        return _number(unit * statistics.fmean(values), form) if values else "—"

    speeds = {
        label: ", ".join([mean(name, ".0f"), *speed_devices(condition.runs, name)])
        for name, (label, _) in SPEEDS.items()
        if condition.facts(name)
    }
    if not speeds:
        speeds = {"× real time": "not measured (python -m birdlab.speed RUN)"}
    starts = dict.fromkeys(
        str(start) for each in condition.runs if (start := each.config.get("start_from")) is not None
    )
    before = {"not in that time": f"the training that it goes on from, {', '.join(starts)}"} if starts else {}
    time = f"time of all {run.folds} folds (min)" if run.folds > 1 else "time (min)"
    return _pairs(
        {
            time: mean("wall_s", ".1f", 1 / 60),
            **before,
            "samples/s": mean("samples_per_s", ".1f"),
            "peak memory (GB)": mean("peak_memory_gb", ".2f"),
            "device": str(run.facts.get("device", "unknown")),
            "CPU threads": shown(run.facts.get("cpu_threads", "unknown")),
            "precision": str(run.facts.get("precision", "unknown")),
            **speeds,
        },
    )


def _provenance(condition: Condition) -> Table:
    run = condition.runs[0]
    commits = dict.fromkeys(commit for each in condition.runs for commit in _commits(each))
    commit = ", ".join(commits) + " and changes" * any(each.facts.get("dirty") for each in condition.runs)
    versions = run.facts.get("versions")
    packages = versions if isinstance(versions, dict) else {}
    return _pairs(
        {
            "runs": ", ".join(each.name for each in condition.runs),
            "birdlab": str(run.facts.get("birdlab", "unknown")),
            "commit": commit,
            "versions": ", ".join(f"{name} {version}" for name, version in packages.items()) or "unknown",
        },
    )


def _commits(run: RunRecord) -> list[str]:
    """Of the code that trained a run, the last one's last."""
    earlier = run.facts.get("earlier_commits")
    commits = [*(earlier if isinstance(earlier, list) else []), run.facts.get("commit") or "unknown"]
    return list(map(str, commits))


def _command(run: RunRecord) -> str:
    """The command that trains the same again, by itself where it was one of a sweep."""
    words = run.facts.get("command")
    if not isinstance(words, list) or not words:
        return ""
    return _one_line(shlex.join(["python", "-m", "birdlab.train", *map(str, words[1:])]))


def _name(condition: Condition) -> str:
    study = str(condition.runs[0].config.get("name", "birdlab"))
    return _one_line(study if condition.label == study else f"{study}: {condition.label}")


def _one_line(text: str) -> str:
    """Nothing in the head can look like its end."""
    return " ".join(text.split())


def _pairs(content: dict[str, str], note: str = "") -> Table:
    rows = ((Cell(key, key), Cell(value or "—", value)) for key, value in content.items())
    return Table("", ("", ""), tuple(rows), note)


def _beside(run: RunRecord) -> str:
    """The callbacks that change what a training makes, with their settings."""
    found: dict[str, list[str]] = {}
    for key, value in run.config.items():
        group, _, below = key.partition(".")
        name, _, setting = below.partition(".")
        if group != "callbacks" or key.startswith(NUISANCE):
            continue
        said = _last(value) if setting == "_target_" else f"{setting} {shown(value)}"
        found.setdefault(name, []).append(said)
    return "; ".join(" ".join(said) for said in found.values()) or "nothing"


def _built(run: RunRecord, group: str, absent: str = "unknown") -> str:
    """What a config group builds: the class, and those that it is made of."""
    first, *parts = [
        _last(value)
        for key, value in sorted(run.config.items(), key=lambda entry: entry[0].count("."))
        # Where ImageNet's weights would come from is there without them, too.
        if key.startswith(f"{group}.") and key.endswith("._target_") and key != "model.imagenet._target_"
    ] or [absent]
    return f"{first} of {', '.join(parts)}" if parts else first


def _last(target: Any) -> str:
    return str(target).rsplit(".", 1)[-1]


def _number(value: float | None, form: str) -> str:
    return "—" if value is None else format(value, form)
