"""One method on one file, as its documentation shows it, everything written: a process to be timed.

python experiments/prediction_speed/peers.py noisereduce|noisereduce-nonstationary|energy|maad FILE OUTPUT
"""

import csv
import sys
from pathlib import Path

import soundfile


def noisereduced(file: Path, output: Path, *, stationary: bool) -> None:
    import noisereduce

    audio, rate = soundfile.read(file, dtype="float32")
    clean = noisereduce.reduce_noise(audio, rate, stationary=stationary)
    soundfile.write(output / "clean.flac", clean, rate)


def energy(file: Path, output: Path) -> None:
    """The energy threshold in a spectrogram, piece by piece, with its events and the sound it leaves."""
    import os

    import numpy as np
    import torch

    from birdlab.audio.spectrogram import Spectrogram
    from birdlab.baselines import EnergyThreshold
    from birdlab.prediction.components import Components
    from birdlab.prediction.denoise import Denoiser
    from birdlab.prediction.tables import Detections, write_raven

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    audio, rate = soundfile.read(file, dtype="float32")
    grid = Spectrogram(sample_rate=rate, sides="one")
    components, denoiser = Components(grid, 0.5), Denoiser(grid, rate, 1, 0.5)
    denoiser.hear(audio[:, None])
    events, clean = [], []
    hops = round(60 * rate / grid.hop)
    for first in range(0, grid.columns(len(audio)), hops):
        columns = min(hops, grid.columns(len(audio)) - first)
        piece = torch.from_numpy(audio[first * grid.hop :][: grid.samples(columns)])
        cells = EnergyThreshold()(grid.image(piece)[None, None] / 255)[0, 0].sigmoid().numpy()
        events += components.see(cells)
        clean.append(denoiser.see(cells))
    events += components.finish()
    clean.append(denoiser.finish())
    soundfile.write(output / "clean.flac", np.concatenate(clean), rate)
    write_raven(output / "events.txt", [Detections(file, len(audio) / rate, events)])


def maad(file: Path, output: Path) -> None:
    import numpy as np
    from maad import rois, sound

    audio, rate = soundfile.read(file)
    power, times, frequencies, _ = sound.spectrogram(audio, rate, nperseg=512, noverlap=256)
    decibels = 10 * np.log10(np.maximum(sound.median_equalizer(power), 1e-12))
    _, found = rois.select_rois(
        rois.create_mask(decibels, mode_bin="relative", bin_std=6, bin_per=0.5), min_roi=25
    )
    with (output / "events.csv").open("w", newline="") as lines:
        table = csv.writer(lines)
        for row in found.itertuples():
            table.writerow((times[int(row.min_x)], frequencies[int(row.min_y)], row.max_x, row.max_y))


METHODS = {
    "noisereduce": lambda file, output: noisereduced(file, output, stationary=True),
    "noisereduce-nonstationary": lambda file, output: noisereduced(file, output, stationary=False),
    "energy": energy,
    "maad": maad,
}

if __name__ == "__main__":
    name, file, output = sys.argv[1:]
    METHODS[name](Path(file), Path(output))
