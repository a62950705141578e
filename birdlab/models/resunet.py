"""U-Net with a residual encoder, the network of the focal_tversky study."""

from collections.abc import Sequence
from functools import partial

from birdlab.models.blocks import ConvBlock, ResidualBlock
from birdlab.models.unet import UNet


class ResUNet(UNet):
    """A `UNet` whose encoder is residual, with dropout in the bottleneck only.

    After Belbase, "A Framework for Bird Sound Spectrogram Segmentation". The paper gives neither depth nor
    widths; these come to 2.0 million parameters with the work spread evenly over the resolutions.

    Args:
        in_channels: of the image.
        out_channels: logits per pixel; 1 for foreground against background.
        widths: channels of each resolution, finest first; the last is the bottleneck's.
        dropout: probability that a feature of the bottleneck is dropped in training.
        residual: False makes the encoder's blocks plain, which leaves a U-Net.
        skips: False gives the decoder nothing but the bottleneck.
        squeeze_excitation: weight the channels of each block of the encoder by what the whole image holds.
        batch_norm: False gives convolutions a bias in its place.

    Raises:
        ValueError: as `UNet`.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.3,
        residual: bool = True,
        skips: bool = True,
        squeeze_excitation: bool = False,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            widths,
            dropout,
            decoder_dropout=False,
            block=partial(ResidualBlock if residual else ConvBlock, squeeze_excitation=squeeze_excitation),
            skips=skips,
            batch_norm=batch_norm,
        )
