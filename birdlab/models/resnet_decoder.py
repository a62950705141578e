"""ResNet-34 with a plain decoder, the network of the resnet34_bce study."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn
from torchvision.models import ResNet34_Weights, resnet34

from birdlab.models.blocks import Up, check_image
from birdlab.models.weights import (
    FirstConv,
    check_first_conv,
    imagenet_state,
    initial_state,
    replace_first_conv,
    start_with_encoder,
)


class ResNetDecoder(nn.Module):
    """ResNet-34 up to its last convolution, and transposed convolutions back to the image's size; no skips.

    After Kishore Kumar, "Custom Image Segmentation Model for Visual Bird Sound Denoising": each transposed
    convolution is followed by a block of convolutions. The paper does not give the decoder's widths. Images
    stay in 0..1: the batch norm behind the first convolution takes out what ImageNet's normalisation would.

    Args:
        in_channels: of the image.
        out_channels: logits per pixel; 1 for foreground against background.
        widths: channels of the decoder's five resolutions, coarsest first.
        weights: to start from: None for random ones; ``imagenet`` for torchvision's in the encoder; or a file
            or run directory (see `load_state`) with the weights of a ResNet-34 or of this whole network.
        first_conv: how its filters become ones for ``in_channels``: see `adapt_first_conv`.

    Attributes:
        stride: rows and columns of the image must be multiples of it.

    Raises:
        BirdlabError: if the weights are absent, damaged or those of another network, or for another
            ``first_conv``.
        ValueError: for other than five widths, or a width or channel count below one.
    """

    stride = 32

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        widths: Sequence[int] = (256, 128, 64, 32, 16),
        weights: str | None = None,
        first_conv: FirstConv = "mean_scaled",
    ) -> None:
        super().__init__()
        if len(widths) != 5 or min(in_channels, out_channels, *widths) < 1:
            raise ValueError(
                "ResNetDecoder needs channels of at least 1 and five widths, not "
                f"in_channels={in_channels}, out_channels={out_channels}, widths={list(widths)}; "
                "set model.widths"
            )
        check_first_conv("model.first_conv", first_conv)
        self.in_channels = in_channels
        self.encoder = _encoder(in_channels)
        self.decoder = nn.Sequential(*(Up(coarse, 0, fine) for coarse, fine in pairwise([512, *widths])))
        self.head = nn.Conv2d(widths[-1], out_channels, kernel_size=1)
        if weights is not None:
            state = initial_state(weights, partial(imagenet_state, ResNet34_Weights.IMAGENET1K_V1))
            start_with_encoder(self, state, "conv1", first_conv, weights)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, out_channels, F, T] of images [B, in_channels, F, T].

        Raises:
            BirdlabError: if the channels or the size do not fit the network.
        """
        check_image(image, self.in_channels, self.stride)
        logits: Tensor = self.head(self.decoder(self.encoder(image)))
        return logits


def _encoder(in_channels: int) -> nn.Sequential:
    """torchvision's ResNet-34, its names kept, without pooling and classifier.

    [B, in_channels, F, T] -> [B, 512, F / 32, T / 32].
    """
    net = resnet34()
    replace_first_conv(net, in_channels)
    del net.avgpool, net.fc
    return nn.Sequential(OrderedDict(net.named_children()))
