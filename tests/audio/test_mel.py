"""Mel spectrograms, decibels and PCEN: what librosa computes."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from birdlab.audio import io
from birdlab.audio.frontend import FrontEnd
from birdlab.audio.mel import (
    MelSpectrogram,
    decibels,
    hz_to_mel,
    mel_filters,
    mel_to_hz,
    pcen,
    smoothed,
    whole_frames,
)
from birdlab.errors import BirdlabError

RATE = 32_000


def mel_by_librosa(audio: np.ndarray) -> np.ndarray:
    return librosa.feature.melspectrogram(
        y=audio, sr=RATE, n_fft=1024, hop_length=500, n_mels=64, fmin=200, fmax=10_000
    )


@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "fmin", "fmax"),
    [(32_000, 1024, 64, 200, 10_000), (22_050, 2048, 128, 0, 11_025), (16_000, 512, 20, 50, 8_000)],
)
def test_filters_are_librosas(rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> None:
    expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    np.testing.assert_allclose(mel_filters(rate, n_fft, n_mels, fmin, fmax), expected, atol=1e-9)


@given(st.floats(0, 20_000))
def test_mel_scale_is_librosas_and_has_an_inverse(hz: float) -> None:
    mel = hz_to_mel(torch.tensor(hz, dtype=torch.float64))
    assert float(mel) == pytest.approx(float(librosa.hz_to_mel(hz)))
    assert float(mel_to_hz(mel)) == pytest.approx(hz)


@pytest.mark.parametrize("samples", [4000, 32_000, 32_499])
def test_mel_spectrogram_is_librosas(samples: int) -> None:
    audio = np.random.default_rng(samples).normal(0, 0.1, (3, samples)).astype(np.float32)
    ours = MelSpectrogram(RATE, 1024, 500, 64, 200, 10_000)(torch.from_numpy(audio))
    assert ours.shape == (3, 64, 1 + samples // 500)
    for row, one in zip(ours, audio, strict=True):
        np.testing.assert_allclose(row, mel_by_librosa(one), rtol=1e-3, atol=1e-6)


def test_mel_spectrogram_of_a_real_recording_is_librosas(real_data: Path) -> None:
    path = sorted((real_data / "species" / "train_short_audio" / "parus_major").glob("*.ogg"))[0]
    audio = io.read(path, RATE)
    power = MelSpectrogram(RATE, 1024, 500, 64, 200, 10_000)(torch.from_numpy(audio))
    expected = mel_by_librosa(audio)
    np.testing.assert_allclose(decibels(power), librosa.power_to_db(expected, top_db=None), atol=0.02)
    magnitude = expected**0.5 * 2**31
    ours = pcen(torch.from_numpy(magnitude), sample_rate=RATE, hop=500)
    np.testing.assert_allclose(ours, librosa.pcen(magnitude, sr=RATE, hop_length=500), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("top_db", [None, 80.0, 20.0])
def test_decibels_are_librosas(top_db: float | None) -> None:
    power = np.random.default_rng(0).lognormal(0, 8, (64, 50)).astype(np.float32)
    power[3] = 0
    expected = librosa.power_to_db(power, ref=1.0, top_db=top_db)
    np.testing.assert_allclose(decibels(torch.from_numpy(power), top_db), expected, rtol=1e-5, atol=1e-4)


@given(
    frames=st.integers(1, 700),
    gain=st.floats(0, 1),
    bias=st.floats(0.1, 10),
    power=st.floats(0.1, 1),
    time_constant_s=st.floats(0.05, 2),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40)
def test_pcen_is_librosas(
    frames: int, gain: float, bias: float, power: float, time_constant_s: float, seed: int
) -> None:
    energy = np.random.default_rng(seed).lognormal(0, 3, (4, frames))
    chosen = {"gain": gain, "bias": bias, "power": power}
    expected = librosa.pcen(energy, sr=RATE, hop_length=500, time_constant=time_constant_s, **chosen)
    ours = pcen(
        torch.from_numpy(energy), sample_rate=RATE, hop=500, time_constant_s=time_constant_s, **chosen
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-9)


def test_smoothing_by_hand() -> None:
    energy = torch.tensor([4.0, 0.0, 8.0])
    # M = 2/2 + 4/2 = 3; 3/2; 1.5/2 + 8/2
    assert smoothed(energy, 0.5, torch.tensor(2.0)).tolist() == [3.0, 1.5, 4.75]


def test_smoothing_is_the_recursion() -> None:
    energy = torch.rand(2, 1000, dtype=torch.float64)
    expected, last = [], torch.tensor([0.3, 0.6], dtype=torch.float64)
    for column in energy.T:
        last = 0.99 * last + 0.01 * column
        expected.append(last)
    start = torch.tensor([[0.3], [0.6]], dtype=torch.float64)
    torch.testing.assert_close(smoothed(energy, 0.01, start), torch.stack(expected, dim=1))


def test_pcen_exports_with_any_length() -> None:
    class Normalised(nn.Module):
        def forward(self, energy: torch.Tensor) -> torch.Tensor:
            return pcen(energy, sample_rate=RATE, hop=500)

    length = torch.export.Dim("length", min=2, max=100_000)
    program = torch.export.export(Normalised(), (torch.rand(2, 300),), dynamic_shapes=({1: length},))
    for frames in (77, 1111):
        energy = torch.rand(2, frames)
        torch.testing.assert_close(program.module()(energy), Normalised()(energy))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fmin": 5000, "fmax": 4000}, "data.fmin=5000, data.fmax=4000"),
        ({"fmax": 17_000}, "data.fmax=17000.*half of data.sample_rate"),
        ({"hop": 0}, "data.hop=0"),
        ({"n_mels": 300, "fmin": 0.0}, "hold no bin"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, float], message: str) -> None:
    base = {"sample_rate": RATE, "n_fft": 1024, "hop": 500, "n_mels": 64, "fmin": 200.0, "fmax": 10_000.0}
    with pytest.raises(BirdlabError, match=message):
        MelSpectrogram(**base | settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["decibel", "pcen"])
def test_the_front_end_does_not_hear_how_loud_a_recording_is(kind: str) -> None:
    stack = torch.from_numpy(np.random.default_rng(0).normal(-40, 8, (2, 3, 8, 20))).float()
    front_end = FrontEnd(kind, sample_rate=RATE, hop=500)  # type: ignore[arg-type]
    torch.testing.assert_close(front_end(stack), front_end(stack - 23), rtol=1e-4, atol=1e-5)
    assert front_end(stack.half()).dtype == torch.float32
    assert not torch.allclose(front_end(stack)[0], front_end(stack)[1], atol=0.1)


def test_the_front_end_does_not_hear_an_equaliser() -> None:
    stack = torch.from_numpy(np.random.default_rng(0).normal(-40, 4, (1, 3, 8, 20))).float()
    front_end = FrontEnd(sample_rate=RATE, hop=500)
    coloured = stack + torch.linspace(-10, 10, 8)[:, None]
    torch.testing.assert_close(front_end(stack), front_end(coloured), rtol=1e-4, atol=1e-5)
    low_passed = torch.full_like(stack, -100)
    low_passed[:, :, :4] = stack[:, :, :4]
    assert front_end(low_passed)[:, :, 4:].abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["decibel", "pcen"])
def test_silence_is_finite(kind: str) -> None:
    silence = torch.full((1, 2, 4, 8), -100.0, dtype=torch.float16)
    assert FrontEnd(kind, sample_rate=RATE, hop=500)(silence).isfinite().all()  # type: ignore[arg-type]


def test_pcen_runs_on_from_segment_to_segment() -> None:
    long = torch.from_numpy(np.random.default_rng(0).normal(-40, 8, (1, 1, 8, 60))).float()
    stacked = long.unflatten(3, (3, 20)).squeeze(1).permute(0, 2, 1, 3)
    front_end = FrontEnd("pcen", sample_rate=RATE, hop=500)
    rejoined = front_end(stacked).permute(0, 2, 1, 3).flatten(2)
    torch.testing.assert_close(rejoined, front_end(long)[:, 0])


@pytest.mark.parametrize("wrong", [{"kind": "mfcc"}, {"top_db": 0.0}, {"scale_db": -1.0}])
def test_impossible_front_ends_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(BirdlabError, match=r"task\.module\.front_end\.(kind|top_db)="):
        FrontEnd(**{"sample_rate": RATE, "hop": 500} | wrong)  # type: ignore[arg-type]


def test_frames_are_whole_and_those_that_fit() -> None:
    assert [whole_frames(seconds, 32_000, 500) for seconds in (1.0, 0.999, 1.01, 0.001)] == [64, 63, 64, 1]
    assert whole_frames(0.1 * 3, 100, 10) == whole_frames(0.3, 100, 10) == 3
