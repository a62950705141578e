"""One encoder, a head that marks birds and one that names them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from birdlab.models.resunet import ResUNet


class TwoHeads(ResUNet):
    """A `ResUNet` whose bottleneck also says who is heard.

    Called like any other network it returns the logits of the mask, and is evaluated, exported and used for
    prediction like any other.

    Args:
        classes: K, who may be heard.
        in_channels, out_channels, widths, dropout: see `ResUNet`.

    Raises:
        ValueError: as `ResUNet`, or if K is not known.
    """

    def __init__(
        self,
        classes: int | None,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.3,
    ) -> None:
        if classes is None:
            raise ValueError("classes=None: it comes from the data set; set task=multitask")
        super().__init__(in_channels, out_channels, widths, dropout)
        # What is heard at some moment may fill little of the window, or all of it.
        self.callers = nn.Linear(2 * widths[-1], classes)

    def both(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the mask [B, out_channels, F, T] and of who is heard [B, K], of images [B, C, F, T]."""
        features = self.encode(image)
        coarsest = features[-1].flatten(2)
        pooled = torch.cat([coarsest.mean(dim=-1), coarsest.amax(dim=-1)], dim=1)
        named: Tensor = self.callers(self.dropout(pooled))
        return self.decode(features), named
