"""Any network of timm as a backbone: windows of sound become images of mel levels."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from birdlab.audio.frontend import FrontEnd
from birdlab.audio.mel import MelSpectrogram, decibels
from birdlab.errors import BirdlabError
from birdlab.models.frequency_rows import RowFeatures
from birdlab.models.weights import fingerprint, first_conv_of, load_state, load_strictly, with_first_conv
from birdlab.probing.backbone import Audio, Embeddings
from birdlab.trained_on import runs_at, trained_on


class ImageNetwork:
    """What a network for images says of mel levels, before its last layer; see `Backbone`.

    Levels are freed of loudness and steady noise as in training (`FrontEnd`), of each window by itself. They
    are one grey image: the first convolution answers as to three equal channels. Networks that take images
    of one size only get them stretched to it.

    Args:
        model: name in timm.
        depths: features of these resolutions, finest first, whose mean and maximum over time are kept for
            each row of frequency (see `RowFeatures`); None for what the network says of the whole picture.
        weights: ``imagenet``, None for random ones, or a file (see `load_state`).
        imagenet: where ImageNet's weights come from; None leaves that to timm, which downloads them.
        sample_rate: Hz.
        seconds: of a window.
        n_fft, hop, n_mels, fmin, fmax: see `MelSpectrogram`.
        seed: of random weights.

    Raises:
        BirdlabError: for a model that timm doesn't have, and weights that aren't to be had or don't fit.
    """

    def __init__(
        self,
        *,
        model: str,
        depths: Sequence[int] | None = None,
        weights: str | None = "imagenet",
        imagenet: Callable[[], Mapping[str, Tensor]] | None = None,
        sample_rate: int = 32_000,
        seconds: float = 5.0,
        n_fft: int = 2048,
        hop: int = 512,
        n_mels: int = 128,
        fmin: float = 200.0,
        fmax: float = 10_000.0,
        seed: int = 0,
    ) -> None:
        self.sample_rate, self.seconds = sample_rate, seconds
        self.heard = frozenset[str]()
        mel = MelSpectrogram(sample_rate, n_fft, hop, n_mels, fmin, fmax)
        state: Mapping[str, Tensor] | None = None
        if weights == "imagenet" and imagenet is not None:
            state = imagenet()
        elif weights not in (None, "imagenet"):
            state = load_state(Path(weights))
            self.heard = frozenset[str]().union(*map(trained_on, runs_at(Path(weights))))
        torch.manual_seed(seed)
        net = _network(model, depths, download=weights == "imagenet" and imagenet is None)
        facts: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]
        if depths is not None:
            net = RowFeatures(net)
        if state is not None:
            _start_from(net, state, facts.get("classifier"), str(weights))
        self.licence = (
            f"The weights of {model} are licensed {facts.get('license') or 'as timm says'}."
            if weights == "imagenet"
            else ""
        )
        size = tuple(facts["input_size"][1:]) if facts.get("fixed_input_size") else None
        self._net = _OfWindows(mel, FrontEnd(sample_rate=sample_rate, hop=hop), net, size).eval()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        settings = (model, depths and tuple(depths), sample_rate, seconds, n_fft, hop, n_mels, fmin, fmax)
        self.name = f"{settings} {fingerprint(self._net)}"
        self._net.to(self._device)

    @torch.inference_mode()
    def embed(self, windows: Audio) -> Embeddings:
        """See `Backbone.embed`."""
        made: Embeddings = self._net(torch.from_numpy(windows).to(self._device)).cpu().numpy()
        return made


class _OfWindows(nn.Module):
    def __init__(
        self, mel: MelSpectrogram, front_end: FrontEnd, net: nn.Module, size: tuple[int, int] | None
    ) -> None:
        super().__init__()
        self.mel, self.front_end, self.net, self.size = mel, front_end, net, size

    def forward(self, windows: Tensor) -> Tensor:
        """Features [B, D] of windows [B, n]."""
        image = self.front_end(decibels(self.mel(windows))[:, None])
        if self.size is not None:
            image = F.interpolate(image, size=self.size, mode="bilinear", antialias=True)
        features: Tensor = self.net(image)
        return features


def _network(model: str, depths: Sequence[int] | None, *, download: bool) -> nn.Module:
    """timm's network for images of one channel: its features at some depths, or all but its last layer."""
    try:
        import timm
    except ImportError as error:
        raise BirdlabError("Networks of timm need it: pip install 'birdlab[timm]'.") from error
    if not timm.is_model(model):
        near = timm.list_models(f"*{model}*")[:5] or timm.list_models(f"{model[:6]}*")[:5]
        known = f"; it has {', '.join(near)}" if near else ""
        raise BirdlabError(f"backbone.model={model}: timm has no such network{known}.")
    part = {"num_classes": 0} if depths is None else {"features_only": True, "out_indices": tuple(depths)}
    try:
        # Weights that timm downloads it fits to one channel and no last layer.
        net: nn.Module = timm.create_model(model, pretrained=download, in_chans=1, **part)
    except OSError as error:
        raise _not_downloaded(model) from error
    except (AssertionError, IndexError, RuntimeError) as error:
        if depths is None:
            raise
        raise BirdlabError(
            f"backbone.depths={list(depths)}: {model} has no such features ({error})."
        ) from error
    return net


def _start_from(
    net: nn.Module, state: Mapping[str, Tensor], last: str | Sequence[str] | None, origin: str
) -> None:
    """Take over all weights but those of the last layers, which the network lacks."""
    if isinstance(net, RowFeatures):
        net.start_from(state, "mean_scaled", origin)
        return
    layers = (last,) if isinstance(last, str) else tuple(last or ())
    taken = {key: value for key, value in state.items() if not key.startswith(tuple(f"{n}." for n in layers))}
    first, conv = first_conv_of(net)
    load_strictly(net, with_first_conv(taken, f"{first}.weight", conv.in_channels, "mean_scaled"), origin)


def _not_downloaded(model: str) -> BirdlabError:
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(model)
    if cfg is None or not cfg.hf_hub_id:
        return BirdlabError(f"timm has no ImageNet weights of {model}: give a file by backbone.weights=FILE.")
    return BirdlabError(
        f"The ImageNet weights of {model} can't be downloaded. Fetch "
        f"https://huggingface.co/{cfg.hf_hub_id}/resolve/main/model.safetensors on another machine and set "
        "backbone.weights=FILE (or backbone.weights=null for random ones)."
    )
