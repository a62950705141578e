"""Which recording is tested in which fold of a cross-validation, from the runs' ``splits.json``.

    python experiments/folds.py RUN... --output FILE

One run a fold is enough where seeds share their folds. Where each deals folds of its own there is a column
for each.
"""

import argparse
import json
from pathlib import Path

from birdlab.data.names import recording_of
from birdlab.files import write_csv
from birdlab.reporting.crossing import is_fold
from birdlab.reporting.read import read_runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    folds: dict[str, dict[str, int]] = {}
    for run in read_runs(given.runs):
        # Of joined data sets, the part that is divided into folds says it.
        ((fold, deal),) = {
            (value, f"seed {run.config.get(key.removesuffix('fold') + 'seed')}")
            for key, value in run.config.items()
            if is_fold(key) and run.config.get(f"{key}s") is not None
        }
        for sample in json.loads((run.directory / "splits.json").read_text())["test"]:
            name = recording_of(sample)
            if folds.setdefault(name, {}).setdefault(deal, fold) != fold:
                raise SystemExit(f"{name} is tested in folds {folds[name][deal]} and {fold} of {deal}.")
    deals = sorted({deal for each in folds.values() for deal in each})
    columns = {deal: deal if len(deals) > 1 else "fold" for deal in deals}
    rows = [
        {"recording": name} | {columns[deal]: each.get(deal, "") for deal in deals}
        for name, each in sorted(folds.items())
    ]
    write_csv(given.output, rows)
    print(f"{len(rows)} recordings, {len(deals)} deals of folds: {given.output}")


if __name__ == "__main__":
    main()
