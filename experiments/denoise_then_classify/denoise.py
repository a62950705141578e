"""A copy of a folder in the layout of BirdCLEF whose recordings were denoised by a run's masks.

    python experiments/denoise_then_classify/denoise.py RUN ROOT COPY [--floor-db -20]

Files that are there are kept, so that an interrupted copy goes on; a copy that another run or floor has begun
is refused. FLAC holds what came out: no second lossy coding tells the copies from the originals.
"""

import argparse
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import birdlab
from birdlab.audio import io
from birdlab.cores import cpu_count
from birdlab.errors import BirdlabError, command
from birdlab.files import write_json, write_text
from birdlab.prediction.denoise import FLOOR_DB
from birdlab.prediction.library import Predictor
from birdlab.run import Run


def copied(recording: Path, copy: Path, predictor: Predictor, floor_db: float) -> None:
    """Write one recording's denoised copy unless it is there."""
    if copy.exists():
        return
    rate = io.info(recording).sample_rate
    clean = predictor.predict(io.read(recording), rate).denoised(floor_db)
    # Masking a clipped recording may leave a sample or two beyond full scale.
    io.write(copy, np.clip(clean, -1, 1), rate)


def claim(copy: Path, settings: dict[str, str | float]) -> None:
    """Say of a copy what makes it.

    Raises:
        BirdlabError: if something else has begun it.
    """
    made_by = copy / "denoised.json"
    if made_by.is_file():
        before = json.loads(made_by.read_text(encoding="utf-8"))
        if before != settings:
            raise BirdlabError(f"{copy} was begun with {before}, not {settings}. Give another folder.")
    elif copy.is_dir() and any(copy.iterdir()):
        raise BirdlabError(f"{copy} holds something else. Give another folder.")
    copy.mkdir(parents=True, exist_ok=True)
    write_json(made_by, settings)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("copy", type=Path)
    parser.add_argument("--floor-db", type=float, default=FLOOR_DB)
    given = parser.parse_args()
    with command():
        denoise(given.run, given.root, given.copy, given.floor_db)


def denoise(run: Path, root: Path, copy: Path, floor_db: float) -> None:
    """Copy a folder, denoised.

    Raises:
        BirdlabError: as `claim`, and if there is nothing to copy.
    """
    folder = root / "train_short_audio"
    recordings = io.files_below(folder)
    if not recordings:
        raise BirdlabError(f"There are no recordings in {folder}: give a folder in the layout of BirdCLEF.")
    with (run if run.is_file() else Run.open(run).best).open(
        "rb"
    ) as weights:  # of an exported file, or a run
        claim(
            copy, {"weights": hashlib.file_digest(weights, "sha256").hexdigest()[:16], "floor_db": floor_db}
        )
    predictor = birdlab.load(run)

    def one(recording: Path) -> None:
        clean = copy / "train_short_audio" / recording.relative_to(folder).with_suffix(".flac")
        copied(recording, clean, predictor, floor_db)

    with ThreadPoolExecutor(cpu_count()) as pool:
        list(pool.map(one, recordings))
    write_text(copy / "train_metadata.csv", (root / "train_metadata.csv").read_text(encoding="utf-8"))
    print(f"{len(recordings)} recordings in {copy}")


if __name__ == "__main__":
    main()
