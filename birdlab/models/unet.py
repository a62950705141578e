"""U-Net, the network of the unet_cross_entropy and cnn_unet studies, and what ResUNet is made of."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from birdlab.models.blocks import ConvBlock, Up, check_image, check_widths


class UNet(nn.Module):
    """Convolutional encoder, transposed-convolution decoder, skip connections by concatenation.

    Ronneberger et al., "U-Net", 2015, with batch norm and dropout as in Munigala, "A Deep Learning Framework
    for Bird Vocalization Segmentation": five blocks, a bottleneck, five blocks. That paper gives neither
    widths nor the dropout's rate. The encoder halves rows and columns by max pooling between its blocks.

    Args:
        in_channels: of the image.
        out_channels: logits per pixel; 2 for background and foreground under softmax.
        widths: channels of each resolution, finest first; the last is the bottleneck's.
        dropout: probability that a feature of the bottleneck is dropped in training.
        decoder_dropout: drop as many of the features that one decoder block hands on to the next.
        block: of the encoder and the bottleneck, made of its input's and its output's channels, and
            ``batch_norm``.
        skips: False gives the decoder nothing but the bottleneck.
        batch_norm: False gives convolutions a bias in its place.

    Attributes:
        stride: rows and columns of the image must be multiples of it, 2 ** (len(widths) - 1).

    Raises:
        ValueError: for fewer than two widths, a width or channel count below one, or dropout outside [0, 1).
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        widths: Sequence[int] = (32, 64, 128, 256, 512, 1024),
        dropout: float = 0.3,
        decoder_dropout: bool = True,
        block: Callable[..., nn.Module] = ConvBlock,
        skips: bool = True,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        check_widths(type(self).__name__, in_channels, out_channels, widths)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, not {dropout}; set model.dropout")
        self.in_channels = in_channels
        self.stride = 2 ** (len(widths) - 1)
        self.encoder = nn.ModuleList(
            block(a, b, batch_norm=batch_norm) for a, b in pairwise([in_channels, *widths])
        )
        self.dropout = nn.Dropout(dropout)
        self.decoder_dropout = decoder_dropout
        self.decoder = nn.ModuleList(
            Up(coarse, fine if skips else 0, fine, batch_norm) for coarse, fine in pairwise(reversed(widths))
        )
        self.head = nn.Conv2d(widths[0], out_channels, kernel_size=1)
        self.skips = skips

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, out_channels, F, T] of images [B, in_channels, F, T].

        Raises:
            BirdlabError: if the channels or the size do not fit the network.
        """
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """The encoder's features, finest first; the last are the bottleneck's.

        Raises:
            BirdlabError: if the channels or the size do not fit the network.
        """
        check_image(image, self.in_channels, self.stride)
        x = image
        features: list[Tensor] = []
        for block in self.encoder:
            x = block(F.max_pool2d(x, 2) if features else x)
            features.append(x)
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits from what `encode` returns."""
        *finer, x = features
        for number, up in enumerate(self.decoder):
            if number == 0 or self.decoder_dropout:
                x = self.dropout(x)
            x = up(x, finer[-1 - number] if self.skips else None)
        logits: Tensor = self.head(x)
        return logits
