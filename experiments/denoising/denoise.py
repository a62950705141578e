"""How much cleaner denoised audio is where the clean track is known and owes nothing to any mask.

    python experiments/denoising/denoise.py RUN [--scenes 300]

On the synthetic test split that the run was not trained on: SI-SDR (Le Roux et al. 2019) of what each method
makes of the noisy track against the birds alone, less that of the noisy track, by the noisy track's own.
Scenes without birds have no SI-SDR and are left out. Each method but noisereduce's goes through birdlab's
soft mask, so that they differ in the mask alone; "oracle mask" is the scene's exact one.
"""

import argparse
import base64
import csv
import io as bytes_io
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import jinja2
import numpy as np
import soundfile
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as si_sdr

from birdlab.baselines import EnergyThreshold
from birdlab.build import build_data
from birdlab.data.synthetic import Synthetic
from birdlab.files import replacing, write_text
from birdlab.metrics import SegmentationScores
from birdlab.prediction.denoise import Denoiser
from birdlab.prediction.run_network import RunNetwork
from birdlab.prediction.stream import joined, stitched
from birdlab.run import Run
from birdlab.tasks.segmentation import foreground_logits

HERE = Path(__file__).parent
BINS_DB = (-30, -10, -5, 0, 5, 10, 40)
FLOORS_DB = (-10.0, -20.0, -30.0)
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Noisy audio [n] and the true mask [F, T], one-sided, to clean audio [n]."""


def masked(
    network: RunNetwork, probabilities: np.ndarray, audio: np.ndarray, threshold: float, floor_db: float
) -> np.ndarray:
    denoiser = Denoiser(network.grid, network.grid.sample_rate, 1, threshold, floor_db)
    denoiser.hear(audio[:, None])
    return np.concatenate([denoiser.see(probabilities), denoiser.finish()])[:, 0]


def methods(run: Run, network: RunNetwork, data: object) -> dict[str, Method]:
    """What is compared, by name."""
    energy, threshold = _energy(data)
    rate = network.grid.sample_rate

    def by_network(floor_db: float) -> Method:
        def denoise(audio: np.ndarray, truth: np.ndarray) -> np.ndarray:
            probabilities = joined(list(stitched(network, [audio])))
            return masked(network, probabilities, audio, network.threshold, floor_db)

        return denoise

    def by_energy(audio: np.ndarray, truth: np.ndarray) -> np.ndarray:
        image = network.grid.image(torch.from_numpy(audio)).float() / 255
        probabilities = energy(image[None, None])[0, 0, -network.grid.one_sided().rows :].sigmoid().numpy()
        return masked(network, probabilities, audio, threshold, -20.0)

    found: dict[str, Method] = {"do nothing": lambda audio, truth: audio}
    found |= {f"network, floor {floor:g} dB": by_network(floor) for floor in FLOORS_DB}
    found["energy threshold"] = by_energy
    found["oracle mask"] = lambda audio, truth: masked(network, truth.astype(np.float32), audio, 0.5, -40.0)
    try:
        import noisereduce
    except ImportError:
        print("noisereduce isn't installed (pip install noisereduce): left out")
        return found
    for stationary in (True, False):
        name = f"noisereduce, {'stationary' if stationary else 'non-stationary'}"
        found[name] = lambda audio, truth, kind=stationary: noisereduce.reduce_noise(
            audio, rate, stationary=kind
        ).astype(np.float32)
    return found


def _energy(data: object) -> tuple[EnergyThreshold, float]:
    """The energy threshold at the network's size is what evaluation tunes; here too, on validation data."""
    energy, scores = EnergyThreshold(), SegmentationScores()
    for batch in data.val_dataloader():  # type: ignore[attr-defined]
        scores.update(foreground_logits(energy(batch["image"].unsqueeze(1) / 255)), batch["mask"])
    return energy, scores.best_threshold()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--examples", type=int, default=6)
    given = parser.parse_args()
    run = Run.open(given.run)
    network = RunNetwork.open(given.run)
    cfg = run.config()
    cfg.data.n_test = given.scenes
    cfg.task.datamodule.cache_dir = None
    data = build_data(cfg)
    data.prepare_data()
    source = data.source
    if not isinstance(source, Synthetic):
        raise SystemExit("The run must have been trained on data=synthetic: its test split has clean tracks.")
    compared = methods(run, network, data)
    gains: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    examples = []
    for sample in data.splits["test"]:
        noisy, clean = source.audio(sample), source.clean(sample)
        if not clean.any():
            continue
        truth = source.read(sample)[1][-network.grid.one_sided().rows :] != 0
        before = _si_sdr(noisy, clean)
        label = next(f"{low} to {high}" for low, high in pairwise(BINS_DB) if before < high)
        made = {name: method(noisy, truth) for name, method in compared.items()}
        for name, audio in made.items():
            gain = _si_sdr(audio, clean) - before
            gains[name][label].append(gain)
            gains[name]["all"].append(gain)
        if len(examples) < given.examples:
            examples.append((sample.id, before, {"noisy": noisy, **made, "clean": clean}))
    _write_csv(gains)
    _write_page(examples, network.grid.sample_rate)
    for name, by_bin in gains.items():
        print(f"{name:28}", {label: round(float(np.mean(values)), 2) for label, values in by_bin.items()})


def _si_sdr(audio: np.ndarray, clean: np.ndarray) -> float:
    return float(si_sdr(torch.from_numpy(audio[: len(clean)]).double(), torch.from_numpy(clean).double()))


def _write_csv(gains: dict[str, dict[str, list[float]]]) -> None:
    with replacing(HERE / "results.csv") as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("method", "input_si_sdr_db", "scenes", "si_sdr_improvement_db", "sd_db"))
        for name, by_bin in gains.items():
            for label, values in by_bin.items():
                table.writerow((name, label, len(values), f"{np.mean(values):.2f}", f"{np.std(values):.2f}"))


PAGE = jinja2.Environment(autoescape=True).from_string(
    """<!doctype html><html lang="en"><meta charset="utf-8"><title>Denoised examples</title>
<style>body{font:15px system-ui;margin:2rem auto;max-width:50rem}
label{display:grid;grid-template-columns:16rem 1fr}</style>
<h1>Denoised examples</h1>
{% for name, before, sounds in examples %}<h2>{{ name }}, {{ "%.1f" | format(before) }} dB before</h2>
{% for method, sound in sounds.items() %}<label>{{ method }}
<audio controls preload="none" src="{{ sound }}"></audio></label>
{% endfor %}{% endfor %}"""
)


def _write_page(examples: list[tuple[str, float, dict[str, np.ndarray]]], rate: int) -> None:
    def sound(audio: np.ndarray, gain: float) -> str:
        file = bytes_io.BytesIO()
        soundfile.write(file, np.clip(audio * gain, -1, 1), rate, format="MP3", subtype="MPEG_LAYER_III")
        return f"data:audio/mpeg;base64,{base64.b64encode(file.getvalue()).decode()}"

    shown = []
    for name, before, sounds in examples:
        gain = 0.9 / max(float(np.abs(sounds["noisy"]).max()), 1e-4)
        shown.append((name, before, {method: sound(audio, gain) for method, audio in sounds.items()}))
    write_text(HERE / "examples.html", PAGE.render(examples=shown))


if __name__ == "__main__":
    main()
