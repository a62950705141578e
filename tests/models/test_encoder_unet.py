"""The U-Net around a classifier: whose weights it starts from."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from birdlab.errors import BirdlabError
from birdlab.models.classifier import classifier
from birdlab.models.encoder_unet import EncoderUNet

timm = pytest.importorskip("timm")

NAME = "tf_efficientnet_lite0"
lite0 = partial(timm.create_model, NAME, features_only=True)


def same(net: nn.Module, other: nn.Module) -> bool:
    pairs = zip(net.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_encoder_starts_from_a_classifier_and_the_decoder_does_not() -> None:
    torch.manual_seed(0)
    trained = timm.create_model(NAME).state_dict()
    net = EncoderUNet(lite0, in_channels=3, weights="imagenet", imagenet=lambda: trained)
    own = net.encoder.state_dict()
    assert len(own) > 250
    assert all(torch.equal(own[key], trained[key]) for key in own)
    grey = EncoderUNet(lite0, weights="imagenet", imagenet=lambda: trained)
    torch.testing.assert_close(
        grey.encoder.conv_stem.weight, trained["conv_stem.weight"].sum(dim=1, keepdim=True)
    )


def test_a_whole_network_is_taken_over(tmp_path: Path) -> None:
    trained = EncoderUNet(lite0)
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    assert same(EncoderUNet(lite0, weights=str(tmp_path / "net.pth")), trained)


def test_weights_of_another_architecture_are_listed(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "other.pth")
    with pytest.raises(BirdlabError, match=r"other\.pth holds .* Missing: blocks\.0\.0.* more"):
        EncoderUNet(lite0, weights=str(tmp_path / "other.pth"))
    with pytest.raises(BirdlabError, match=r"model\.weights=imagenet: there are none"):
        EncoderUNet(lite0, weights="imagenet")


def test_a_classifier_starts_from_the_encoder(tmp_path: Path) -> None:
    trained = EncoderUNet(lite0)
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    net = classifier(
        partial(timm.create_model, NAME), 10, 6, encoding="voting", weights=str(tmp_path / "net.pth")
    ).net
    own = trained.encoder.state_dict()
    assert all(torch.equal(net.state_dict()[key], own[key]) for key in own)
    torch.save(
        {f"encoder.{key}": value for key, value in timm.create_model("resnet18").state_dict().items()},
        tmp_path / "other.pth",
    )
    with pytest.raises(BirdlabError, match="holds the weights of another network"):
        classifier(partial(timm.create_model, NAME), 10, 6, weights=str(tmp_path / "other.pth"))


def test_an_encoder_that_loads_weights_itself_is_refused() -> None:
    with pytest.raises(BirdlabError, match=r"model\.encoder\.pretrained=True.*model\.weights=FILE"):
        EncoderUNet(partial(lite0, pretrained=True))


@pytest.mark.parametrize("widths", [(16, 8), (16, 8, 8, 8, 0)])
def test_impossible_widths_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"5 widths .*set model\.widths"):
        EncoderUNet(lite0, widths=widths)


def test_skips_carry_what_the_bottleneck_does_not() -> None:
    """With the coarsest features cut off, a change of one pixel still reaches the logits around it."""
    torch.manual_seed(0)
    net = EncoderUNet(lite0).eval()
    net.encoder.blocks[-1].register_forward_hook(lambda *_: torch.zeros(1, 320, 2, 2))
    image = torch.zeros(1, 1, 64, 64)
    changed = image.clone()
    changed[0, 0, 20, 40] = 1.0
    with torch.inference_mode():
        moved = (net(changed) - net(image))[0, 0].abs()
    assert moved[16:24, 36:44].max() > moved[48:, :16].max()
