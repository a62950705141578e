"""The paper's numbers and ours in one table: python experiments/beside_paper.py experiments/STUDY...

``paper.csv`` has a row for each of the paper's, and for what it only names: what the network is called,
keys of the config, and what the paper reports. ``beside_paper.csv`` is the same with the last epoch's
validation accuracy and loss from ``synthetic/summary.csv`` and ``real/summary.csv``, as the paper's
tables give them. Where no run has these keys it says ``not run``. A key that a summary has no column for
is the same in all of its runs of that network.
"""

import csv
import sys
from pathlib import Path

from birdlab.files import write_csv

SETS = ("synthetic", "real")
SHOWN = {"accuracy": "last_epoch/val/accuracy_mean", "sd": "last_epoch/val/accuracy_sd"} | {
    "loss": "last_epoch/val/loss_mean"
}


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def ours(row: dict[str, str], summary: list[dict[str, str]]) -> dict[str, str]:
    keys = {key: value for key, value in row.items() if key in summary[0] and value}
    found = [one for one in summary if all(one[key] == value for key, value in keys.items())]
    if len(found) > 1:
        sys.exit(f"{row}: {len(found)} conditions are called so; name more keys in paper.csv.")
    return {name: found[0][column] if found else "not run" for name, column in SHOWN.items()}


def main() -> None:
    for study in map(Path, sys.argv[1:]):
        summaries = {name: read(study / name / "summary.csv") for name in SETS}
        write_csv(
            study / "beside_paper.csv",
            [
                row
                | {
                    f"{name}_{column}": value
                    for name, summary in summaries.items()
                    for column, value in ours(row, summary).items()
                }
                for row in read(study / "paper.csv")
            ],
        )


if __name__ == "__main__":
    main()
