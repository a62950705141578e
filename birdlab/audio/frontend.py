"""What a species network sees of a recording: cached mel levels, freed of loudness and of the recorder."""

from typing import Literal

from torch import Tensor, nn

from birdlab.audio.mel import pcen, power_of
from birdlab.errors import BirdlabError


class FrontEnd(nn.Module):
    """Mel levels in dB to the network's input, each recording by itself.

    How loud a recording is and how far up it reaches says more about who made it than about the bird, and a
    network would learn that. So of every recording, in the same way,

    - ``decibel``: all that is more than ``top_db`` below the loudest cell becomes that floor; from each band
      its mean level over the recording is subtracted, so that bands that an encoder removed and bands full of
      steady noise are both 0; and ``scale_db`` becomes 1. A band that was removed stays recognisable by its
      lack of variation: where that could tell the species, set ``data.fmax`` below the lowest low-pass.
    - ``pcen``: power, scaled to a mean of 1 over the recording, goes through per-channel energy normalisation
      over all segments in one, which start from each band's mean power.

    Args:
        kind: which of the two.
        sample_rate, hop: of the frames.
        top_db: dynamic range that is kept, dB.
        scale_db: dB that become 1.

    Raises:
        BirdlabError: for another kind, or a range or scale of 0 and below.
    """

    def __init__(
        self,
        kind: Literal["decibel", "pcen"] = "decibel",
        *,
        sample_rate: int,
        hop: int,
        top_db: float = 80.0,
        scale_db: float = 10.0,
    ) -> None:
        super().__init__()
        if kind not in ("decibel", "pcen"):
            raise BirdlabError(f"task.module.front_end.kind={kind}: give decibel or pcen.")
        if top_db <= 0 or scale_db <= 0:
            raise BirdlabError(
                f"task.module.front_end.top_db={top_db:g}, scale_db={scale_db:g}: give numbers above 0."
            )
        self.kind = kind
        self.sample_rate, self.hop = sample_rate, hop
        self.top_db, self.scale_db = top_db, scale_db

    def forward(self, stack: Tensor) -> Tensor:
        """float32 [B, S, M, T] from levels in dB [B, S, M, T] of any precision."""
        level = stack.float()
        loudest = level.amax(dim=(1, 2, 3), keepdim=True)
        level = (level - loudest).clamp(min=-self.top_db)
        if self.kind == "decibel":
            steady: Tensor = level.mean(dim=(1, 3), keepdim=True)
            return (level - steady) / self.scale_db
        power = power_of(level)
        power = power / power.mean(dim=(1, 2, 3), keepdim=True)
        bands = power.transpose(1, 2).flatten(2)  # [B, M, S T]: the segments follow one another
        initial = bands.mean(dim=-1, keepdim=True)
        normal = pcen(bands, sample_rate=self.sample_rate, hop=self.hop, initial=initial)
        batch, segments, mels, frames = stack.shape
        return normal.reshape(batch, mels, segments, frames).transpose(1, 2)
