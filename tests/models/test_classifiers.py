"""What every network of species keeps to: shapes, gradients, that it learns; and weights to start from."""

from collections import OrderedDict
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18, resnet34

from birdlab import build, config
from birdlab.errors import BirdlabError
from birdlab.models.classifier import classifier, head_of
from birdlab.models.compact_mobilenet import CompactMobileNet
from birdlab.models.resnet_decoder import ResNetDecoder
from birdlab.models.weights import adapt_first_conv, first_conv_of

PARAMETERS = {
    "compact_mobilenet": 187_494,
    "resnet18": 11_201_542,
    "resnet50": 23_542_278,
    "efficientnet_b0": 4_017_250,
    "efficientnet_lite0": 3_380_710,
    "efficientnet_rows": 707_398,
}
SMALL = ("compact_mobilenet", "resnet18")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def net_of(model: str, *words: str, segments: int = 10, classes: int = 6, rows: int = 32) -> nn.Module:
    """Of ``conf/model/NAME.yaml``."""
    of_data = [f"data.segments={segments}", f"data.n_mels={rows}", f"task.classes={classes}"]
    settings = [*of_data, f"model={model}", *words]
    cfg = config.compose(["+experiment=species_comparison", *settings])
    return build._build_net(cfg.model)


every_network = pytest.mark.parametrize("model", PARAMETERS)


@every_network
def test_parameters_are_those_of_the_literature(model: str) -> None:
    with torch.device("meta"):
        net = net_of(model)
    assert sum(weight.numel() for weight in net.parameters()) == PARAMETERS[model]


@every_network
@pytest.mark.parametrize("encoding", ["stacked", "shuffled", "voting", "long"])
def test_logits_for_stacks_of_any_size(model: str, encoding: str) -> None:
    net = net_of(model, f"model.encoding={encoding}", segments=3, classes=5, rows=40).eval()
    with torch.inference_mode():
        assert net(torch.randn(2, 3, 40, 24)).shape == (2, 5)
    wanted = 3 if encoding in ("stacked", "shuffled") else 1
    assert first_conv_of(net)[1].in_channels == wanted
    assert head_of(net).out_features == 5


@every_network
def test_every_parameter_has_a_gradient(model: str) -> None:
    net = net_of(model, segments=2, classes=3, rows=64)
    F.cross_entropy(net(torch.randn(4, 2, 64, 64)), torch.tensor([0, 1, 2, 0])).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("model", SMALL)
def test_same_seed_same_training_step_in_float64(model: str) -> None:
    def gradients() -> list[Tensor]:
        torch.manual_seed(3)
        net = net_of(model, segments=2, classes=3).double()
        net(torch.randn(4, 2, 32, 32, dtype=torch.float64)).square().mean().backward()
        return [p.grad for p in net.parameters() if p.grad is not None]

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


@pytest.mark.slow
@every_network
def test_learns_eight_recordings_by_heart(model: str) -> None:
    net = net_of(model, segments=2, classes=4)
    stack, label = torch.randn(8, 2, 32, 32), torch.arange(8) % 4
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(stack), label)
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert torch.equal(net(stack).argmax(dim=1), label)


@pytest.mark.parametrize("encoding", ["stacked", "voting"])
def test_stacks_of_other_segments_are_refused(encoding: str) -> None:
    net = net_of("compact_mobilenet", f"model.encoding={encoding}")
    with pytest.raises(BirdlabError, match=r"stacks of 10 segments.* got \(2, 6, 32, 32\); set data.seg"):
        net(torch.randn(2, 6, 32, 32))


def test_the_compact_mobilenet_is_the_paper_s() -> None:
    net = CompactMobileNet(6)
    strides = [m.stride for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert [stride[0] for stride in strides] == [1, 2, 1, 2, 1, 1, 2, 1, 1]
    assert [type(layer).__name__ for layer in net.head] == ["AdaptiveAvgPool2d", "Flatten", "Linear"]
    widths = [layer.out_channels for layer in net.features]
    assert widths == [32, 16, 24, 24, 32, 32, 32, 64, 64, 64]


# Weights to start from


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for torchvision's file: its names and shapes, 1000 classes and 3 channels."""
    torch.manual_seed(1)
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18().state_dict(), file)
    return file


@pytest.mark.parametrize("stem", ["mean", "mean_scaled", "copy"])
@pytest.mark.parametrize(("encoding", "channels"), [("stacked", 10), ("long", 1)])
def test_all_but_the_last_layer_is_taken_over(trained: Path, stem: str, encoding: str, channels: int) -> None:
    words = (f"model.weights={trained}", f"model.stem={stem}", f"model.encoding={encoding}")
    own = net_of("resnet18", *words).state_dict()
    own = {key.removeprefix("net."): value for key, value in own.items()}
    state = torch.load(trained, weights_only=True)
    others = state.keys() - {"conv1.weight", "fc.weight", "fc.bias"}
    assert all(torch.equal(own[key], state[key]) for key in others)
    adapted = adapt_first_conv(state["conv1.weight"], channels, stem)  # type: ignore[arg-type]
    kept = slice(0, 3 if stem == "copy" else None)
    assert torch.equal(own["conv1.weight"][:, kept], adapted[:, kept])
    assert own["fc.weight"].shape == (6, 512)


