"""Mean and deviation of mel bands, worked out by hand."""

import numpy as np
import pytest

from birdlab.errors import BirdlabError
from birdlab.probing.mel_statistics import MelStatistics


def test_twice_the_amplitude_is_six_decibels_more_and_no_more_varied() -> None:
    backbone = MelStatistics(sample_rate=16_000, seconds=0.5, n_fft=512, hop=250, n_mels=16, fmax=7000)
    quiet = np.random.default_rng(0).normal(0, 0.1, (3, 8000)).astype(np.float32)
    one, two = backbone.embed(quiet), backbone.embed(2 * quiet)
    assert one.shape == (3, 32)
    np.testing.assert_allclose(two[:, :16] - one[:, :16], 20 * np.log10(2), atol=1e-3)
    np.testing.assert_allclose(two[:, 16:], one[:, 16:], atol=1e-3)


def test_other_settings_are_another_name() -> None:
    assert MelStatistics().name != MelStatistics(n_mels=32).name
    assert MelStatistics().name == MelStatistics().name


def test_impossible_settings_are_refused_at_once() -> None:
    with pytest.raises(BirdlabError, match="fmax"):
        MelStatistics(fmax=20_000)
