"""Rows, columns, sides and the way back, by hand, against scipy and against the published example."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from birdlab.audio.io import read
from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.png import read_image
from birdlab.errors import BirdlabError

DECODER_DELAY = 528
"""Samples that an MP3 decoder puts in front of the published recording."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def snr_db(truth: Tensor, estimate: Tensor) -> float:
    return float(10 * torch.log10(truth.square().sum() / (truth - estimate).square().sum()))


def test_frequencies_by_hand() -> None:
    two = Spectrogram(sample_rate=8000, window_length=4, hop=2, n_fft=8).frequencies()
    assert two.tolist() == [-3000, -2000, -1000, 0, 1000, 2000, 3000, 4000]
    one = Spectrogram(sample_rate=8000, window_length=4, hop=2, n_fft=8, sides="one").frequencies()
    assert one.tolist() == [0, 1000, 2000, 3000, 4000]
    assert Spectrogram().frequencies()[511] == 0


def test_times_and_lengths_by_hand() -> None:
    spectrogram = Spectrogram(sample_rate=32_000)
    assert spectrogram.times(3).tolist() == [64 / 32_000, 128 / 32_000, 192 / 32_000]
    assert spectrogram.columns(194_112) == 3032
    assert [spectrogram.columns(n) for n in (0, 127, 128, 191, 192)] == [0, 0, 1, 1, 2]
    assert [spectrogram.samples(n) for n in (0, 1, 2, 3032)] == [0, 128, 192, 194_112]


@pytest.mark.parametrize("sides", ["two", "one"])
@pytest.mark.parametrize("row", [3, 100, 250, 511])
def test_a_sine_lands_in_its_row(sides: str, row: int) -> None:
    spectrogram = Spectrogram(window_length=1024, hop=512, sides=sides)
    frequency = row * 32_000 / 1024
    sine = torch.sin(2 * torch.pi * frequency * torch.arange(4096, dtype=torch.float64) / 32_000)
    column = spectrogram.magnitude(sine)[:, 2]
    loudest = spectrogram.frequencies()[column.topk(2 if sides == "two" else 1).indices.numpy()]
    assert sorted(loudest) == ([-frequency, frequency] if sides == "two" else [frequency])


def test_a_click_lands_in_the_columns_whose_windows_hold_it() -> None:
    click = torch.zeros(640)
    click[200] = 1
    heard = Spectrogram().magnitude(click).sum(0) > 0
    assert heard.nonzero().flatten().tolist() == [2, 3]  # windows 128..255 and 192..319


@pytest.mark.parametrize(("window", "hop", "n_fft"), [(128, 64, 1024), (256, 100, 256), (128, 128, 130)])
def test_agrees_with_scipy(window: int, hop: int, n_fft: int) -> None:
    audio = noise(5000)
    hamming = scipy.signal.windows.hamming(window, sym=True)
    frequencies, times, expected = scipy.signal.spectrogram(
        audio.numpy(),
        fs=32_000,
        window=hamming,
        noverlap=window - hop,
        nfft=n_fft,
        detrend=False,
        scaling="spectrum",
        mode="complex",
    )
    spectrogram = Spectrogram(window_length=window, hop=hop, n_fft=n_fft, sides="one")
    ours = spectrogram.stft(audio)
    assert np.allclose(ours, expected * hamming.sum(), atol=1e-12)
    assert np.allclose(spectrogram.frequencies(), frequencies)
    assert np.allclose(spectrogram.times(ours.shape[1]), times)
    assert spectrogram.columns(5000) == len(times)


def test_one_side_is_half_of_two() -> None:
    audio = noise(3, 2000)
    one, two = Spectrogram(sides="one"), Spectrogram(sides="two")
    whole = two.stft(audio)
    assert whole.shape == (3, 1024, 30)
    assert torch.equal(one.stft(audio), whole[:, 511:])
    assert torch.equal(one.image(audio), two.image(audio)[:, 511:])


def test_both_sides_are_the_complex_transform_centred() -> None:
    audio = noise(2000)
    frames = audio.unfold(-1, 128, 64) * torch.hamming_window(128, periodic=False, dtype=audio.dtype)
    # fftshift puts -fs/2 first; the published images have it last, as +fs/2.
    expected = torch.fft.fftshift(torch.fft.fft(frames, 1024), dim=-1).roll(-1, dims=-1).T
    assert torch.allclose(Spectrogram().stft(audio), expected, atol=1e-12)
    assert torch.allclose(Spectrogram().magnitude(audio), expected.abs(), atol=1e-12)