def test_averaged_filters_see_the_mean_of_the_segments_alone(trained: Path) -> None:
    """What the paper's stem starts from: the first layer can't tell segments apart."""
    net = net_of("resnet18", f"model.weights={trained}", "model.stem=mean").eval()
    stack = torch.randn(2, 10, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(net(stack), net(stack.flip(1)), atol=1e-4, rtol=1e-4)
        everywhere = stack.mean(dim=1, keepdim=True).expand(-1, 10, -1, -1)
        torch.testing.assert_close(net(stack), net(everywhere), atol=1e-4, rtol=1e-4)


def test_scaled_filters_answer_a_repeated_segment_as_they_answered_grey(trained: Path) -> None:
    net = net_of("resnet18", f"model.weights={trained}", "model.stem=mean_scaled")
    grey = torch.randn(2, 1, 32, 32)
    before = F.conv2d(grey.expand(-1, 3, -1, -1), torch.load(trained, weights_only=True)["conv1.weight"])
    after = F.conv2d(grey.expand(-1, 10, -1, -1), first_conv_of(net)[1].weight)
    torch.testing.assert_close(after, before)


def test_a_run_of_other_species_and_segments_hands_over_what_fits(tmp_path: Path) -> None:
    """Pretraining on synthetic species: another number of species, voting segments."""
    before = net_of("compact_mobilenet", "model.encoding=voting", segments=4, classes=9)
    save_run(tmp_path, before)
    for source in (tmp_path, tmp_path / "checkpoints" / "best.ckpt"):
        net = net_of("compact_mobilenet", f"model.weights={source}", "model.stem=mean")
        own, state = net.state_dict(), before.net.state_dict()
        same = [key for key in own if torch.equal(own[key], state[key])]
        assert own.keys() - same == {"features.0.0.weight", "head.2.weight", "head.2.bias"}
        expected = state["features.0.0.weight"].expand(-1, 10, -1, -1)
        torch.testing.assert_close(own["features.0.0.weight"], expected)


def test_the_encoder_of_a_segmentation_run_is_a_classifier_s(tmp_path: Path) -> None:
    before = ResNetDecoder(in_channels=1, widths=(8, 8, 8, 4, 4))
    save_run(tmp_path, before)
    net = classifier(resnet34, 10, 6, weights=str(tmp_path), stem="mean")
    own, state = net.state_dict(), before.encoder.state_dict()
    assert own.keys() - state.keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(own[key], state[key]) for key in state if key != "conv1.weight")


def save_run(directory: Path, net: nn.Module) -> None:
    (directory / "checkpoints").mkdir()
    (directory / "config.yaml").write_text("{}")
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state | {"threshold": torch.tensor(0.4)}}, directory / "checkpoints/best.ckpt")


def test_weights_of_another_architecture_are_listed(trained: Path) -> None:
    with pytest.raises(
        BirdlabError,
        match=r"resnet18\.pth .*Missing: features\..* more; unexpected: bn1\.bias, .* more",
    ):
        net_of("compact_mobilenet", f"model.weights={trained}")


def test_imagenet_s_weights_are_asked_for_where_there_are_some() -> None:
    with pytest.raises(BirdlabError, match=r"weights=imagenet: there are none for this network"):
        net_of("compact_mobilenet", "model.weights=imagenet")
    asked = classifier(
        resnet18, 10, 6, weights="imagenet", imagenet=lambda: OrderedDict(resnet18().state_dict())
    )
    assert head_of(asked).out_features == 6


@pytest.mark.parametrize("model", ["resnet18", "resnet50", "efficientnet_b0"])
def test_imagenet_without_network_says_which_file_goes_where(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(BirdlabError, match=rf"Put https://.*/{model}.*\.pth at {tmp_path}.*weights=null"):
        net_of(model, "model.weights=imagenet")


def test_networks_that_can_t_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"classes=None: it comes from the data set"):
        classifier(CompactMobileNet, 10, None)
    with pytest.raises(ValueError, match=r"no convolution that takes an image"):
        classifier(lambda num_classes: nn.Sequential(nn.Linear(3, num_classes)), 10, 6)
    with pytest.raises(ValueError, match=r"no linear layer"):
        head_of(nn.Conv2d(1, 1, 1))


def test_a_network_for_a_checkpoint_needs_no_other_weights() -> None:
    words = ["+experiment=resnet18_pretraining", "model.weights=gone.pth", "task.names=[a,b]"]
    cfg = config.compose([*words, "task.classes=2"])
    task = build.build_task(cfg, pretrained=False)
    assert task.settings["model"]["weights"] == "gone.pth"


def test_a_first_convolution_of_its_own_kind_stays_of_its_kind() -> None:
    """TensorFlow's padding, which EfficientNet-Lite's weights were trained with."""
    name, conv = first_conv_of(net_of("efficientnet_lite0"))
    assert (name, type(conv).__name__, conv.in_channels) == ("conv_stem", "Conv2dSame", 10)


def test_builders_are_called_with_the_number_of_species() -> None:
    net = classifier(partial(CompactMobileNet, stages=((1, 8, 1, 1), (6, 8, 1, 2))), 3, 4)
    assert net(torch.randn(2, 3, 16, 16)).shape == (2, 4)


def test_weights_that_a_library_would_load_by_itself_are_refused() -> None:
    with pytest.raises(
        BirdlabError, match=r"model\.build\.weights=IMAGENET1K_V1: .* set model\.weights=FILE"
    ):
        classifier(partial(resnet18, weights="IMAGENET1K_V1"), segments=2, classes=3)
    with pytest.raises(BirdlabError, match=r"model\.build\.pretrained=True"):
        net_of("efficientnet_lite0", "+model.build.pretrained=true")
