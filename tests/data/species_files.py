"""A folder in the layout of BirdCLEF 2021 with a few short recordings, for the tests of several modules."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
SETTINGS: dict[str, object] = {
    "sample_rate": RATE,
    "n_fft": 512,
    "hop": 250,
    "n_mels": 16,
    "fmax": 7000.0,
    "segments": 4,
    "segment_s": 0.25,
    "fractions": (0.5, 0.25, 0.25),
}
"""Of a source: 16 frames in each of 4 segments."""


def tone(seconds: float, hz: float, seed: int = 0) -> np.ndarray:
    """A tone in a little noise, float32 [n] at 16 kHz."""
    n = round(seconds * RATE)
    noise = np.random.default_rng(seed).normal(0, 0.01, n)
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(n) / RATE) + noise).astype(np.float32)


def birdclef_files(
    root: Path,
    durations: Mapping[str, Sequence[float]],
    extra: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write recordings of so many seconds for each species, each species at its own pitch.

    Args:
        root: the folder.
        durations: by species; the recordings are called XC1000, XC1100, ..., the next species' XC2000, ...
        extra: more columns by the recording's name.
    """
    extra = extra or {}
    columns = [
        "primary_label",
        "secondary_labels",
        "filename",
        *sorted({c for row in extra.values() for c in row}),
    ]
    rows = []
    for number, (species, seconds) in enumerate(durations.items(), start=1):
        folder = root / "train_short_audio" / species
        folder.mkdir(parents=True)
        for index, duration in enumerate(seconds):
            name = f"XC{1000 * number + 100 * index}"
            audio = tone(duration, 1000 * number, seed=10 * number + index)
            soundfile.write(folder / f"{name}.wav", audio, RATE)
            row = {"primary_label": species, "secondary_labels": "[]", "filename": f"{name}.wav"}
            rows.append(row | dict(extra.get(name, {})))
    write_table(root, rows, columns)


def soundscape_files(root: Path) -> None:
    """Write 15 seconds with an owl and a wren at once, another species, and nobody, labelled as such."""
    (root / "train_soundscapes").mkdir()
    audio = np.concatenate([tone(5, hz, hz) for hz in (1000, 2000, 500)])
    soundfile.write(root / "train_soundscapes" / "7019_COR_20190904.ogg", audio, RATE)
    (root / "train_soundscape_labels.csv").write_text(
        "row_id,site,audio_id,seconds,birds\n"
        "7019_COR_5,COR,7019,5,owl wren\n"
        "7019_COR_10,COR,7019,10,jay\n"
        "7019_COR_15,COR,7019,15,nocall\n"
    )


def write_table(root: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    """Write train_metadata.csv."""
    with (root / "train_metadata.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(dict.fromkeys(columns)), restval="")
        table.writeheader()
        table.writerows(rows)
