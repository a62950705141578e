"""Scenes as files, in the layout of BirdSoundsDenoising, each written once whoever asks."""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from birdlab.audio import io
from birdlab.audio.grid import Sides, as_picture
from birdlab.data.png import write_image
from birdlab.data.source import Split
from birdlab.data.synthesis.backgrounds import EXTRA_LAYERS, LAYERS, QUIET, RECORDER_DB
from birdlab.data.synthesis.production import produce
from birdlab.data.synthesis.scene import SAMPLE_RATE, Event, Recipe, scene
from birdlab.data.synthesis.voices import VOICES
from birdlab.files import write_text

VERSION = 3
"""Of the generator's code: raised whenever the same parameters give other scenes."""

FOLDERS: dict[Split, str] = {"train": "Training", "val": "Valid", "test": "Test"}
_LEVEL = "SNR (dB)"
_KINDS = ("Images", "Masks", "Raw_audios", "Denoised_audios", "Labels")


@dataclass(frozen=True)
class Address:
    """Which scene."""

    split: Split
    index: int

    @property
    def name(self) -> str:
        """What its files are called, e.g. ``train_00012``."""
        return f"{self.split}_{self.index:05d}"


@dataclass(frozen=True)
class Collection:
    """All scenes of one generator, each at its place whether it has been written or not.

    Attributes:
        parent: folder of all collections.
        recipe: what scenes are drawn from.
        seed: of the scenes.
        sides: of the spectrograms; two-sided images and masks are stored as the official ones, one-sided ones
            as ordinary pictures, the highest frequency on top.
    """

    parent: Path
    recipe: Recipe
    seed: int
    sides: Sides

    @property
    def parameters(self) -> dict[str, object]:
        """All that decides what the scenes are; stored beside them."""
        return {
            "generator": "birdlab.data.synthesis",
            "version": VERSION,
            "seed": self.seed,
            "sides": self.sides,
            "sample_rate": SAMPLE_RATE,
            "recipe": asdict(self.recipe),
            "voices": [asdict(voice) for voice in VOICES],
            "background": {
                "layers": [{**asdict(each), "layer": each.layer.__name__} for each in LAYERS],
                "extra_layers": EXTRA_LAYERS,
                "recorder_db": RECORDER_DB,
                "quiet": QUIET,
            },
        }

    @property
    def folder(self) -> Path:
        """``parent/<hash of the parameters>``: other parameters never meet these files."""
        text = json.dumps(self.parameters, sort_keys=True)
        return self.parent / hashlib.sha256(text.encode()).hexdigest()[:12]

    def path(self, kind: str, scene: Address) -> Path:
        """Where one of a scene's files belongs; ``kind`` is Images, Masks, ..."""
        suffix = {"Images": ".png", "Masks": ".png", "Labels": ".txt"}.get(kind, ".wav")
        return self.folder / FOLDERS[scene.split] / kind / f"{scene.name}{suffix}"

    def missing(self, scenes: Sequence[Address]) -> list[Address]:
        """Those not on disk yet. The image is a scene's last file: where it is, the others are."""
        present = {
            path.stem
            for name in FOLDERS.values()
            for path in (self.folder / name / "Images").glob("[!.]*.png")
        }
        return [each for each in scenes if each.name not in present]

    def ensure(self, scenes: Sequence[Address]) -> None:
        """Write what is missing; see `produce`.

        Raises:
            BirdlabError: if there is no room, or the folder cannot be written.
        """
        produce(self.folder, self.parameters, lambda: self.missing(scenes), self.write, "synthetic scenes")

    def write(self, address: Address) -> int:
        """Make one scene and write its files; returns their bytes."""
        made = scene(self.recipe, seed=self.seed, split=address.split, index=address.index)
        at = partial(self.path, scene=address)
        io.write(at("Denoised_audios"), made.clean, SAMPLE_RATE)
        io.write(at("Raw_audios"), made.audio, SAMPLE_RATE)
        write_text(at("Labels"), _selection_table(made.events))
        write_image(at("Masks"), as_picture(made.mask * np.uint8(255), self.sides))
        write_image(at("Images"), as_picture(made.image, self.sides))
        return sum(at(kind).stat().st_size for kind in _KINDS)


def event_levels(labels: Path) -> list[float]:
    """The signal-to-noise ratio of each event in a scene's selection table, in dB."""
    with labels.open(encoding="utf-8", newline="") as lines:
        return [float(row[_LEVEL]) for row in csv.DictReader(lines, delimiter="\t")]


def _selection_table(events: Sequence[Event]) -> str:
    """Raven's selection table, with columns of our own behind its own."""
    lines = [
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t"
        f"Annotation\t{_LEVEL}\tDistance (m)"
    ]
    lines += [
        f"{number}\tSpectrogram 1\t1\t{event.begin_s:.3f}\t{event.end_s:.3f}\t{event.low_hz:.1f}\t"
        f"{event.high_hz:.1f}\t{event.voice}\t{event.snr_db:.2f}\t{event.distance_m:.1f}"
        for number, event in enumerate(events, start=1)
    ]
    return "\n".join(lines) + "\n"
