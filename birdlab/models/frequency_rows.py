"""A classifier that knows how high something sounds: features pooled over time, row by row of frequency."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from birdlab.errors import BirdlabError
from birdlab.models.weights import FirstConv, below, check_builds_only, first_conv_of, start_with_encoder


class RowFeatures(nn.Module):
    """What an image network sees at several depths, pooled over time and not over frequency.

    Classifiers of photographs average over the whole picture, since a dog is a dog wherever it stands. In a
    spectrogram that forgets the pitch, which tells species apart; and their deepest features, which are made
    of photographs, say less of birds than those before them. So each channel's mean and maximum over time
    are kept for each row of each resolution.

    Args:
        encoder: a network of timm made with ``features_only=True``; its ``out_indices`` say which depths
            count. Stages behind them are cut off.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self._left_out = _cut(encoder)

    def forward(self, image: Tensor) -> Tensor:
        """Features [B, D] of images [B, C, F, T]: D doesn't depend on T."""
        maps = self.encoder(image)
        each = [pooled.flatten(1) for x in maps for pooled in (x.mean(dim=3), x.amax(dim=3))]
        return torch.cat(each, dim=1)

    def start_from(self, state: Mapping[str, Tensor], how: FirstConv, origin: str) -> None:
        """Take over the weights of a classifier, or of the encoder of another network.

        Args:
            state: weights by name.
            how: see `adapt_first_conv`.
            origin: of the weights, for the message.

        Raises:
            BirdlabError: lists what is missing, what is too much and what has another shape.
        """
        for prefix in ("net.", "features.", "encoder."):
            state = below(prefix, state) or state
        kept = {key: value for key, value in state.items() if not key.startswith(self._left_out)}
        start_with_encoder(self, kept, first_conv_of(self.encoder)[0], how, origin)


class FrequencyRows(nn.Module):
    """`RowFeatures` and one linear layer.

    Args:
        num_classes: K.
        encoder: makes the network for `RowFeatures`.
        rows: of the image.
        dropout: share of the features that a training step leaves out.

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
        check_builds_only("model.build.encoder", encoder)
        self.rows = rows
        self.features = RowFeatures(encoder())
        _, conv = first_conv_of(self.features)
        # Nothing learns from this image: it says how many rows each resolution has.
        with torch.no_grad():
            width = self.features.eval()(torch.zeros(1, conv.in_channels, rows, rows)).shape[1]
        self.features.train()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, K] of images [B, C, rows, T].

        Raises:
            BirdlabError: for images of other rows.
        """
        if image.shape[2] != self.rows:
            raise BirdlabError(
                f"the network takes images of {self.rows} rows and got {image.shape[2]}; set data.n_mels"
            )
        logits: Tensor = self.head(self.dropout(self.features(image)))
        return logits


def _cut(encoder: Any) -> tuple[str, ...]:
    """Take away the stages behind the last features that are asked for, where they follow one by one.

    Returns:
        What the names of their weights begin with.
    """
    parent, _, number = encoder.feature_info.module_name()[-1].rpartition(".")
    stages = encoder.get_submodule(parent)
    if not isinstance(stages, nn.Sequential):
        return ()
    behind = tuple(f"{parent}.{place}." for place in range(int(number) + 1, len(stages)))
    del stages[int(number) + 1 :]
    return behind
