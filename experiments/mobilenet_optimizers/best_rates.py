"""Each optimizer at the rate that validation data prefer: python best_rates.py FOLDER/summary.csv

Writes ``best_rates.csv`` beside it. The rate is the one with the best mean validation accuracy, taken at each
run's best epoch; what stands in the table is the test score of these runs.
"""

import csv
import sys
from pathlib import Path

from birdlab.files import write_csv

CHOSEN_BY = "best_epoch/val/{}_mean"
KEPT = ("test/accuracy", "test/balanced_accuracy", "test/macro_f1", "test/average_precision", "test/roc_auc")


def main() -> None:
    summary = Path(sys.argv[1])
    with summary.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    # Balanced accuracy where classes are not balanced, as the study's commands monitor it.
    by = CHOSEN_BY.format(sys.argv[2] if len(sys.argv) > 2 else "accuracy")
    best: dict[str, dict[str, str]] = {}
    for row in rows:
        held = best.get(row["optimizer"])
        if held is None or float(row[by]) > float(held[by]):
            best[row["optimizer"]] = row
    columns = [f"{name}_{moment}" for name in KEPT for moment in ("mean", "sd")]
    write_csv(
        summary.with_name("best_rates.csv"),
        [
            {"optimizer": name, "rate": row["optimizer.lr"], "trials": len(rows) // len(best), "n": row["n"]}
            | {"validation": row[by]}
            | {column: row[column] for column in columns}
            for name, row in best.items()
        ],
    )


if __name__ == "__main__":
    main()