def test_image_clips_and_rounds_to_nearest() -> None:
    spectrogram = Spectrogram()
    click = torch.zeros(128, dtype=torch.float64)
    click[0] = 1  # its spectrum is flat: the window's first value, .08
    for gain, grey in ((1.0, 20), (0.4 / 20.4, 0), (0.6 / 20.4, 1), (20.0, 255)):
        assert spectrogram.image(gain * click).unique().tolist() == [grey]
    assert spectrogram.image(click).dtype == torch.uint8


@settings(max_examples=25)
@given(
    samples=st.integers(128, 3000),
    sides=st.sampled_from(["two", "one"]),
    grid=st.sampled_from([(128, 64, 1024), (128, 64, 128), (100, 33, 256)]),
    seed=st.integers(0, 9),
)
def test_round_trip(samples: int, sides: str, grid: tuple[int, int, int], seed: int) -> None:
    window, hop, n_fft = grid
    spectrogram = Spectrogram(window_length=window, hop=hop, n_fft=n_fft, sides=sides)
    audio = noise(samples, seed=seed)
    stft = spectrogram.stft(audio)
    covered = spectrogram.samples(stft.shape[-1])
    back = spectrogram.inverse(stft, samples)
    assert covered <= samples < covered + hop
    assert torch.allclose(back[:covered], audio[:covered], atol=1e-10)
    assert back.shape == (samples,)
    assert not back[covered:].any()


def test_float32_batches_come_back_to_the_edges() -> None:
    audio = noise(2, 3, 6400).float()
    back = Spectrogram().inverse(Spectrogram().stft(audio), 6400)
    assert back.shape == audio.shape
    assert back.dtype == torch.float32
    assert snr_db(audio, back) > 100
    assert torch.allclose(back, audio, atol=1e-5)


def test_inverse_of_a_masked_spectrogram_is_the_least_squares_solution() -> None:
    """No nearby signal has a spectrogram nearer to the masked one: the error is orthogonal to all of them."""
    spectrogram = Spectrogram(window_length=16, hop=8, n_fft=32)
    masked = spectrogram.stft(noise(64)) * (noise(32, 7, seed=1) > 0)
    residual = spectrogram.stft(spectrogram.inverse(masked, 64)) - masked
    for seed in range(5):
        direction = spectrogram.stft(noise(64, seed=seed))
        assert abs((residual * direction.conj()).sum().real) < 1e-12


def test_too_short_audio_and_impossible_settings_are_refused() -> None:
    with pytest.raises(BirdlabError, match="127 samples"):
        Spectrogram().image(torch.zeros(127))
    with pytest.raises(BirdlabError, match="hop=129"):
        Spectrogram(hop=129)


@pytest.fixture(scope="module")
def published(real_data: Path) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Image, mask and recording of the one public example, the decoder's delay removed."""
    folder = real_data / "birdsoundsdenoising_sample/Valid"
    image = read_image(folder / "Images/XC41136.png")
    samples = Spectrogram().samples(image.shape[1])
    audio = read(folder / "Raw_audios/XC41136.wav")[DECODER_DELAY : DECODER_DELAY + samples]
    return image, read_image(folder / "Masks/XC41136.png"), torch.from_numpy(audio)


def test_the_published_image_is_recomputed(published: tuple[np.ndarray, np.ndarray, Tensor]) -> None:
    """Measured: r = .99992, 97.6 % of the pixels equal."""
    image, _, audio = published
    ours = Spectrogram(sample_rate=48_000).image(audio).numpy()
    assert ours.shape == image.shape
    assert np.corrcoef(ours.ravel(), image.ravel())[0, 1] > 0.9999
    assert (ours == image).mean() > 0.97


def test_the_published_rows_mirror_around_0_hz(published: tuple[np.ndarray, np.ndarray, Tensor]) -> None:
    image, mask, _ = published
    assert np.array_equal(image[:511], image[512:1023][::-1])
    assert np.array_equal(mask[:512], mask[512:][::-1])  # drawn by hand, and half a row off


def test_real_audio_comes_back(published: tuple[np.ndarray, np.ndarray, Tensor]) -> None:
    """Measured: 141 dB."""
    audio = published[2]
    back = Spectrogram().inverse(Spectrogram().stft(audio), len(audio))
    assert snr_db(audio, back) > 60
    assert snr_db(audio[:64], back[:64]) > 60
    assert snr_db(audio[-64:], back[-64:]) > 60


def test_the_published_denoised_audio_is_the_mask_applied(
    published: tuple[np.ndarray, np.ndarray, Tensor], real_data: Path
) -> None:
    """Measured: r = .99996."""
    _, mask, audio = published
    denoised = read(real_data / "birdsoundsdenoising_sample/Valid/Denoised_audios/XC41136.wav")
    ours = Spectrogram().inverse(Spectrogram().stft(audio) * torch.from_numpy(mask > 0), len(audio))
    assert np.corrcoef(ours, denoised)[0, 1] > 0.9999
