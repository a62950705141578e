"""A small MobileNetV2, the network of the mobilenet_optimizers study."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops.misc import Conv2dNormActivation

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 2, 2), (6, 64, 1, 1))
"""Expansion, channels, blocks, and stride of the first block, of each stage."""


class CompactMobileNet(nn.Module):
    """García, Ortega & Raya, "Spectrogram-Based Bird Sound Classification": nine inverted residuals.

    A convolution of stride 2, the stages, and the mean over rows and columns into a linear layer. Not stated
    there: the channels of the first convolution, here the 32 of MobileNetV2, and dropout, here none.

    Args:
        num_classes: K, the number of species.
        in_channels: of the image.
        stages: see `STAGES`.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 10, stages: Sequence[Sequence[int]] = STAGES
    ) -> None:
        super().__init__()
        width = 32
        layers: list[nn.Module] = [
            Conv2dNormActivation(in_channels, width, stride=2, activation_layer=nn.ReLU6)
        ]
        for expansion, channels, blocks, stride in stages:
            for block in range(blocks):
                layers.append(InvertedResidual(width, channels, stride if block == 0 else 1, expansion))
                width = channels
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
        # As torchvision's MobileNetV2.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, K] of images [B, in_channels, F, T]."""
        logits: Tensor = self.head(self.features(image))
        return logits
