"""SegNet, one of the networks that the U-Net is compared with."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from birdlab.models.blocks import check_image, check_widths, conv_norm_relu


class SegNet(nn.Module):
    """VGG-16's convolutions as the encoder and its mirror image as the decoder, joined by pooling indices.

    Badrinarayanan et al., "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
    2017. The decoder puts each feature back where the encoder's max pooling found it, with zeros around it,
    and convolves; nothing else is handed across.

    Args:
        in_channels: of the image.
        out_channels: logits per pixel; 2 for background and foreground under softmax.
        widths: channels of each resolution, finest first.
        convolutions: of each resolution, as many as widths.

    Attributes:
        stride: rows and columns of the image must be multiples of it, 2 ** len(widths).

    Raises:
        ValueError: for fewer than two widths, a width or channel count below one, or another number of
            convolutions than of widths.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        convolutions: Sequence[int] = (2, 2, 3, 3, 3),
    ) -> None:
        super().__init__()
        check_widths(type(self).__name__, in_channels, out_channels, widths)
        if len(convolutions) != len(widths) or min(convolutions) < 1:
            raise ValueError(
                f"SegNet needs one or more convolutions for each of widths={list(widths)}, not "
                f"convolutions={list(convolutions)}; set model.convolutions"
            )
        self.in_channels = in_channels
        self.stride = 2 ** len(widths)
        stages = list(zip(pairwise([in_channels, *widths]), convolutions, strict=True))
        self.encoder = nn.ModuleList(_chain([a] + [b] * n) for (a, b), n in stages)
        # The mirror image: channels change at a stage's last convolution. The finest stage's is the head.
        (_, finest), n = stages[0]
        self.decoder = nn.ModuleList(_chain([b] * n + [a]) for (a, b), n in reversed(stages[1:]))
        self.decoder.append(_chain([finest] * n))
        self.head = nn.Conv2d(finest, out_channels, kernel_size=3, padding="same")

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, out_channels, F, T] of images [B, in_channels, F, T].

        Raises:
            BirdlabError: if the channels or the size do not fit the network.
        """
        check_image(image, self.in_channels, self.stride)
        x = image
        pooled_from: list[Tensor] = []
        for stage in self.encoder:
            x, indices = F.max_pool2d_with_indices(stage(x), (2, 2))
            pooled_from.append(indices)
        for stage in self.decoder:
            x = stage(F.max_unpool2d(x, pooled_from.pop(), (2, 2)))
        logits: Tensor = self.head(x)
        return logits


def _chain(channels: Sequence[int]) -> nn.Sequential:
    """A convolution with batch norm and ReLU from each of the channel counts to the next."""
    return nn.Sequential(*(layer for a, b in pairwise(channels) for layer in conv_norm_relu(a, b)))
