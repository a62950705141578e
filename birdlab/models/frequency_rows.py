"""A classifier that knows how high something sounds: features pooled over time, row by row of frequency."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from birdlab.errors import BirdlabError
from birdlab.models.classifier import check_builds_only, first_conv_of


class FrequencyRows(nn.Module):
    """The features of a classifier of timm from several depths, pooled over time alone, and one layer.

    Classifiers of photographs average over the whole picture, since a dog is a dog wherever it stands. In a
    spectrogram that forgets the pitch, which tells species apart; and their deepest features, which are made
    of photographs, say less of birds than those before them. So each channel's mean and maximum over time
    are kept for each row of each resolution, brought to a common scale, and weighed by one linear layer.

    Args:
        num_classes: K.
        encoder: makes a network of timm with ``features_only=True``; its ``out_indices`` say which depths
            count.
        rows: of the image.
        dropout: share of the pooled features that a training step leaves out.

    Attributes:
        encoder: trained weights are taken over for it alone.

    Raises:
        BirdlabError: for fewer than one row, a dropout outside of 0 to 1 (without 1), or an ``encoder`` that
            is told to load weights.
    """

    def __init__(
        self, num_classes: int, encoder: Callable[..., Any], rows: int, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if rows < 1 or not 0 <= dropout < 1:
            raise BirdlabError(
                f"model.build.rows={rows}, dropout={dropout:g}: give at least 1, and a share below 1."
            )
        check_builds_only(encoder)
        self.rows = rows
        self.encoder = encoder()
        _, conv = first_conv_of(self.encoder)
        # Nothing learns from this image: it says how many rows each resolution has.
        with torch.no_grad():
            maps = self.encoder.eval()(torch.zeros(1, conv.in_channels, rows, rows))
        self.encoder.train()
        features = over_time(maps).shape[1]
        self.scale = nn.BatchNorm1d(features, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, K] of images [B, C, rows, T].

        Raises:
            BirdlabError: for images of other rows.
        """
        if image.shape[2] != self.rows:
            raise BirdlabError(
                f"the network takes images of {self.rows} rows and got {image.shape[2]}; set data.n_mels"
            )
        pooled = self.scale(over_time(self.encoder(image)))
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def over_time(maps: Sequence[Tensor]) -> Tensor:
    """Mean and maximum over time of feature maps [B, C, F, T], each of its own C and F: [B, sum of 2 C F]."""
    return torch.cat([pooled.flatten(1) for x in maps for pooled in (x.mean(dim=3), x.amax(dim=3))], dim=1)
