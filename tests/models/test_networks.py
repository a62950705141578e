"""What every segmentation network keeps to: shapes, refusals, gradients, and that it learns."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from birdlab.errors import BirdlabError
from birdlab.models.resnet_decoder import ResNetDecoder
from birdlab.models.resunet import ResUNet
from birdlab.models.segnet import SegNet
from birdlab.models.unet import UNet

Make = Callable[..., nn.Module]


def tiny_unet(in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    return UNet(in_channels, out_channels, widths=(4, 8, 16, 16, 16, 16), dropout=0.1)


def tiny_resunet(in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    return ResUNet(in_channels, out_channels, widths=(4, 8, 16, 16, 16, 16), dropout=0.1)


def tiny_segnet(in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    return SegNet(in_channels, out_channels, widths=(16, 24, 32, 32, 32), convolutions=(2, 2, 1, 1, 1))


def tiny_resnet_decoder(in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    return ResNetDecoder(in_channels, out_channels, widths=(32, 16, 16, 8, 8))


every_network = pytest.mark.parametrize(
    "make", [tiny_unet, tiny_resunet, tiny_segnet, tiny_resnet_decoder], ids=lambda make: make.__name__[5:]
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("make", "parameters"),
    [(UNet, 31_099_970), (SegNet, 29_435_074), (ResNetDecoder, 23_556_865), (ResUNet, 1_986_817)],
)
def test_parameters_of_the_studies_networks(make: Make, parameters: int) -> None:
    with torch.device("meta"):
        net = make()
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_resnet_decoder_holds_all_convolutions_of_resnet34() -> None:
    """The 33 that count for its name and 3 that project; torchvision's parameters less the classifier's."""
    encoder = ResNetDecoder().encoder
    assert sum(isinstance(module, nn.Conv2d) for module in encoder.modules()) == 36
    assert sum(p.numel() for p in encoder.parameters()) == 21_797_672 - 513 * 1000


def test_segnet_encoder_is_vgg16() -> None:
    """13 convolutions, of the widths of Simonyan & Zisserman's configuration D; as many in the decoder."""
    with torch.device("meta"):
        net = SegNet(in_channels=3)
    widths = [m.out_channels for m in net.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    back = [m.out_channels for m in net.decoder.modules() if isinstance(m, nn.Conv2d)]
    assert [*back, net.head.out_channels] == [512, 512, 512, 512, 512, 256, 256, 256, 128, 128, 64, 64, 2]


@every_network
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 2), (10, 2)])
def test_logits_have_the_size_of_the_image(make: Make, in_channels: int, out_channels: int) -> None:
    net = make(in_channels, out_channels)
    assert net.stride == 32
    assert net(torch.rand(2, in_channels, 32, 64)).shape == (2, out_channels, 32, 64)


@every_network
def test_every_parameter_has_a_gradient(make: Make) -> None:
    net = make()
    net(torch.rand(4, 1, 64, 64)).square().sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@every_network
@pytest.mark.parametrize("size", [(63, 64), (64, 80), (16, 16), (0, 32)])
def test_size_that_does_not_divide_is_refused(make: Make, size: tuple[int, int]) -> None:
    with pytest.raises(BirdlabError, match=rf"{size[0]} x {size[1]}.* 32; set data.image_size"):
        make()(torch.rand(1, 1, *size))


@every_network
def test_wrong_channels_are_refused(make: Make) -> None:
    with pytest.raises(BirdlabError, match=r"takes 1 channel.* has 3; set data.channels"):
        make()(torch.rand(1, 3, 32, 32))
    with pytest.raises(BirdlabError, match=r"\[B, C, F, T\], not \[1, 32, 32\]"):
        make()(torch.rand(1, 32, 32))


@every_network
def test_same_seed_same_training_step_in_float64(make: Make) -> None:
    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(3)
        net = make().double()
        net(torch.rand(4, 1, 32, 64, dtype=torch.float64)).square().mean().backward()
        return [p.grad for p in net.parameters() if p.grad is not None]

    first, second = gradients(), gradients()
    assert first
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@every_network
def test_channels_last_computes_the_same(make: Make) -> None:
    net = make(3).double().eval()
    image = torch.rand(2, 3, 32, 64, dtype=torch.float64)
    expected = net(image)
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(image.contiguous(memory_format=torch.channels_last)), expected)


@every_network
def test_trains_in_half_precision(make: Make) -> None:
    net = make()
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(torch.rand(2, 1, 64, 64))
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("make", "settings", "key"),
    [
        (UNet, {"widths": (16,)}, "widths"),
        (UNet, {"widths": (4, 0)}, "widths"),
        (UNet, {"widths": (4, 8), "dropout": 1.0}, "dropout"),
        (SegNet, {"out_channels": 0}, "widths"),
        (SegNet, {"widths": (4, 8), "convolutions": (2,)}, "convolutions"),
        (SegNet, {"widths": (4, 8), "convolutions": (2, 0)}, "convolutions"),
        (ResNetDecoder, {"widths": (16, 8)}, "widths"),
    ],
)
def test_impossible_settings_are_refused(make: Make, settings: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=rf"{make.__name__ if key != 'dropout' else ''}.*set model\.{key}"):
        make(**settings)


def test_dropout_acts_before_every_decoder_block_or_the_first_only() -> None:
    calls = {True: 0, False: 0}
    for everywhere in calls:
        net = UNet(widths=(4, 8, 16), decoder_dropout=everywhere)

        def count(*_: object, everywhere: bool = everywhere) -> None:
            calls[everywhere] += 1

        net.dropout.register_forward_hook(count)
        net(torch.rand(2, 1, 8, 8))
    assert calls == {True: 2, False: 1}


def test_segnet_puts_features_back_where_they_were_found() -> None:
    """With nothing between poolings and unpoolings, the image's maxima come back in their places."""
    net = SegNet(out_channels=1, widths=(1, 1), convolutions=(1, 1))
    for stage in (*net.encoder, *net.decoder):
        for place in range(len(stage)):
            stage[place] = nn.Identity()
    net.head = nn.Identity()
    image = torch.rand(1, 1, 8, 8)
    expected = torch.zeros_like(image)
    for row in (0, 4):
        for column in (0, 4):
            block = image[0, 0, row : row + 4, column : column + 4]
            r, c = divmod(int(block.argmax()), 4)
            expected[0, 0, row + r, column + c] = block.max()
    assert torch.equal(net(image), expected)


@pytest.mark.slow
@every_network
def test_learns_eight_images_by_heart(make: Make) -> None:
    images = torch.rand(8, 1, 64, 64)
    truth = torch.zeros(8, 64, 64)
    for i in range(8):
        truth[i, 4 + 6 * i : 12 + 6 * i, 8 : 24 + 4 * i] = 1
    images[:, 0] = 0.5 * images[:, 0] + 0.5 * truth
    net = make()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    rate = 0.003 if make is tiny_resnet_decoder else 0.01
    steps = 150
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(net(images)[:, 0], truth).backward()
        optimizer.step()
        schedule.step()
    net.eval()
    predicted, true = net(images)[:, 0] > 0, truth > 0
    iou = (predicted & true).sum() / (predicted | true).sum()
    assert iou > 0.95
