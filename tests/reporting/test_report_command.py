"""`birdlab report`, as a user runs it, on runs of every fate."""

import csv
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from birdlab.errors import BirdlabError
from birdlab.report import report
from birdlab.reporting.comparison import Ranking
from birdlab.reporting.conditions import Condition
from birdlab.reporting.read import RunRecord, read_run
from birdlab.reporting.tables import summary_table

MakeRun = Callable[..., Path]


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def written(grid: Path) -> Path:
    """Written twice: a report takes the place of an earlier one, and is no run."""
    report([grid], None, None, None)
    return report([grid], None, None, None)


def test_it_stands_beside_the_runs(written: Path, grid: Path) -> None:
    assert written == grid / "report"
    assert {path.name for path in written.iterdir()} == {
        *("birdlab_report.json", "results.csv", "summary.csv", "comparisons.csv", "references.csv"),
        *("tables.md", "tables.tex", "report.html", "figures", "cards"),
    }
    figures = ("bars", "curves", "heat_map", "parallel_coordinates", "cost")
    assert {path.name for path in (written / "figures").iterdir()} == {
        f"{name}.{suffix}" for name in figures for suffix in ("png", "pdf")
    }


def test_results_have_a_row_a_run_with_all_there_is(written: Path, grid: Path) -> None:
    rows = {row["run"]: row for row in table(written / "results.csv")}
    assert len(rows) == 22
    one = rows["004_adam_lr-0.001_seed-1"]
    record = read_run(grid / one["run"], one["run"])
    assert (one["status"], one["seed"], one["optimizer._target_"]) == ("finished", "1", "torch.optim.Adam")
    assert float(one["optimizer.lr"]) == 0.001
    assert float(one["test_tuned/iou"]) == record.scores["test_tuned/iou"]
    assert {"test/loss", "test/iou_pooled"} <= one.keys()
    for which, epoch in (("best_epoch", 9), ("last_epoch", 11)):
        assert float(one[f"{which}/val/loss"]) == record.history[epoch]["val/loss"]
    costs = ("wall_s", "samples_per_s", "peak_memory_gb", "parameters", "commit", "data_hash")
    assert all(one[name] for name in costs)
    assert rows["017_sgd_lr-0.0001_seed-2"]["reason"] == "BirdlabError: The loss is nan at step 40"
    assert rows["running"]["reason"] == "still running, or killed; 5 of 40 epochs trained"
    assert {row["status"] for row in rows.values()} == {
        *("finished", "failed", "running", "interrupted", "damaged")
    }


def test_the_summary_is_mean_deviation_and_number(written: Path) -> None:
    results, summary = table(written / "results.csv"), table(written / "summary.csv")
    assert summary[0]["condition"] == "adam, lr 0.01"
    assert len(summary) == 5
    for row in summary:
        values = [
            float(run["test/iou"])
            for run in results
            if run["status"] == "finished"
            and run["optimizer._target_"].lower().endswith(row["optimizer"])
            and run["optimizer.lr"] == row["optimizer.lr"]
        ]
        assert int(row["n"]) == len(values) == 3
        assert float(row["test/iou_mean"]) == pytest.approx(statistics.fmean(values))
        assert float(row["test/iou_sd"]) == pytest.approx(statistics.stdev(values))


def test_tables_set_in_bold_what_the_comparison_supports(written: Path) -> None:
    markdown = (written / "tables.md").read_text()
    (bold_row,) = [line for line in markdown.splitlines() if line.startswith("| adam | 0.01 |")]
    iou, pooled, dice = bold_row.split("|")[4:7]
    assert iou.strip().startswith("**0.5")
    assert dice.strip().startswith("**0.5")
    assert "**" not in pooled  # the mean of no column
    assert markdown.count("**0.") == 2
    assert "| 015\\_sgd" not in markdown
    assert "| 015_sgd_lr-0.0001_seed-0 | failed | BirdlabError: The loss is nan at step 40 |" in markdown
    latex = (written / "tables.tex").read_text()
    assert latex.count(r"\textbf{0.") == 2
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 4
    assert r"015\_sgd\_lr-0.0001\_seed-0 & failed" in latex


def test_folds_that_are_missing_are_named() -> None:
    def of(label: str, folds: int) -> Condition:
        keys = {"seed": 3, "data.folds": 5, "data.fold_tests": True}
        run = RunRecord(Path(label), label, "finished", config=keys, folds=folds, scores={"test/iou": 0.5})
        return Condition(label, {}, (run,))

    def note(*groups: Condition) -> str:
        return summary_table(groups, {"iou": Ranking("iou", groups[0], ())}, "iou").note

    assert "Folds are missing" not in note(of("whole", 5))
    assert "Folds are missing, so that these are scores of other samples: cut (seed 3: 4 of 5)." in note(
        of("whole", 5), of("cut", 4)
    )


def test_comparisons_are_corrected(written: Path) -> None:
    rows = [row for row in table(written / "comparisons.csv") if row["score"] == "iou"]
    assert len(rows) == 4
    assert all(float(row["p"]) <= float(row["p_holm"]) < 0.05 for row in rows)
    assert all(float(row["low"]) <= float(row["difference"]) <= float(row["high"]) for row in rows)


