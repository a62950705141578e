"""Which recording is tested in which fold of a cross-validation, from the runs' ``splits.json``.

    python experiments/folds.py RUN... --output FILE

One run a fold is enough: seeds share their folds.
"""

import argparse
import json
from pathlib import Path

from birdlab.data.source import recording_of
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
    tested: dict[str, int] = {}
    for run in read_runs(given.runs):
        # Of joined data sets, the part that is divided into folds says it.
        (fold,) = {
            value
            for key, value in run.config.items()
            if is_fold(key) and run.config.get(f"{key}s") is not None
        }
        for sample in json.loads((run.directory / "splits.json").read_text())["test"]:
            if tested.setdefault(recording_of(sample), fold) != fold:
                raise SystemExit(
                    f"{recording_of(sample)} is tested in folds {tested[recording_of(sample)]} and {fold}."
                )
    write_csv(given.output, [{"recording": name, "fold": fold} for name, fold in sorted(tested.items())])
    print(f"{len(tested)} recordings in {len(set(tested.values()))} folds: {given.output}")


if __name__ == "__main__":
    main()
