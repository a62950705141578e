"""Scores as one CSV: python collect.py results.csv [NAME=]RUN/metrics.json ... [NAME=]evaluation.json ...

A row is named after its run directory or file, so that the table says where a number comes from, if it isn't
given a name.
"""

import csv
import json
import sys
from pathlib import Path

SCORES = (
    "iou",
    "iou_present",
    "absent_unmarked",
    "iou_pooled",
    "iou_two_class",
    "legacy_iou",
    "dice",
    "precision",
    "recall",
    "accuracy",
    "over_segmentation",
    "under_segmentation",
    "false_positive_area",
    "loss",
)


def rows(file: Path, called: str = "") -> list[dict[str, str]]:
    content = json.loads(file.read_text(encoding="utf-8"))
    split = next(key for key in content if f"{key}_tuned" in content)
    tuned = content[f"{split}_tuned"]
    found = {"network at .5": content[split], "network at the validation threshold": tuned}
    run = called or (file.parent.name if file.name == "metrics.json" else file.stem)
    return [
        {"run": run, "method": method, "threshold": content["threshold"] if "validation" in method else ""}
        | {name: scores[name] for name in SCORES if scores.get(name) is not None}
        for method, scores in (found | content["references"]).items()
    ]


def main() -> None:
    target, *given = sys.argv[1:]
    with Path(target).open("w", encoding="utf-8", newline="") as text:
        table = csv.DictWriter(text, ["run", "method", "threshold", *SCORES], lineterminator="\n")
        table.writeheader()
        for words in given:
            called, _, file = words.rpartition("=")
            for row in rows(Path(file), called):
                shown = {
                    key: f"{value:.6f}" if isinstance(value, float) else value for key, value in row.items()
                }
                table.writerow(shown)


if __name__ == "__main__":
    main()
