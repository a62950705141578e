"""The parts that the encoder-decoder networks are put together from.

Convolutions that feed a batch norm carry no bias (its shift replaces it). Weights start after He et al.,
"Delving Deep into Rectifiers" (2015): normal with variance 2 / fan-in before a ReLU, 1 / fan-in elsewhere.
"""

import torch
from torch import Tensor, nn


class ConvBlock(nn.Sequential):
    """Twice: 3x3 convolution, batch norm, ReLU. [B, in, F, T] -> [B, out, F, T]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            _conv(in_channels, out_channels, kernel_size=3),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            _conv(out_channels, out_channels, kernel_size=3),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """A ConvBlock whose input is added before the last ReLU. [B, in, F, T] -> [B, out, F, T].

    Where the channels change, a 1x1 convolution with batch norm projects the input (He et al., "Deep Residual
    Learning for Image Recognition", 2016, option B).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        *convolutions, self.activation = ConvBlock(in_channels, out_channels)
        self.residual = nn.Sequential(*convolutions)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                _conv(in_channels, out_channels, kernel_size=1, gain=1.0), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.residual(x) + self.shortcut(x))
        return y


class Up(nn.Module):
    """Doubles rows and columns by a transposed convolution, joins the encoder's features, and convolves.

    [B, in, F, T] and, if ``skip_channels``, [B, skip, 2F, 2T] -> [B, out, 2F, 2T].
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
        # Kernel and stride are equal, so each output pixel sees one input pixel: the fan-in is in_channels.
        nn.init.normal_(self.upsample.weight, std=in_channels**-0.5)
        nn.init.zeros_(self.upsample.bias)  # type: ignore[arg-type]
        self.block = ConvBlock(out_channels + skip_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        x = self.upsample(x)
        if skip is not None:
            x = torch.cat([skip, x], dim=1)
        y: Tensor = self.block(x)
        return y


def _conv(in_channels: int, out_channels: int, kernel_size: int, gain: float = 2**0.5) -> nn.Conv2d:
    """A convolution that keeps rows and columns, without bias, with He's normal initialisation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding="same", bias=False)
    nn.init.normal_(conv.weight, std=gain * (in_channels * kernel_size**2) ** -0.5)
    return conv
