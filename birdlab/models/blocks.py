"""The parts that the encoder-decoder networks are put together from.

Convolutions that feed a batch norm carry no bias (its shift replaces it). Weights start after He et al.,
"Delving Deep into Rectifiers" (2015): normal with variance 2 / fan-in before a ReLU, 1 / fan-in elsewhere.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from birdlab.errors import BirdlabError

_SQUEEZE = 16
"""Hu et al. squeeze channels to a sixteenth; fewer than four would hardly tell them apart."""


class ConvBlock(nn.Sequential):
    """Twice: 3x3 convolution, batch norm if wanted, ReLU. [B, in, F, T] -> [B, out, F, T].

    With ``squeeze_excitation`` each channel is weighted by what the whole image holds, before the last ReLU
    (Hu et al., "Squeeze-and-Excitation Networks", 2018).
    """

    def __init__(
        self, in_channels: int, out_channels: int, squeeze_excitation: bool = False, batch_norm: bool = True
    ) -> None:
        *convolutions, activation = (
            *conv_norm_relu(in_channels, out_channels, batch_norm),
            *conv_norm_relu(out_channels, out_channels, batch_norm),
        )
        if squeeze_excitation:
            convolutions.append(SqueezeExcitation(out_channels, max(4, out_channels // _SQUEEZE)))
        super().__init__(*convolutions, activation)


class ResidualBlock(nn.Module):
    """A ConvBlock whose input is added before the last ReLU. [B, in, F, T] -> [B, out, F, T].

    Where the channels change, a 1x1 convolution with batch norm projects the input (He et al., "Deep Residual
    Learning for Image Recognition", 2016, option B).
    """

    def __init__(
        self, in_channels: int, out_channels: int, squeeze_excitation: bool = False, batch_norm: bool = True
    ) -> None:
        super().__init__()
        *convolutions, self.activation = ConvBlock(in_channels, out_channels, squeeze_excitation, batch_norm)
        self.residual = nn.Sequential(*convolutions)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(*_conv_norm(in_channels, out_channels, 1, batch_norm, gain=1.0))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.residual(x) + self.shortcut(x))
        return y


class Up(nn.Module):
    """Doubles rows and columns by a transposed convolution, joins the encoder's features, and convolves.

    [B, in, F, T] and, if ``skip_channels``, [B, skip, 2F, 2T] -> [B, out, 2F, 2T].
    """

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, batch_norm: bool = True
    ) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
        # Kernel and stride are equal, so each output pixel sees one input pixel: the fan-in is in_channels.
        nn.init.normal_(self.upsample.weight, std=in_channels**-0.5)
        nn.init.zeros_(self.upsample.bias)  # type: ignore[arg-type]
        self.block = ConvBlock(out_channels + skip_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        x = self.upsample(x)
        if skip is not None:
            x = torch.cat([skip, x], dim=1)
        y: Tensor = self.block(x)
        return y


def conv_norm_relu(in_channels: int, out_channels: int, batch_norm: bool = True) -> tuple[nn.Module, ...]:
    """3x3 convolution, batch norm if wanted, ReLU. [B, in, F, T] -> [B, out, F, T]."""
    return (*_conv_norm(in_channels, out_channels, 3, batch_norm), nn.ReLU(inplace=True))


def check_widths(name: str, in_channels: int, out_channels: int, widths: Sequence[int]) -> None:
    """Refuse a network without at least two resolutions of at least one channel.

    Raises:
        ValueError: says what was given and which key to set.
    """
    if len(widths) < 2 or min(in_channels, out_channels, *widths) < 1:
        raise ValueError(
            f"{name} needs channels of at least 1 and two or more widths, not "
            f"in_channels={in_channels}, out_channels={out_channels}, widths={list(widths)}; "
            "set model.widths"
        )


def check_image(image: Tensor, in_channels: int, stride: int) -> None:
    """Refuse images [B, C, F, T] that a network does not take.

    Raises:
        BirdlabError: for another number of dimensions, if C is not ``in_channels``, or F or T is 0 or no
            multiple of ``stride``.
    """
    if image.ndim != 4:
        raise BirdlabError(f"the network takes images of shape [B, C, F, T], not {list(image.shape)}")
    channels, rows, columns = image.shape[1:]
    if channels != in_channels:
        raise BirdlabError(
            f"the network takes {in_channels} channel(s) and the image has {channels}; set data.channels"
        )
    if not rows or not columns or rows % stride or columns % stride:
        raise BirdlabError(
            f"images of {rows} x {columns} do not fit this network, whose input sides must be "
            f"multiples of {stride}; set data.image_size"
        )


def _conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, batch_norm: bool, gain: float = 2**0.5
) -> tuple[nn.Module, ...]:
    """A convolution that keeps rows and columns, with He's initialisation, and its batch norm or bias."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding="same", bias=not batch_norm)
    nn.init.normal_(conv.weight, std=gain * (in_channels * kernel_size**2) ** -0.5)
    if batch_norm:
        return conv, nn.BatchNorm2d(out_channels)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return (conv,)
