"""``python -m birdlab.report DIR...``: tables, figures and one HTML page, from run directories alone."""

import difflib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure
from rich.console import Console

from birdlab import __version__
from birdlab.errors import BirdlabError, command
from birdlab.figures import save
from birdlab.files import write_csv, write_json, write_text
from birdlab.reporting import figures as draw
from birdlab.reporting import tables
from birdlab.reporting.card import write_cards
from birdlab.reporting.comparison import LOWER_IS_BETTER, Ranking, rank
from birdlab.reporting.conditions import Condition, conditions, with_repeats_marked
from birdlab.reporting.page import page, two_runs
from birdlab.reporting.read import MARKER, RunRecord, common_parent, find_runs, read_runs
from birdlab.reporting.rendering import Table
from birdlab.reporting.rows import comparison_rows, reference_rows, result_rows, summary_rows

CAPTIONS = {
    "bars": "Score by condition; every dot is a run.",
    "curves": "Training by condition: the mean of its runs, and their range.",
    "heat_map": "Score over the grid: mean and standard deviation.",
    "parallel_coordinates": "Every run, from its settings to its score.",
    "cost": "Score against what it took.",
    "confusion": "Which species the first condition takes for which, all of its runs together.",
    "calibration": "Whether the first condition's probabilities mean what they say, all runs together.",
}


def report(
    folders: Sequence[Path],
    output: Path | None,
    title: str | None,
    score: str | None,
    licence: str | None = None,
    baseline: str | None = None,
) -> Path:
    """Write the report of all runs in and below the folders.

    Args:
        folders: run directories, or folders that hold some.
        output: where to; None is ``report`` in the folder that holds all runs.
        title: of the page; None names the studies.
        score: that decides; None is the one by which the studies choose their best epoch.
        licence: of the training data, for the model cards.
        baseline: label of the condition that all others are compared with; None is the best.

    Returns:
        The folder with the report.

    Raises:
        BirdlabError: if there are no runs, no such score or baseline, or the folder holds something else.
    """
    directories = find_runs(folders)
    target = output if output is not None else common_parent(directories) / "report"
    _check_free(target)
    records = with_repeats_marked(read_runs(directories))
    known = tables.printed_scores(records)
    main = score or tables.main_score(records) or ""
    if score and score not in known:
        raise BirdlabError(
            f"--score {score}: no finished run has it; there are {', '.join(known) or 'none'}."
        )

    groups = draw.by_score(conditions(records), main)
    if main in LOWER_IS_BETTER:
        groups.reverse()
    reference = None if baseline is None else _labelled(baseline, groups, main)
    rankings = {name: ranking for name in known if (ranking := rank(groups, name, reference)) is not None}
    write_json(target / MARKER, {"birdlab": __version__, "runs": [record.name for record in records]})
    write_csv(target / "results.csv", result_rows(records))
    write_csv(target / "summary.csv", summary_rows(groups))
    write_csv(target / "comparisons.csv", comparison_rows(list(rankings.values())))
    write_csv(target / "references.csv", reference_rows(groups))
    results, failures = _tables(groups, rankings, main), tables.failure_table(records)
    printed = [*results, *([failures] if failures else [])]
    write_text(target / "tables.md", "\n".join(table.markdown() for table in printed))
    write_text(target / "tables.tex", "\n".join(table.latex() for table in printed))
    write_text(
        target / "report.html",
        page(
            title=title or _title(records),
            subtitle=_subtitle(records, groups),
            verdict=_verdict(rankings, main),
            results=results,
            runs=tables.run_table(records),
            failures=failures,
            figures=_write_figures(target / "figures", groups, records, main),
            pair=two_runs(groups, main),
        ),
    )
    cards = write_cards(target, groups, licence)
    _say(target, records, _verdict(rankings, main), cards)
    return target


app = typer.Typer(add_completion=False)


