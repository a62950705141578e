"""The residual U-Net: shapes, refusals, gradients, and that it learns."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import SqueezeExcitation

from birdlab.errors import BirdlabError
from birdlab.models.resunet import ResUNet

TINY = (4, 8, 16)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_study_network_has_two_million_parameters() -> None:
    net = ResUNet()
    assert sum(p.numel() for p in net.parameters()) == 1_986_817
    assert net.stride == 16


@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 2)])
def test_logits_have_the_size_of_the_image(in_channels: int, out_channels: int) -> None:
    net = ResUNet(in_channels, out_channels, TINY)
    assert net.stride == 4
    assert net(torch.rand(2, in_channels, 8, 20)).shape == (2, out_channels, 8, 20)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("squeeze_excitation", [True, False])
def test_every_parameter_has_a_gradient(residual: bool, skips: bool, squeeze_excitation: bool) -> None:
    net = ResUNet(widths=TINY, residual=residual, skips=skips, squeeze_excitation=squeeze_excitation)
    net(torch.rand(4, 1, 16, 16)).square().sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_without_batch_norm_convolutions_have_a_bias_and_images_nothing_to_do_with_one_another() -> None:
    net = ResUNet(widths=TINY, batch_norm=False, dropout=0)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert all(module.bias is not None for module in net.modules() if isinstance(module, nn.Conv2d))
    images = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(net(images)[:1], net(images[:1]))
    net(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_skips_carry_what_the_bottleneck_has_lost() -> None:
    """With the bottleneck silenced, only skips let the logits depend on the image."""

    def varies(skips: bool) -> bool:
        net = ResUNet(widths=TINY, skips=skips).eval()
        net.dropout.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        return not torch.equal(net(torch.rand(1, 1, 16, 16)), net(torch.rand(1, 1, 16, 16)))

    assert varies(skips=True)
    assert not varies(skips=False)


def test_squeeze_excitation_weighs_the_channels_of_each_block_before_it_is_added() -> None:
    """With all channels weighted by 0, a residual block is its shortcut and a plain one is silent."""
    for residual in (True, False):
        net = ResUNet(widths=TINY, residual=residual, squeeze_excitation=True).eval()
        weights = [module for module in net.modules() if isinstance(module, SqueezeExcitation)]
        assert [module.fc1.in_channels for module in weights] == list(TINY)
        for module in weights:
            nn.init.zeros_(module.fc2.weight)
            nn.init.constant_(module.fc2.bias, -1e4)
        block = net.encoder[0]
        image = torch.rand(1, 1, 16, 16)
        expected = block.shortcut(image).relu() if residual else torch.zeros(1, 4, 16, 16)
        torch.testing.assert_close(block(image), expected)


@pytest.mark.parametrize("size", [(126, 128), (128, 130)])
def test_size_that_does_not_divide_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(BirdlabError, match=rf"{size[0]} x {size[1]}.* 16; set data.image_size"):
        ResUNet()(torch.rand(1, 1, *size))


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(BirdlabError, match=r"takes 1 channel.* has 3; set data.channels"):
        ResUNet(widths=TINY)(torch.rand(1, 3, 16, 16))


@pytest.mark.parametrize("settings", [{"widths": (16,)}, {"widths": (0, 4)}, {"in_channels": 0}])
def test_impossible_widths_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"set model\.widths"):
        ResUNet(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_impossible_dropout_is_refused(dropout: float) -> None:
    with pytest.raises(ValueError, match=r"set model\.dropout"):
        ResUNet(dropout=dropout)


def test_dropout_acts_in_training_only_and_on_the_bottleneck() -> None:
    net = ResUNet(widths=TINY, dropout=0.5)
    image = torch.rand(2, 1, 16, 16)
    assert not torch.equal(net(image), net(image))
    net.eval()
    assert torch.equal(net(image), net(image))
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.5]


def test_same_seed_same_training_step_in_float64() -> None:
    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(3)
        net = ResUNet(widths=TINY).double()
        net(torch.rand(4, 1, 16, 16, dtype=torch.float64)).square().mean().backward()
        return [p.grad for p in net.parameters() if p.grad is not None]

    first, second = gradients(), gradients()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_channels_last_computes_the_same() -> None:
    net = ResUNet(widths=TINY).double().eval()
    image = torch.rand(2, 3, 16, 16, dtype=torch.float64)[:, :1]
    expected = net(image)
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(image.contiguous(memory_format=torch.channels_last)), expected)


def test_signal_keeps_its_size_through_the_fresh_network() -> None:
    """He's initialisation: with random input the logits of a fresh network neither vanish nor explode."""
    logits = ResUNet(dropout=0.0)(torch.rand(4, 1, 64, 64))
    assert 0.05 < logits.std() < 3


def test_learns_eight_images_by_heart() -> None:
    images = torch.rand(8, 1, 32, 32)
    truth = torch.zeros(8, 32, 32)
    for i in range(8):
        truth[i, 2 + 3 * i : 5 + 3 * i, 4 : 12 + 2 * i] = 1
    images[:, 0] = 0.7 * images[:, 0] + 0.3 * truth
    net = ResUNet(widths=(8, 16, 32), dropout=0.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(80):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(net(images)[:, 0], truth).backward()
        optimizer.step()
    net.eval()
    predicted, true = net(images)[:, 0] > 0, truth > 0
    iou = (predicted & true).sum() / (predicted | true).sum()
    assert iou > 0.95
