"""Trained networks from audio to probabilities, with everything in between: what predicts, and is exported.

Unlike the images that training stores, nothing is rounded to bytes on the way: a rounded cell would turn a
difference in the last bit of a sum, which any two runtimes have, into one of 1/255.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from birdlab.audio.grid import Grid
from birdlab.audio.levels import LevelPicture, of_power, to_unit
from birdlab.audio.mel import MelSpectrogram, decibels
from birdlab.prediction.stream import OVERLAP, fade_in
from birdlab.tasks.classification import ClassificationTask
from birdlab.tasks.multitask import MultitaskTask
from birdlab.tasks.segmentation import SegmentationTask, foreground_logits


class SpectrogramSeen(nn.Module):
    """Windows of audio to the images that a network of spectrograms sees.

    Resizing to the network's size is antialiased as in `birdlab.data.resizing.resize_image`.

    Args:
        grid: the spectrogram.
        image_size: rows and columns that the network sees.
        window_columns: of one window.
    """

    basis: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, grid: Grid, image_size: Sequence[int], window_columns: int) -> None:
        super().__init__()
        self.hop = grid.hop
        rows, columns = image_size
        window = torch.hamming_window(grid.window_length, periodic=False, dtype=torch.float64)
        half = grid.n_fft // 2 + 1
        seen = resizing(grid.rows, rows, antialias=True)
        if grid.sides == "two":
            seen = seen @ _mirrored(half)
        self.register_buffer("basis", fourier(window, grid.n_fft, range(half)), persistent=False)
        self.register_buffer("rows", seen, persistent=False)
        across = resizing(window_columns, columns, antialias=True).T.contiguous()
        self.register_buffer("columns", across, persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """[B, rows, columns] in 0..1 of audio [B, n]."""
        magnitude = power(windows, self.basis, self.hop).sqrt().clamp(max=1)
        return self.rows @ (magnitude @ self.columns)

    def rows_back(self, grid: Grid) -> Tensor:
        """The matrix from what the network says to one-sided rows."""
        back = resizing(len(self.rows), grid.rows)
        return _halves_averaged(back) if grid.sides == "two" else back


class LevelsSeen(nn.Module):
    """Windows of audio to pictures of levels.

    Args:
        picture: how they are made.
        samples: of one window.
    """

    basis: Tensor
    rows: Tensor

    def __init__(self, picture: LevelPicture, samples: int) -> None:
        super().__init__()
        self.hop, self.padding = picture.hop(samples), picture.padding(samples)
        bins = range(picture.window_length // 2 + 1)
        basis = fourier(picture.window(), picture.window_length, bins)
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("rows", picture.pooling(), persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """[B, rows, columns] in 0..1 of audio [B, n]; see `birdlab.audio.levels.to_unit`."""
        heard = power(F.pad(windows, self.padding), self.basis, self.hop)
        return to_unit(of_power(self.rows @ heard)).clamp(0, 1)

    def rows_back(self, grid: Grid) -> Tensor:
        """The matrix from what the network says to one-sided rows: levels have one side themselves."""
        return resizing(len(self.rows), grid.n_fft // 2 + 1)


class MaskOfWindows(nn.Module):
    """Probabilities of bird in windows of audio, all of the same length.

    What the network says is brought back to the spectrogram's cells bilinearly, in logits, as in evaluation.
    Both sides of a two-sided picture are averaged.

    Args:
        task: in evaluation mode.
        seen: windows of audio to what the network sees of them.
        grid: the spectrogram whose cells are marked.
        window_columns: of one window.
    """

    rows_back: Tensor

    def __init__(
        self, task: SegmentationTask, seen: SpectrogramSeen | LevelsSeen, grid: Grid, window_columns: int
    ) -> None:
        super().__init__()
        self.net, self.of_picture = task.net, task.of_picture
        self.front_end = task.front_end
        self.temperature = float(task.temperature)
        self.memory_format = task.torch_memory_format
        self.images, self.grid, self.window_columns = seen, grid, window_columns
        self.register_buffer("rows_back", seen.rows_back(grid), persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """Probabilities [B, F, T], one-sided, of audio [B, n], n = ``grid.samples(window_columns)``."""
        return self.of_images(self.images(windows))

    def of_images(self, images: Tensor) -> Tensor:
        """Probabilities [B, F, T] of images [B, rows, columns] in 0..1, as ``images`` returns them."""
        logits = foreground_logits(self.net(self.inputs(images))).float()
        # Resizing is linear and separable: first the rows, of which the network has few.
        rows = self.rows_back @ (logits / self.temperature)
        return F.interpolate(rows, size=self.window_columns, mode="linear", align_corners=False).sigmoid()

    def inputs(self, images: Tensor) -> Tensor:
        """What the network is given of images [B, rows, columns]."""
        return self.of_picture(images).contiguous(memory_format=self.memory_format)


class MaskOfAudio(nn.Module):
    """Probabilities of bird in audio of any length: `birdlab.prediction.stream.stitched` without a loop.

    Args:
        windows: predicts each window; all windows of the audio are in memory at once.
    """

    rising: Tensor

    def __init__(self, windows: MaskOfWindows) -> None:
        super().__init__()
        self.windows = windows
        rising = torch.from_numpy(fade_in(windows.window_columns // OVERLAP))
        self.register_buffer("rising", rising, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Probabilities [F, ``grid.covering_columns(n)``], one-sided, of audio [n]."""
        grid, columns = self.windows.grid, self.windows.window_columns
        overlap = len(self.rising)
        step, length = columns - overlap, grid.samples(columns)
        # Whole divisions of what isn't negative: of the rest, ONNX and Python have different ideas.
        total = (torch.sym_max(0, audio.shape[0] - grid.window_length) + grid.hop - 1) // grid.hop + 1
        count = (torch.sym_max(0, total - columns) + step - 1) // step + 1
        device = audio.device
        # The last window is moved back to end with the audio.
        first = (torch.arange(count, device=device) * step).clamp(max=torch.sym_max(0, total - columns))
        samples = first[:, None] * grid.hop + torch.arange(length, device=device)
        predicted = self.windows(F.pad(audio, (0, length))[samples]).transpose(1, 2)

        # Each column is of one window, or fades from the one before it.
        column = torch.arange(total, device=device)
        window = (column // step).clamp(max=count - 1)
        before = (window - 1).clamp(min=0)
        since = column - window * step
        flat = predicted.reshape(-1, predicted.shape[-1])
        here = flat[window * columns + column - first[window]]
        there = flat[before * columns + (column - first[before]).clamp(max=columns - 1)]
        faded = self.rising[since.clamp(max=overlap - 1)]
        weight = torch.where((window == 0) | (since >= overlap), 1.0, faded)[:, None]
        probabilities: Tensor = (there + (here - there) * weight).T
        return probabilities


class CallersOfAudio(nn.Module):
    """Probabilities of who is heard in audio of any length, as said by a network that also marks birds.

    It sees one window: the middle of longer audio; shorter audio is filled up with silence, as in training.

    Args:
        task: in evaluation mode.
        windows: the same network's marks.
    """

    def __init__(self, task: MultitaskTask, windows: MaskOfWindows) -> None:
        super().__init__()
        self.net, self.windows = task.net, windows
        self.temperature = float(task.callers_temperature)
        self.samples = windows.grid.samples(windows.window_columns)

    def forward(self, audio: Tensor) -> Tensor:
        """Probabilities [K] of audio [n]."""
        window = F.pad(_middle(audio, self.samples), (0, self.samples))[: self.samples]
        _, logits = self.net.both(self.windows.inputs(self.windows.images(window[None])))
        probabilities: Tensor = (logits.float() / self.temperature).sigmoid()
        return probabilities[0]


class SpeciesOfAudio(nn.Module):
    """Probabilities of species in audio of any length.

    The network sees a stack of one length: the middle of longer audio, and shorter audio repeated, as
    `birdlab.data.species.SpeciesSource` makes its stacks. Place and date, where the network was trained with
    them, count as not known.

    Args:
        task: in evaluation mode.
        mel: the spectrogram it was trained on.
        segments, frames: of a stack, and of each segment.
    """

    basis: Tensor
    filters: Tensor
    prior: Tensor

    def __init__(self, task: ClassificationTask, mel: MelSpectrogram, segments: int, frames: int) -> None:
        super().__init__()
        self.net, self.front_end, self.normalised = task.net, task.front_end, task.normalised
        self.memory_format = task.torch_memory_format
        self.n_fft, self.hop = mel.n_fft, mel.hop
        self.segments, self.frames = segments, frames
        basis = fourier(mel.window.double(), mel.n_fft, range(mel.first, mel.end))
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("filters", mel.filters, persistent=False)
        with torch.no_grad():
            prior = task.prior(torch.zeros(1, 4)) if task.prior is not None else torch.zeros(())
        self.register_buffer("prior", prior, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Probabilities [K] of audio [n]."""
        stack = self.levels(audio).reshape(1, -1, self.segments, self.frames).transpose(1, 2)
        given = self.front_end(stack).contiguous(memory_format=self.memory_format)
        probabilities: Tensor = self.normalised(self.net(given) + self.prior)
        return probabilities[0]

    def levels(self, audio: Tensor) -> Tensor:
        """Mel levels in dB [M, S T] of the middle of audio [n], repeated if it is short."""
        total = self.segments * self.frames
        heard = torch.sym_min(audio.shape[0], total * self.hop)
        padded = F.pad(_middle(audio, total * self.hop), (self.n_fft // 2, self.n_fft // 2))
        mel = decibels(self.filters @ power(padded[None], self.basis, self.hop))[0]
        there: int = torch.sym_max(1, heard // self.hop)  # type: ignore[assignment]
        frame = torch.arange(total, device=audio.device)
        return mel[:, frame - frame // there * there]


def _middle(audio: Tensor, length: int) -> Tensor:
    """`birdlab.prediction.naming.middle` in a graph for audio [n] of any length."""
    heard = torch.sym_min(audio.shape[0], length)
    start = (audio.shape[0] - heard) // 2
    return audio[start : start + heard]


def fourier(window: Tensor, n_fft: int, bins: Sequence[int]) -> Tensor:
    """Windowed cosines and sines, float32 [2 bins, 1, window], by which a convolution is a Fourier transform.

    Of the ways to say it in ONNX this is the quick and exact one; in torch it takes as long as its FFT does.

    Args:
        window: float64 [window], at most ``n_fft`` long.
        n_fft: points of the transform; zeros fill it up.
        bins: that are wanted.
    """
    turns = torch.outer(torch.tensor(bins, dtype=torch.float64), torch.arange(len(window)).double()) / n_fft
    angle = 2 * math.pi * turns
    return torch.cat([angle.cos() * window, angle.sin() * window])[:, None].float()


def power(audio: Tensor, basis: Tensor, hop: int) -> Tensor:
    """|STFT|^2 [B, bins, T] of audio [B, n]; ``basis`` is `fourier`'s."""
    cosines, sines = F.conv1d(audio[:, None], basis, stride=hop).chunk(2, dim=1)
    return cosines.square() + sines.square()


def resizing(size: int, wanted: int, *, antialias: bool = False) -> Tensor:
    """The matrix [wanted, size] that torch's bilinear resizing of one side multiplies by."""
    identity = torch.eye(size)[None, None]
    return F.interpolate(identity, size=(wanted, size), mode="bilinear", antialias=antialias)[0, 0]


def _mirrored(half: int) -> Tensor:
    """[two-sided rows, half]: from 0..fs/2 to the rows of `Grid`; 0 Hz and fs/2 have no counterpart."""
    rows = np.abs(np.arange(2 - half, half))
    return torch.eye(half)[torch.from_numpy(rows)]


def _halves_averaged(rows: Tensor) -> Tensor:
    """[n, ...] two-sided rows from -fs/2 to [n / 2 + 1, ...]; 0 Hz and fs/2 have no counterpart."""
    zero = len(rows) // 2 - 1
    half = rows[zero:].clone()
    half[1:-1] = (half[1:-1] + rows[:zero].flip(0)) / 2
    return half
