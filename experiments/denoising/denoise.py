"""How much cleaner denoised audio is where the clean track is known and owes nothing to any method's mask.

    python experiments/denoising/denoise.py RUN [--calls DIR --noise DIR] [--clips 300]

SI-SDR (Le Roux et al. 2019) of what each method makes of a noisy clip against the birds alone, less that of
the noisy clip itself, by the latter. Clips are synthetic scenes of the test split (on which no run trains)
and, with --calls and --noise, mixtures of real calls and real backgrounds that share no recording with those
from which the energy threshold is tuned; clips without birds have no SI-SDR and are left out. Each method but
noisereduce's goes through birdlab's soft mask, so that they differ in the mask alone; "oracle mask" is the
exact one, and the ceiling of any.
"""

import argparse
import base64
import io as bytes_io
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import jinja2
import noisereduce
import numpy as np
import soundfile
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as si_sdr

from birdlab.audio.grid import Grid
from birdlab.audio.spectrogram import Spectrogram
from birdlab.baselines import EnergyThreshold
from birdlab.data.mixtures import Mixtures
from birdlab.data.source import Split
from birdlab.data.synthesis.scene import Recipe, scene
from birdlab.files import write_csv, write_text
from birdlab.metrics import SegmentationScores
from birdlab.prediction.denoise import FLOOR_DB, Denoiser
from birdlab.prediction.network import Network
from birdlab.prediction.opening import open_network
from birdlab.prediction.stream import joined, stitched

HERE = Path(__file__).parent
BINS_DB = (-math.inf, -10.0, -5.0, 0.0, 5.0, 10.0, math.inf)
VALIDATION_CLIPS = 100
EXAMPLES = 4


@dataclass(frozen=True)
class Clip:
    """Noisy audio [n], the birds in it alone [n], and where they are: bool [F, T], one-sided."""

    name: str
    noisy: np.ndarray
    clean: np.ndarray
    mask: np.ndarray


Clips = Callable[[Split, int], Iterator[Clip]]
Method = Callable[[Clip], np.ndarray]
"""A clip, of which only the oracle looks at more than the noisy audio, to clean audio [n]."""


def scenes(split: Split, count: int) -> Iterator[Clip]:
    """Synthetic ones, as data=synthetic makes them."""
    for index in range(count):
        made = scene(Recipe(), seed=0, split=split, index=index)
        half = Grid().one_sided().rows
        yield Clip(f"scene {index}", made.audio, made.clean, np.asarray(made.mask)[-half:] != 0)


def mixtures(calls: Path, noise: Path) -> Clips:
    """Of real calls and backgrounds, as data=mixtures makes them."""

    def made(split: Split, count: int) -> Iterator[Clip]:
        size = {"train": 0, "val": 0, "test": 0} | {split: count}
        source = Mixtures(
            calls=calls,
            noise=noise,
            size=size,
            sample_rate=Grid.sample_rate,
            sides="one",
            image_size=(128, 128),
            channels=1,
            classes={0: "background", 255: "bird"},
        )
        for sample in source.splits()[split]:
            drawn = source.scene(sample)
            yield Clip(sample.id, drawn.background + drawn.clean, drawn.clean, drawn.mask.numpy())

    return made


def masked(
    grid: Grid, clip: Clip, probabilities: np.ndarray, threshold: float, floor_db: float = FLOOR_DB
) -> np.ndarray:
    denoiser = Denoiser(grid, grid.sample_rate, 1, threshold, floor_db)
    denoiser.hear(clip.noisy[:, None])
    return np.concatenate([denoiser.see(probabilities), denoiser.finish()])[:, 0]


def energy(grid: Grid, clip: Clip) -> torch.Tensor:
    """Logits [F, T] of the energy threshold in the image of a clip."""
    image = Spectrogram(sample_rate=grid.sample_rate, sides="one").image(torch.from_numpy(clip.noisy))
    logits: torch.Tensor = EnergyThreshold()(image[None, None] / 255)[0, 0]
    return logits


def methods(network: Network, clips: Clips) -> Mapping[str, Method]:
    """What is compared, by name."""
    grid, rate = network.grid, network.grid.sample_rate
    tuned = SegmentationScores()
    for clip in clips("val", VALIDATION_CLIPS):
        tuned.update([energy(grid, clip)], [torch.from_numpy(clip.mask).to(torch.uint8)])
    threshold = tuned.best_threshold()

    def by_network(floor_db: float) -> Method:
        def denoise(clip: Clip) -> np.ndarray:
            probabilities = joined(list(stitched(network, [clip.noisy])))
            return masked(grid, clip, probabilities, network.threshold, floor_db)

        return denoise

    def reduced(*, stationary: bool) -> Method:
        return lambda clip: noisereduce.reduce_noise(clip.noisy, rate, stationary=stationary).astype(
            np.float32
        )

    return {
        "do nothing": lambda clip: clip.noisy,
        "network, floor -10 dB": by_network(-10.0),
        f"network, floor {FLOOR_DB:g} dB": by_network(FLOOR_DB),
        "network, floor -40 dB": by_network(-40.0),
        f"energy threshold at {threshold:g}": lambda clip: masked(
            grid, clip, energy(grid, clip).sigmoid().numpy(), threshold
        ),
        "noisereduce, stationary": reduced(stationary=True),
        "noisereduce, non-stationary": reduced(stationary=False),
        "oracle mask, floor -40 dB": lambda clip: masked(grid, clip, clip.mask.astype(np.float32), 0.5, -40),
    }