@app.command()
def main(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Run directories, or folders of them.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Where to; by default report/ in the folder that holds all runs.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    score: Annotated[
        str | None, typer.Option(help="The test score that decides; by default the one that is monitored.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Of the training data, for the model cards, e.g. 'CC BY-NC 4.0'.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="The condition, as it is called in the tables, that all others are compared with."),
    ] = None,
) -> None:
    """Compare runs: tables (CSV, Markdown, LaTeX), figures, model cards, and a page that opens from disk."""
    # That a font lacks a sign in some run's name is no concern of whoever reads this.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with command():
        report(folders, output, title, score, licence, baseline)


def _check_free(target: Path) -> None:
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not (target / MARKER).is_file()):
        raise BirdlabError(
            f"{target} holds something that is no report of birdlab, and nothing is overwritten. Choose "
            "another folder by --output, or move it away."
        )


def _labelled(label: str, groups: Sequence[Condition], main: str) -> Condition:
    """The condition of that label, which must have the score that decides."""
    labels = {condition.label: condition for condition in groups if condition.values(main)}
    if label not in labels:
        near = difflib.get_close_matches(label, labels, n=1)
        raise BirdlabError(
            f"--baseline {label!r}: no condition with that score is called so"
            + (f"; nearest: {near[0]}" if near else "")
            + f". There are: {'; '.join(labels) or 'none'}."
        )
    return labels[label]


def _tables(groups: Sequence[Condition], rankings: Mapping[str, Ranking], main: str) -> list[Table]:
    if not groups:
        return []
    found = [tables.summary_table(groups, rankings, main)]
    if rankings[main].rivals:
        found.append(tables.comparison_table(rankings[main]))
    references = tables.reference_table([run for condition in groups for run in condition.runs])
    return [*found, references] if references else found


def _write_figures(
    folder: Path, groups: Sequence[Condition], records: Sequence[RunRecord], main: str
) -> dict[str, Path]:
    """PNG and PDF of each figure that the runs allow; PNG files by caption."""
    monitors = [str(record.config.get("monitor.metric")) for record in records if record.config]
    metrics = dict.fromkeys(["train/loss", "val/loss", *monitors[:1]])
    drawn: dict[str, Figure | None] = {
        "bars": draw.bars(groups, main, _references(groups, main)),
        "curves": draw.curves(groups, main, list(metrics)),
        "heat_map": draw.heat_map(groups, main),
        "parallel_coordinates": draw.parallel_coordinates(groups, main),
        "cost": draw.cost(groups, main),
        "confusion": draw.confusion(groups[0]) if groups else None,
        "calibration": draw.calibration(groups[0]) if groups else None,
    }
    written = {}
    for name, figure in drawn.items():
        for suffix in ("png", "pdf"):
            file = folder / f"{name}.{suffix}"
            if figure is None:
                file.unlink(missing_ok=True)  # an earlier report's
            else:
                save(figure, file, dpi=200)
        if figure is not None:
            written[CAPTIONS[name]] = folder / f"{name}.png"
    return written


def _references(groups: Sequence[Condition], main: str) -> dict[str, float]:
    """What networks stand beside, if it is the same for all of them."""
    found = {
        tuple((name, values[main]) for name, values in run.references.items() if main in values)
        for condition in groups
        for run in condition.runs
        if run.references
    }
    return dict(found.pop()) if len(found) == 1 else {}


def _title(records: Sequence[RunRecord]) -> str:
    studies = dict.fromkeys(str(record.config["name"]) for record in records if "name" in record.config)
    return ", ".join(studies) or "Runs"


def _subtitle(records: Sequence[RunRecord], groups: Sequence[Condition]) -> str:
    finished = sum(record.status == "finished" for record in records)
    return (
        f"{len(records)} runs, {finished} of them finished, in {len(groups)} "
        f"{'condition' if len(groups) == 1 else 'conditions'}. Made by birdlab {__version__}."
    )


def _verdict(rankings: Mapping[str, Ranking], main: str) -> str:
    if main not in rankings:
        return "No run has finished with a test score yet."
    return rankings[main].verdict(tables.heading(main))


def _say(target: Path, records: Sequence[RunRecord], verdict: str, cards: Sequence[Path]) -> None:
    console = Console()
    console.print(verdict, highlight=False, markup=False)
    for record in records:
        if record.status != "finished":
            console.print(f"{record.status}: {record.name}: {record.reason}", markup=False, soft_wrap=True)
    console.print(f"Report: {target / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
    if cards:
        said = f"Model card: {cards[0]}" if len(cards) == 1 else f"Model cards: {cards[0].parent}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
