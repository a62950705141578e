"""Pictures of levels: where sound lies in them, and what a network is given of them."""

import librosa
import numpy as np
import pytest
import torch

from birdlab.audio.levels import (
    LOWEST_DB,
    LevelChannels,
    LevelPicture,
    from_unit,
    of_power,
    to_bytes,
    to_unit,
)
from birdlab.errors import BirdlabError

RATE = 32_000


def sine(hertz: float, samples: int, amplitude: float = 1.0) -> torch.Tensor:
    return amplitude * torch.sin(2 * torch.pi * hertz * torch.arange(samples, dtype=torch.float64) / RATE)


def test_a_sine_of_full_scale_has_0_db_in_its_bin_and_its_row() -> None:
    picture = LevelPicture(rows=512, columns=12, window_length=1024)
    levels = picture.levels(sine(3000, 12_000))
    assert levels.shape == (512, 12)
    row = 3000 * 512 // 16_000
    assert (levels[:, 1:-1].argmax(dim=0) == row).all()
    assert levels[row, 5] == pytest.approx(0, abs=0.01)
    quiet = picture.levels(sine(3000, 12_000, amplitude=0.01))
    assert quiet[row, 5] == pytest.approx(-40, abs=0.01)


def test_rows_hold_the_mean_power_of_their_bins() -> None:
    picture = LevelPicture(rows=128, columns=12)
    row = 3000 * 128 // 16_000
    # Hann: amplitudes 1/2, 1, 1/2 in three of the row's four bins, powers 1/4 + 1 + 1/4, over four.
    assert picture.levels(sine(3000 + 31.25, 12_000))[row, 5] == pytest.approx(
        10 * np.log10(1.5 / 4), abs=0.01
    )
    shares = picture.pooling()
    assert torch.allclose(shares.sum(dim=1), torch.ones(128))
    assert ((shares > 0).sum(dim=0) == 1).all()


def test_columns_are_evenly_spread_over_the_audio() -> None:
    """A click in the middle of each column's share is loudest in that column."""
    picture = LevelPicture(rows=64, columns=24)
    for column in (0, 11, 23):
        click = torch.zeros(12_000)
        click[column * 500 + 250] = 1
        assert picture.levels(click).mean(dim=0).argmax() == column


@pytest.mark.parametrize(("columns", "nearest"), [(26, 25), (23, 24), (10, 12), (13_000, 12_000)])
def test_columns_that_leave_gaps_or_do_not_divide_are_refused(columns: int, nearest: int) -> None:
    picture = LevelPicture(rows=8, columns=columns, window_length=1024)
    with pytest.raises(BirdlabError, match=rf"{columns} columns don't divide"):
        picture.levels(torch.ones(12_000))
    with pytest.raises(BirdlabError, match=rf"choose {nearest}\."):
        picture.hop(12_000)


def test_as_librosa_computes_it() -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 12_000).astype(np.float32)
    picture = LevelPicture(rows=512, columns=24)
    before, behind = picture.padding(len(audio))
    padded = np.pad(audio, (before, behind))
    spectrum = librosa.stft(padded, n_fft=1024, hop_length=500, window="hann", center=False)
    power = (np.abs(spectrum) / (librosa.filters.get_window("hann", 1024).sum() / 2)) ** 2
    power[511] = power[511:].mean(axis=0)  # the bin at fs/2 belongs to the last row
    expected = librosa.power_to_db(power[:512], ref=1.0, amin=1e-11, top_db=None)
    np.testing.assert_allclose(picture.levels(torch.from_numpy(audio)), expected, atol=2e-3)


def test_bytes_are_half_decibels() -> None:
    levels = torch.tensor([-200.0, LOWEST_DB, -100.0, -0.3, 17.5, 30.0])
    assert to_bytes(levels).tolist() == [0, 0, 20, 219, 255, 255]
    assert torch.allclose(from_unit(to_bytes(levels[2:5]) / 255), levels[2:5], atol=0.251)
    assert torch.allclose(from_unit(to_unit(levels)), levels, atol=1e-4)
    assert of_power(torch.zeros(1)).item() == pytest.approx(LOWEST_DB, abs=1e-4)


def test_a_window_too_short_for_its_rows_is_refused() -> None:
    with pytest.raises(BirdlabError, match=r"data\.window_length=128: a picture of 128 rows .* 256 at least"):
        LevelPicture(rows=128, columns=10, window_length=128)


@pytest.fixture
def levels() -> torch.Tensor:
    """Rows of steady noise at -80, -60, -40, -20 dB, with a call of 30 dB more in a fifth of the second."""
    level = torch.tensor([-80.0, -60.0, -40.0, -20.0])[:, None].repeat(1, 40)
    level[1, 8:16] += 30
    return level[None]


def test_channels_by_hand(levels: torch.Tensor) -> None:
    made = LevelChannels(["excess", "level", "frequency"], window_s=1.0)(to_unit(levels))
    assert made.shape == (1, 3, 4, 40)
    excess, level, frequency = made[0]
    assert torch.allclose(excess[:, 0], torch.zeros(4), atol=1e-5)
    assert excess[1, 10] == pytest.approx(1.5)
    # The middle background of four is the lower one of the two in the middle.
    assert torch.allclose(level[:, 0], torch.tensor([-1.0, 0, 1, 2]), atol=1e-5)
    assert torch.allclose(frequency[:, 0], torch.tensor([-1, -1 / 3, 1 / 3, 1]))


@pytest.mark.parametrize("channel", ["excess", "level", "pcen"])
def test_gain_changes_nothing_but_pcen_a_little(levels: torch.Tensor, channel: str) -> None:
    front_end = LevelChannels([channel], window_s=1.0)  # type: ignore[list-item]
    quiet, loud = front_end(to_unit(levels - 10)), front_end(to_unit(levels + 10))
    assert torch.allclose(quiet, loud, atol=0.5 if channel == "pcen" else 1e-4)
    assert quiet[0, 0, 1, 10] > quiet[0, 0, 1, 30] + 0.5


def test_what_fills_up_a_short_recording_changes_nothing_of_it() -> None:
    rng = np.random.default_rng(0)
    audio = torch.from_numpy(rng.normal(0, 0.01, 96_000)).float()
    audio[20_000:24_000] += 0.1 * torch.sin(torch.arange(4000) * 0.5)
    picture, front_end = LevelPicture(128, 192), LevelChannels(["excess", "level"], window_s=3.0)
    whole = front_end(to_unit(picture.levels(audio)[None]))
    short = audio.clone()
    short[32_000:] = 0
    padded = front_end(to_unit(picture.levels(short)[None]))
    assert (whole[..., :60] - padded[..., :60]).abs().mean() < 0.03
    assert (padded[..., 70:] == -2).all()
    silence = front_end(to_unit(torch.full((1, 8, 12), LOWEST_DB)))
    assert silence.abs().max() == 0


def test_pcen_needs_a_length() -> None:
    with pytest.raises(BirdlabError, match=r"pcen needs data\.window_s"):
        LevelChannels(["pcen"], window_s=None)


def test_unknown_channels_are_refused() -> None:
    with pytest.raises(BirdlabError, match=r"channels=\['colour'\]: give some of level, excess, pcen, freq"):
        LevelChannels(["colour"], window_s=1.0)  # type: ignore[list-item]