def ratio_db(audio: np.ndarray, clean: np.ndarray) -> float:
    """SI-SDR."""
    return float(si_sdr(torch.from_numpy(audio[: len(clean)]).double(), torch.from_numpy(clean).double()))


def compared(data: str, network: Network, clips: Clips, count: int, rows: list[dict[str, object]]) -> str:
    """Add a row for each method, one for how many clips there are, and return examples as HTML."""
    bins = {f"{low:g} to {high:g} dB": (low, high) for low, high in pairwise(BINS_DB)}
    first, *_, last = bins
    heading = {name: name for name in bins} | {
        first: f"below {BINS_DB[1]:g} dB",
        last: f"above {BINS_DB[-2]:g} dB",
    }
    gains: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    examples = []
    tried = methods(network, clips)
    for clip in clips("test", count):
        if not clip.clean.any():
            continue
        before = ratio_db(clip.noisy, clip.clean)
        place = next(name for name, (low, high) in bins.items() if low <= before < high)
        made = {name: method(clip) for name, method in tried.items()}
        for name, audio in made.items():
            gain = ratio_db(audio, clip.clean) - before
            gains[name][place].append(gain)
            gains[name]["all"].append(gain)
        if len(examples) < EXAMPLES and -10 < before < 10:
            examples.append((clip.name, before, {**made, "the birds alone": clip.clean}))
    counts = gains["do nothing"]
    rows.append({"data": data, "method": "number of clips", "all": len(counts["all"]), "sd": ""})
    rows[-1] |= {heading[name]: len(counts[name]) for name in bins}
    for method, by_bin in gains.items():
        row: dict[str, object] = {"data": data, "method": method}
        row |= {"all": round(float(np.mean(by_bin["all"])), 2), "sd": round(float(np.std(by_bin["all"])), 2)}
        row |= {
            heading[name]: round(float(np.mean(by_bin[name])), 2) if by_bin[name] else "" for name in bins
        }
        rows.append(row)
        print(row, flush=True)
    return EXAMPLE.render(data=data, examples=playable(examples, network.grid.sample_rate))


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Denoised examples</title>
<style>body{font:15px system-ui;margin:2rem auto;max-width:50rem}
label{display:grid;grid-template-columns:16rem 1fr;align-items:center}</style>
<h1>Denoised examples</h1>
"""
EXAMPLE = jinja2.Environment(autoescape=True).from_string(
    """{% for name, before, sounds in examples %}
<h2>{{ data }}: {{ name }}, {{ "%.1f" | format(before) }} dB before</h2>
{% for method, sound in sounds.items() %}<label>{{ method }}
<audio controls preload="none" src="{{ sound }}"></audio></label>
{% endfor %}{% endfor %}"""
)


def playable(
    examples: Sequence[tuple[str, float, Mapping[str, np.ndarray]]], rate: int
) -> Iterator[tuple[str, float, Mapping[str, str]]]:
    """With sounds as data URLs, all of a clip equally loud."""

    def sound(audio: np.ndarray, gain: float) -> str:
        file = bytes_io.BytesIO()
        soundfile.write(file, np.clip(audio * gain, -1, 1), rate, format="MP3", subtype="MPEG_LAYER_III")
        return f"data:audio/mpeg;base64,{base64.b64encode(file.getvalue()).decode()}"

    for name, before, sounds in examples:
        gain = 0.9 / max(float(np.abs(sounds["do nothing"]).max()), 1e-4)
        yield name, before, {method: sound(audio, gain) for method, audio in sounds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run directory of the official spectrogram at 32 kHz")
    parser.add_argument("--calls", type=Path, help="isolated calls")
    parser.add_argument("--noise", type=Path, help="recordings without birds")
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of results.csv and examples.html")
    given = parser.parse_args()
    network = open_network(given.run)
    sources: dict[str, Clips] = {"synthetic": scenes}
    if given.calls and given.noise:
        sources["real mixtures"] = mixtures(given.calls, given.noise)
    rows: list[dict[str, object]] = []
    page = PAGE
    for data, clips in sources.items():
        page += compared(data, network, clips, given.clips, rows)
    write_csv(given.output / "results.csv", rows)
    write_text(given.output / "examples.html", page)


if __name__ == "__main__":
    main()
