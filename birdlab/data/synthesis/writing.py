"""Scenes as files, in the layout of BirdSoundsDenoising, each written once whoever asks."""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from birdlab.audio import io
from birdlab.data.png import write_image
from birdlab.data.source import Split
from birdlab.data.synthesis.backgrounds import EXTRA_LAYERS, LAYERS, QUIET, RECORDER_DB
from birdlab.data.synthesis.scene import SAMPLE_RATE, Event, Recipe, scene
from birdlab.data.synthesis.voices import VOICES
from birdlab.errors import BirdlabError
from birdlab.files import write_text
from birdlab.parallel import cpu_count, mapped

VERSION = 3
"""Of the generator's code: raised whenever the same parameters give other scenes."""

FOLDERS: dict[Split, str] = {"train": "Training", "val": "Valid", "test": "Test"}
_KINDS = ("Images", "Masks", "Raw_audios", "Denoised_audios", "Labels")

_PROBED = 4
_SPARE_BYTES = 50_000_000
_SCENES_PER_PROCESS = 32
"""Starting a process costs as long as making about so many scenes."""


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
    sides: Literal["two", "one"]

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
        """Write what is missing, and say first what it will cost.

        Any number of processes may ask at once: one writes, the others wait. What a killed one left undone is
        made good.

        Raises:
            BirdlabError: if there is no room, or the folder cannot be written.
        """
        if not self.missing(scenes):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                if missing := self.missing(scenes):
                    self._write_all(missing)
        except OSError as error:
            raise BirdlabError(
                f"{self.folder}: synthetic scenes cannot be written ({error.strerror}). Make room, or set "
                "data.root to a folder where there is some. What has been written stays."
            ) from error

    def write(self, address: Address) -> int:
        """Make one scene and write its files; returns their bytes."""
        made = scene(self.recipe, seed=self.seed, split=address.split, index=address.index)
        at = partial(self.path, scene=address)
        io.write(at("Denoised_audios"), made.clean, SAMPLE_RATE)
        io.write(at("Raw_audios"), made.audio, SAMPLE_RATE)
        write_text(at("Labels"), _selection_table(made.events))
        write_image(at("Masks"), self._picture(made.mask * np.uint8(255)))
        write_image(at("Images"), self._picture(made.image))
        return sum(at(kind).stat().st_size for kind in _KINDS)

    def _picture(self, half: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The rows of a file from rows 0 Hz to fs/2."""
        return np.concatenate([half[-2:0:-1], half]) if self.sides == "two" else half[::-1]

    def _write_all(self, scenes: list[Address]) -> None:
        for leftover in self.folder.glob("*/*/.*"):
            leftover.unlink()
        write_text(self.folder / "parameters.json", json.dumps(self.parameters, indent=2) + "\n")

        begin = time.perf_counter()
        probed = [self.write(each) for each in scenes[:_PROBED]]
        seconds = (time.perf_counter() - begin) / len(probed)
        rest = scenes[len(probed) :]
        if not rest:
            return
        workers = max(1, min(cpu_count(), len(rest) // _SCENES_PER_PROCESS))
        needed = round(len(rest) * sum(probed) / len(probed))
        self._check_room(needed)

        console = Console(stderr=True)
        console.print(
            f"Writing {len(scenes)} synthetic scenes to {self.folder}: {_megabytes(needed)}, about "
            f"{max(1, round(len(rest) * seconds / workers))} s on {workers} "
            f"{'process' if workers == 1 else 'processes'}.",
            soft_wrap=True,
        )
        bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*bar, console=console, transient=True) as progress:
            task = progress.add_task("Synthesis", total=len(scenes), completed=len(probed))
            for _ in mapped(self.write, rest, workers, "making synthetic scenes"):
                progress.advance(task)

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < needed + _SPARE_BYTES:
            raise BirdlabError(
                f"{self.folder}: the synthetic scenes need {_megabytes(needed)}, and {_megabytes(free)} are "
                "free. Make room, set data.root to a folder on a larger disk, or ask for fewer scenes with "
                "data.n_train, data.n_val and data.n_test."
            )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _selection_table(events: Sequence[Event]) -> str:
    """Raven's selection table, with columns of our own behind its own."""
    lines = [
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t"
        "Annotation\tSNR (dB)\tDistance (m)"
    ]
    lines += [
        f"{number}\tSpectrogram 1\t1\t{event.begin_s:.3f}\t{event.end_s:.3f}\t{event.low_hz:.1f}\t"
        f"{event.high_hz:.1f}\t{event.voice}\t{event.snr_db:.2f}\t{event.distance_m:.1f}"
        for number, event in enumerate(events, start=1)
    ]
    return "\n".join(lines) + "\n"
