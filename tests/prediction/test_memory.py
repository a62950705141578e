"""Memory doesn't grow with the length of a recording."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from conftest import LoudTones, RATE
from birdlab.prediction.denoise import Denoiser
from birdlab.prediction.components import Components
from birdlab.prediction.stream import mono_at, stitched

minutes = int(sys.argv[1])
network = LoudTones()
denoiser = Denoiser(network.grid, 16_000, 2, 0.5)
components = Components(network.grid, 0.5)
block = np.random.default_rng(0).normal(0, 0.01, (16_000, 2)).astype(np.float32)
block[4000:6000] += 0.5 * np.sin(np.arange(2000))[:, None]

def heard():
    for _ in range(60 * minutes):
        denoiser.hear(block)
        yield block

events = samples = 0
for stretch in stitched(network, mono_at(heard(), 16_000, RATE)):
    events += len(components.see(stretch.probabilities))
    samples += len(denoiser.see(stretch.probabilities))
samples += len(denoiser.finish())
assert samples == 60 * minutes * 16_000, samples
assert events >= 60 * minutes - 1, events
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_an_hour_takes_no_more_than_two_minutes() -> None:
    """Peak memory of 60 minutes of 16 kHz stereo and of 2, generated block by block."""
    here = str(Path(__file__).parent)
    short, long = (
        int(
            subprocess.run(
                [sys.executable, "-c", PROGRAM, minutes, here], capture_output=True, check=True
            ).stdout
        )
        for minutes in ("2", "60")
    )
    assert long < 1.1 * short + 10_000