def test_what_networks_stand_beside_has_a_row_with_every_score(written: Path, grid: Path) -> None:
    rows = {row["reference"]: row for row in table(written / "references.csv")}
    one = read_run(grid / "004_adam_lr-0.001_seed-1", "one")
    assert set(rows) == set(one.references)
    for name, scores in one.references.items():
        assert {score: float(rows[name][score]) for score in scores} == scores


def test_a_baseline_takes_the_place_of_the_best(grid: Path, tmp_path: Path) -> None:
    target = report([grid], tmp_path / "report", None, None, baseline="adam, lr 0.001")
    rows = [row for row in table(target / "comparisons.csv") if row["score"] == "iou"]
    assert {row["baseline"] for row in rows} == {"adam, lr 0.001"}
    assert "best" not in rows[0]
    assert {row["other"]: float(row["difference"]) > 0 for row in rows}["adam, lr 0.01"]
    for file in ("tables.md", "report.html"):
        written = (target / file).read_text()
        assert "IoU: the others against adam, lr 0.001" in written
        assert "Bold: better than adam, lr 0.001 (p" in written.replace("&lt;", "<")
    assert "IoU against ‘adam, lr 0.001’: better ‘adam, lr 0.01’;" in (target / "report.html").read_text()


def test_an_unknown_baseline_is_refused_with_the_known_ones(grid: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BirdlabError, match=r"--baseline 'adam, 0\.01': .*nearest: adam, lr 0\.01\. There are: .*; "
    ):
        report([grid], tmp_path / "other", None, None, baseline="adam, 0.01")
    assert not (tmp_path / "other").exists()


def test_nothing_but_a_report_is_overwritten(grid: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "results.csv").write_text("mine")
    with pytest.raises(BirdlabError, match="nothing is overwritten"):
        report([grid], tmp_path / "mine", None, None)
    assert (tmp_path / "mine" / "results.csv").read_text() == "mine"
    with pytest.raises(BirdlabError, match="--score iuo: no finished run has it; there are iou, iou_pooled"):
        report([grid], tmp_path / "other", None, "iuo")
    assert not (tmp_path / "other").exists()


def test_a_smaller_report_leaves_no_figures_of_a_larger_one(tmp_path: Path, made_run: MakeRun) -> None:
    runs = [made_run(tmp_path / f"r{n}", f"optimizer.lr={0.1**n:g}", quality=0.4 + 0.1 * n) for n in (1, 2)]
    target = report(runs, tmp_path / "out", None, None)
    assert (target / "figures" / "cost.png").exists()
    report(runs[:1], tmp_path / "out", None, None)
    assert not (target / "figures" / "cost.png").exists()
    assert "nothing to compare" in (target / "report.html").read_text()


def test_runs_that_all_failed_make_a_report(tmp_path: Path, made_run: MakeRun) -> None:
    made_run(tmp_path / "runs" / "a", status="failed", error="no <b>room</b>")
    page = (report([tmp_path / "runs"], None, None, None) / "report.html").read_text()
    assert "No run has finished" in page
    assert "no &lt;b&gt;room&lt;/b&gt;" in page


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}\\input{x}|`$x$"


def test_names_and_settings_are_text_wherever_they_come(tmp_path: Path, made_run: MakeRun) -> None:
    name = HOSTILE.replace("/", "")
    for place, quality in (("a", 0.4), (name, 0.6)):
        folder = made_run(tmp_path / "runs" / place, quality=quality, pictures=True)
        config = (folder / "config.yaml").read_text()
        hostile = json.dumps(f"{HOSTILE}</script><!--{place}")
        (folder / "config.yaml").write_text(f"{config}\n{json.dumps(HOSTILE)}: {hostile}\n")
        gallery = folder / "figures" / "samples" / "samples.json"
        gallery.write_text(
            gallery.read_text().replace("test_00001", HOSTILE.replace('"', '\\"').replace("\\i", "i"))
        )
    done = subprocess.run(
        [sys.executable, "-m", "birdlab.report", "runs", "--title", HOSTILE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    target = tmp_path / "runs" / "report"
    page = (target / "report.html").read_text()
    assert "<img src=x" not in page
    assert len(re.findall(r"<script", page)) == len(re.findall(r"</script", page)) == 2
    assert "{{7*7}}" in page  # and not 49
    assert "script-src 'sha256-" in page
    markdown = (target / "tables.md").read_text()
    assert re.search(r"(?<!\\)<", markdown) is None
    assert (
        len({line.count(" | ") for line in markdown.splitlines() if "alert" in line and line[0] == "|"}) <= 2
    )
    latex = (target / "tables.tex").read_text()
    assert r"\input{x}" not in latex
    assert (target / "figures" / "bars.pdf").exists()


def test_the_command_says_what_came_out_and_what_failed(grid: Path, tmp_path: Path) -> None:
    words = [str(grid), "--output", str(tmp_path / "out"), "--title", "My sweep"]
    done = subprocess.run([sys.executable, "-m", "birdlab.report", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "adam, lr 0.01 has the best IoU, better than every other condition" in done.stdout
    assert "failed: never_began: no data" in done.stdout
    assert str(tmp_path / "out" / "report.html") in done.stdout
    assert "<h1>My sweep</h1>" in (tmp_path / "out" / "report.html").read_text()
    refused = subprocess.run(
        [sys.executable, "-m", "birdlab.report", str(tmp_path / "gone")], capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("birdlab: ")
