"""The page of a report: one HTML file that needs nothing beside it, and trusts nothing it shows."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from birdlab.reporting.comparison import sample_scores
from birdlab.reporting.conditions import Condition, shown
from birdlab.reporting.read import RunRecord
from birdlab.reporting.rendering import Table
from birdlab.reporting.tables import heading, printed_scores

_ASSETS = Path(__file__).with_name("assets")
_GALLERY_RUNS = 24
"""Runs whose pictures travel in the page: about half a megabyte each."""


def page(
    *,
    title: str,
    subtitle: str,
    verdict: str,
    results: Sequence[Table],
    runs: Table,
    failures: Table | None,
    figures: Mapping[str, Path],
    pair: Mapping[str, Any] | None,
) -> str:
    """The page as HTML.

    Args:
        title: of the report.
        subtitle: below it.
        verdict: what came out, in a sentence.
        results: tables of conditions.
        runs: the table of all runs.
        failures: the table of runs without a result.
        figures: PNG files by caption.
        pair: what there is to show of any two runs, see `two_runs`.
    """
    style, script = ((_ASSETS / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return environment.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        verdict=verdict,
        results=results,
        runs=runs,
        failures=failures,
        figures=[{"caption": caption, "data": _data(file)} for caption, file in figures.items()],
        pair=pair,
        pair_note=_pair_note(pair),
        style=style,
        script=script,
        # Nothing but these two runs in the page, even if some text were to slip through as markup.
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def two_runs(conditions: Sequence[Condition], score: str) -> dict[str, Any] | None:
    """Scores, configs and pictures of the finished runs, as the page's script reads them; None for one run.

    Args:
        conditions: the best first; A and B begin as runs of the first two.
        score: of the samples, shown below their pictures.
    """
    # One run of each condition before any second one, should the pictures not all fit.
    queue = [(turn, place, run) for place, one in enumerate(conditions) for turn, run in enumerate(one.runs)]
    runs = [run for *_, run in sorted(queue, key=lambda entry: entry[:2])]
    if len(runs) < 2:
        return None
    pictures: dict[str, str] = {}
    samples: dict[str, dict[str, str]] = {}
    entries = [
        {
            "name": run.name,
            "scores": {
                heading(name): f"{value:.3f}"
                for name in printed_scores(runs)
                if (value := run.score(name)) is not None
            },
            "config": {key: shown(value) for key, value in run.config.items()},
            "pictures": _pictures(run, score, pictures, samples) if number < _GALLERY_RUNS else {},
        }
        for number, run in enumerate(runs)
    ]
    return {"runs": entries, "chosen": [0, 1], "pictures": pictures, "samples": samples}


def _pictures(
    run: RunRecord, score: str, pictures: dict[str, str], samples: dict[str, dict[str, str]]
) -> dict[str, dict[str, Any]]:
    """A run's predictions by sample; what two runs have in common is kept once."""

    def kept(file: Path) -> str:
        content = file.read_bytes()
        key = hashlib.sha256(content).hexdigest()[:16]
        pictures.setdefault(key, f"data:image/png;base64,{base64.b64encode(content).decode()}")
        return key

    scores = {key[0]: value for key, value in sample_scores(run, score).items()}
    found: dict[str, dict[str, Any]] = {}
    for picture in run.pictures:
        image, truth = kept(picture.image), kept(picture.truth)
        # Another data set may have a sample of the same name.
        sample = f"{picture.id}:{image}:{truth}"
        samples[sample] = {"id": picture.id, "image": image, "truth": truth, "axes": picture.axes}
        found[sample] = {"probability": kept(picture.probability), "threshold": picture.threshold}
        if picture.id in scores:
            found[sample]["score"] = f"{heading(score)} {scores[picture.id]:.3f}"
    return found


def _pair_note(pair: Mapping[str, Any] | None) -> str:
    if pair is None or len(pair["runs"]) <= _GALLERY_RUNS:
        return ""
    return f"There are pictures of {_GALLERY_RUNS} of the {len(pair['runs'])} runs, some of each condition."


def _data(file: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
