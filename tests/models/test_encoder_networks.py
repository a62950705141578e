"""Networks around the encoders of other packages keep to what birdlab's own do, as the configs build them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from birdlab import build, config
from birdlab.errors import BirdlabError

PARAMETERS = {
    "deeplabv3plus": 22_431_185,
    "unetplusplus": 26_072_337,
    "manet": 31_777_361,
    "fpn": 23_149_121,
    "segformer": 24_716_097,
    "mobilenet_unet": 6_628_369,
    "efficientnet_unet": 3_733_497,
}
every_network = pytest.mark.parametrize("model", PARAMETERS)


def make(model: str, seed: int = 0) -> nn.Module:
    return build.build_task(config.compose([f"model={model}", f"seed={seed}"])).net


def gradients(model: str, image: Tensor) -> dict[str, Tensor | None]:
    """Of one training step, by the parameters' names; what is drawn is drawn from one seed."""
    net = make(model).to(image.dtype)
    torch.manual_seed(1)
    net(image).square().mean().backward()
    return {name: p.grad for name, p in net.named_parameters()}


@every_network
def test_size_parameters_and_gradients(model: str) -> None:
    net = make(model)
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[model]
    assert net(torch.rand(2, 1, 64, 96)).shape == (2, 1, 64, 96)
    without = {name for name, _ in net.named_parameters()}
    for seed in range(4):  # a ReLU that is dead from one initialisation on is not from all
        net = make(model, seed)
        net(torch.rand(2, 1, 64, 64)).square().sum().backward()
        without -= {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
        if not without:
            return
    raise AssertionError(f"without gradient: {sorted(without)}")


@pytest.mark.slow
@every_network
def test_same_seed_same_training_step_in_float64(model: str) -> None:
    image = torch.rand(2, 1, 64, 64, dtype=torch.float64)
    first, second = (gradients(model, image) for _ in range(2))
    assert all(torch.equal(grad, second[name]) for name, grad in first.items() if grad is not None)


@every_network
@pytest.mark.parametrize("size", ["[100,64]", "[8,8]"])
def test_sizes_that_do_not_fit_are_refused(model: str, size: str) -> None:
    with pytest.raises(BirdlabError, match=r"data\.image_size=.* divide by (16|32): for instance"):
        build.build_task(config.compose([f"model={model}", f"data.image_size={size}"]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=fpn", "model.in_channels=3"], r"model\.in_channels=3, but images have data\.channels=1"),
        (["model=fpn", "model.classes=3"], r"model\.classes=3: give 1 \(bird\) or 2"),
        (["model=unet", "model.out_channels=4"], r"model\.out_channels=4: give 1 \(bird\) or 2"),
    ],
)
def test_channels_that_do_not_fit_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(BirdlabError, match=said):
        build.build_task(config.compose([*words, "data.image_size=[32,32]"]))


@pytest.mark.slow
@every_network
def test_learns_eight_images_by_heart(model: str) -> None:
    images, truth = torch.rand(8, 1, 64, 64), torch.zeros(8, 64, 64)
    for i in range(8):
        # Several of these networks compute at a quarter of the resolution.
        truth[i, 8 * (i % 4) : 8 * (i % 4) + 32, 16 : 40 + 8 * (i // 4)] = 1
    images[:, 0] = 0.5 * images[:, 0] + 0.5 * truth
    net = make(model)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(net(images)[:, 0], truth).backward()
        optimizer.step()
    # 60 steps are too few for batch norm's running means: they are taken anew, of these images.
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net(images)
        predicted = net.eval()(images)[:, 0] > 0
    iou = (predicted & (truth > 0)).sum() / (predicted | (truth > 0)).sum()
    assert iou > 0.95
