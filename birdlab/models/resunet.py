"""U-Net with a residual encoder, the network of the focal_tversky study."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from birdlab.errors import BirdlabError
from birdlab.models.blocks import ConvBlock, ResidualBlock, Up


class ResUNet(nn.Module):
    """Residual encoder, dropout in the bottleneck, transposed-convolution decoder with skip connections.

    After Belbase, "A Framework for Bird Sound Spectrogram Segmentation". The paper gives neither depth nor
    widths; these come to 2.0 million parameters with the work spread evenly over the resolutions. The encoder
    halves rows and columns by max pooling between its blocks.

    Args:
        in_channels: of the image.
        out_channels: logits per pixel; 1 for foreground against background.
        widths: channels of each resolution, finest first; the last is the bottleneck's.
        dropout: probability that a feature of the bottleneck is dropped in training.
        residual: False makes the encoder's blocks plain, which leaves a U-Net.
        skips: False gives the decoder nothing but the bottleneck.

    Attributes:
        stride: rows and columns of the image must be multiples of it, 2 ** (len(widths) - 1).

    Raises:
        ValueError: for fewer than two widths, a width or channel count below one, or dropout outside [0, 1).
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.3,
        residual: bool = True,
        skips: bool = True,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(in_channels, out_channels, *widths) < 1:
            raise ValueError(
                "ResUNet needs channels of at least 1 and two or more widths, not "
                f"in_channels={in_channels}, out_channels={out_channels}, widths={list(widths)}; "
                "set model.widths"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, not {dropout}; set model.dropout")
        self.in_channels = in_channels
        self.stride = 2 ** (len(widths) - 1)
        block = ResidualBlock if residual else ConvBlock
        self.encoder = nn.ModuleList(block(a, b) for a, b in pairwise([in_channels, *widths]))
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.ModuleList(
            Up(coarse, fine if skips else 0, fine) for coarse, fine in pairwise(reversed(widths))
        )
        self.head = nn.Conv2d(widths[0], out_channels, kernel_size=1)
        self.skips = skips

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, out_channels, F, T] of images [B, in_channels, F, T].

        Raises:
            BirdlabError: if the channels or the size do not fit the network.
        """
        self._check(image)
        x = image
        features: list[Tensor] = []
        for block in self.encoder:
            x = block(F.max_pool2d(x, 2) if features else x)
            features.append(x)
        x = self.dropout(features.pop())
        for up in self.decoder:
            skip = features.pop()
            x = up(x, skip if self.skips else None)
        logits: Tensor = self.head(x)
        return logits

    def _check(self, image: Tensor) -> None:
        channels, rows, columns = image.shape[1:]
        if channels != self.in_channels:
            raise BirdlabError(
                f"the network takes {self.in_channels} channel(s) and the image has {channels}; "
                "set data.channels"
            )
        if rows % self.stride or columns % self.stride:
            raise BirdlabError(
                f"images of {rows} x {columns} do not fit this network, whose input sides must be "
                f"multiples of {self.stride}; set data.image_size"
            )
