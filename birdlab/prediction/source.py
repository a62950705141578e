"""What is predicted: a recording, or a picture of one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from birdlab.audio.grid import Grid, from_picture
from birdlab.audio.streams import Recording
from birdlab.errors import BirdlabError
from birdlab.prediction.inputs import Input
from birdlab.prediction.network import Network
from birdlab.prediction.stream import Audio, Samples, Stretch, mono_at, stitched, stitched_image


@dataclass(frozen=True)
class Source:
    """An opened input; it has either a recording or an image.

    Attributes:
        network: that predicts it.
        recording: its file.
        image: uint8 [F, T], the lowest row first.
    """

    network: Network
    recording: Recording | None = None
    image: Samples | None = None

    @classmethod
    def open(cls, each: Input, network: Network) -> "Source":
        """Read a recording's header, or all of a picture.

        Raises:
            BirdlabError: for what can't be read, and for a picture with other rows than the network's.
        """
        if each.is_picture:
            return cls(network, image=_image(each.path, network.grid))
        return cls(network, recording=Recording.open(each.path))

    @property
    def duration_s(self) -> float:
        """Seconds."""
        if self.recording is not None:
            return self.recording.duration_s
        assert self.image is not None
        grid = self.network.grid
        return grid.samples(self.image.shape[1]) / grid.sample_rate

    @property
    def highest_hz(self) -> float:
        """That it can hold."""
        rate = self.network.grid.sample_rate if self.recording is None else self.recording.sample_rate
        return rate / 2

    @property
    def one_window(self) -> bool:
        """Whether one mask picture holds all of it."""
        grid = self.network.grid
        columns = grid.covering_columns(round(self.duration_s * grid.sample_rate))
        return self.recording is None or columns <= self.network.window_columns

    def stretches(
        self, threads: int, hear: Callable[[Audio], None], progress: Callable[[float], None]
    ) -> Iterator[Stretch]:
        """What the network says of it.

        Args:
            threads: predict so many batches at once.
            hear: given each block of a recording [n, C] before what is predicted of it.
            progress: given the share that has been read, 0 to 1.
        """
        if self.recording is None:
            assert self.image is not None
            yield from stitched_image(self.network, self.image)
            return
        recording = self.recording

        def heard() -> Iterator[Audio]:
            frames = 0
            for block in recording.blocks():
                hear(block)
                yield block
                frames += len(block)
                progress(min(1.0, frames / recording.frames))

        mono = mono_at(heard(), recording.sample_rate, self.network.grid.sample_rate)
        yield from stitched(self.network, mono, threads)


def _image(path: Path, grid: Grid) -> Samples:
    from birdlab.data.png import read_image  # needs OpenCV, which recordings don't

    image = read_image(path)
    if len(image) != grid.rows:
        raise BirdlabError(
            f"{path}: a picture of {len(image)} rows, but this network was trained on spectrograms of "
            f"{grid.rows}. Give the recording, or draw its spectrogram as in training."
        )
    return from_picture(image, grid.sides)
