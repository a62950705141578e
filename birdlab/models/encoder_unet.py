"""U-Net around an image classifier of timm, whose trained weights it starts from."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from birdlab.models.blocks import Up, check_image
from birdlab.models.weights import (
    FirstConv,
    check_builds_only,
    check_first_conv,
    first_conv_of,
    initial_state,
    start_with_encoder,
)


class EncoderUNet(nn.Module):
    """A classifier's features as encoder, and the decoder of `UNet`, without dropout.

    Images stay in 0..1: see `ResNetDecoder`.

    Args:
        encoder: called with ``in_chans``; makes a network of timm with ``features_only=True``, whose features
            each have half the rows and columns of the ones before, beginning with half the image's.
        in_channels: of the image.
        out_channels: logits per pixel; 1 for foreground against background.
        widths: channels of the decoder's resolutions, coarsest first, as many as the encoder has.
        weights: to start from: None for random ones; ``imagenet`` in the encoder; or a file or run directory
            (see `load_state`) with the weights of the classifier or of this whole network.
        first_conv: how the encoder's first filters become ones for ``in_channels``: see `adapt_first_conv`.
        imagenet: where ImageNet's weights come from.

    Attributes:
        stride: rows and columns of the image must be multiples of it.

    Raises:
        BirdlabError: if the weights are absent, damaged or those of another network, or for another
            ``first_conv``.
        ValueError: for another number of widths than the encoder has resolutions, or a width below one.
    """

    def __init__(
        self,
        encoder: Callable[..., Any],
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (128, 64, 32, 24, 16),
        weights: str | None = None,
        first_conv: FirstConv = "mean_scaled",
        imagenet: Callable[[], Mapping[str, Tensor]] | None = None,
    ) -> None:
        super().__init__()
        check_first_conv("model.first_conv", first_conv)
        check_builds_only("model.encoder", encoder)
        self.in_channels = in_channels
        self.encoder = encoder(in_chans=in_channels)
        *skips, coarsest = self.encoder.feature_info.channels()
        if len(widths) != len(skips) + 1 or min(in_channels, out_channels, *widths) < 1:
            raise ValueError(
                f"EncoderUNet needs channels of at least 1 and {len(skips) + 1} widths (as many resolutions "
                f"has its encoder), not in_channels={in_channels}, out_channels={out_channels}, "
                f"widths={list(widths)}; set model.widths"
            )
        self.stride = 2 ** len(widths)
        self.decoder = nn.ModuleList(
            Up(coarse, skip, fine)
            for (coarse, fine), skip in zip(pairwise([coarsest, *widths]), [*reversed(skips), 0], strict=True)
        )
        self.head = nn.Conv2d(widths[-1], out_channels, kernel_size=1)
        if weights is not None:
            state, (first, _) = initial_state(weights, imagenet), first_conv_of(self.encoder)
            start_with_encoder(self, state, first, first_conv, weights)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, out_channels, F, T] of images [B, in_channels, F, T].

        Raises:
            BirdlabError: if the channels or the size do not fit the network.
        """
        check_image(image, self.in_channels, self.stride)
        *finer, x = self.encoder(image)
        for up, skip in zip(self.decoder, [*reversed(finer), None], strict=True):
            x = up(x, skip)
        logits: Tensor = self.head(x)
        return logits
