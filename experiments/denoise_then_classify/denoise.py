"""A copy of a folder in the layout of BirdCLEF whose recordings were denoised by a run's masks.

    python experiments/denoise_then_classify/denoise.py RUN ROOT COPY [--floor-db -20]

Files that are there are kept, so that an interrupted copy goes on. FLAC holds what came out: no second lossy
coding tells the copies from the originals.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import birdlab
from birdlab.audio import io
from birdlab.cores import cpu_count
from birdlab.files import write_text
from birdlab.prediction.denoise import FLOOR_DB
from birdlab.prediction.library import Predictor


def copied(recording: Path, copy: Path, predictor: Predictor, floor_db: float) -> None:
    """Write one recording's denoised copy unless it is there."""
    if copy.exists():
        return
    rate = io.info(recording).sample_rate
    clean = predictor.predict(io.read(recording), rate).denoised(floor_db)
    # Masking a clipped recording may leave a sample or two beyond full scale.
    io.write(copy, np.clip(clean, -1, 1), rate)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("copy", type=Path)
    parser.add_argument("--floor-db", type=float, default=FLOOR_DB)
    given = parser.parse_args()
    predictor = birdlab.load(given.run)
    folder = given.root / "train_short_audio"
    recordings = sorted(path for path in folder.rglob("*") if path.suffix.lower() in io.SUFFIXES)

    def one(recording: Path) -> None:
        copy = given.copy / "train_short_audio" / recording.relative_to(folder).with_suffix(".flac")
        copied(recording, copy, predictor, given.floor_db)

    with ThreadPoolExecutor(cpu_count()) as pool:
        list(pool.map(one, recordings))
    write_text(
        given.copy / "train_metadata.csv",
        (given.root / "train_metadata.csv").read_text(encoding="utf-8"),
    )
    print(f"{len(recordings)} recordings in {given.copy}")


if __name__ == "__main__":
    main()
