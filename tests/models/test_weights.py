"""Weights to start from: the first convolution's arithmetic, and files that don't fit or aren't there."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import ResNet34_Weights, resnet18, resnet34

from birdlab import build, config
from birdlab.errors import BirdlabError
from birdlab.models.resnet_decoder import ResNetDecoder
from birdlab.models.weights import (
    FirstConv,
    adapt_first_conv,
    first_conv_of,
    imagenet_state,
    load_state,
    load_strictly,
    missing_encoder,
)

RGB = torch.tensor([3.0, 6.0, 12.0]).reshape(1, 3, 1, 1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("how", "channels", "expected"),
    [
        ("mean", 1, [7]),
        ("mean", 3, [3, 6, 12]),
        ("mean", 4, [7, 7, 7, 7]),
        ("mean_scaled", 1, [21]),
        ("mean_scaled", 6, [3.5] * 6),
        ("copy", 1, [3]),
        ("copy", 2, [3, 6]),
        ("copy", 3, [3, 6, 12]),
    ],
)
def test_filters_for_other_channels_worked_by_hand(how: str, channels: int, expected: list[float]) -> None:
    assert adapt_first_conv(RGB, channels, how).flatten().tolist() == expected  # type: ignore[arg-type]


def test_copy_fills_up_with_random_filters_of_the_usual_size() -> None:
    weight = torch.randn(64, 3, 7, 7)
    adapted = adapt_first_conv(weight, 10, "copy")
    assert torch.equal(adapted[:, :3], weight)
    assert adapted[:, 3:].std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)
    assert not torch.equal(adapted, adapt_first_conv(weight, 10, "copy"))


@pytest.mark.parametrize("channels", [1, 3, 10])
def test_mean_scaled_keeps_the_response_to_a_grey_image(channels: int) -> None:
    weight = torch.randn(8, 3, 7, 7, dtype=torch.float64)
    grey = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    before = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), weight)
    adapted = adapt_first_conv(weight, channels, "mean_scaled")
    after = nn.functional.conv2d(grey.expand(-1, channels, -1, -1), adapted)
    torch.testing.assert_close(after, before)


def test_unknown_adaptation_is_refused() -> None:
    with pytest.raises(BirdlabError, match=r"model\.first_conv=sum: give one of mean, mean_scaled, copy"):
        ResNetDecoder(first_conv="sum")  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", [torch.ones(64, 3, 7, 7, dtype=torch.int8), torch.ones(64)])
def test_what_are_no_filters_is_listed(broken: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"conv1.weight": broken}, tmp_path / "x.pth")
    with pytest.raises(BirdlabError, match=r"x\.pth holds the weights of another network"):
        ResNetDecoder(in_channels=1, weights=str(tmp_path / "x.pth"))


@pytest.mark.parametrize("content", [None, {1: torch.ones(2)}])
def test_a_file_without_weights_by_name_is_refused(content: object, tmp_path: Path) -> None:
    if content is None:
        (tmp_path / "x.pth").touch()  # a download that was broken off
    else:
        torch.save(content, tmp_path / "x.pth")
    with pytest.raises(BirdlabError, match=r"x\.pth"):
        load_state(tmp_path / "x.pth")


@pytest.fixture(scope="module")
def resnet34_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for torchvision's file: its names and shapes, the classifier included."""
    torch.manual_seed(1)
    file = tmp_path_factory.mktemp("weights") / "resnet34.pth"
    torch.save(resnet34().state_dict(), file)
    return file


def test_encoder_starts_from_a_file_of_torchvisions(resnet34_file: Path) -> None:
    trained = load_state(resnet34_file)
    net = ResNetDecoder(in_channels=1, weights=str(resnet34_file), first_conv="mean")
    own = net.encoder.state_dict()
    torch.testing.assert_close(own["conv1.weight"], trained["conv1.weight"].mean(dim=1, keepdim=True))
    others = trained.keys() - {"conv1.weight", "fc.weight", "fc.bias"}
    assert own.keys() == others | {"conv1.weight"}
    assert all(torch.equal(own[key], trained[key]) for key in others)


def test_safetensors_hold_the_same(resnet34_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "resnet34.safetensors"
    save_file(load_state(resnet34_file), file)
    a, b = (ResNetDecoder(weights=str(path)).encoder for path in (resnet34_file, file))
    assert all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_a_run_hands_over_its_whole_network(tmp_path: Path) -> None:
    trained = ResNetDecoder(in_channels=1)
    state = {f"net.{key}": value for key, value in trained.state_dict().items()}
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("{}")
    torch.save(
        {"state_dict": state | {"threshold": torch.tensor(0.4)}}, tmp_path / "checkpoints" / "best.ckpt"
    )
    for source in (tmp_path, tmp_path / "checkpoints" / "best.ckpt"):
        net = ResNetDecoder(in_channels=1, weights=str(source))
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), trained.parameters(), strict=True))


def test_weights_of_another_architecture_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "resnet18.pth"
    torch.save(resnet18().state_dict(), file)
    with pytest.raises(
        BirdlabError,
        match=r"resnet18\.pth holds .* Missing: layer1\.2\..* and \d+ more; unexpected: fc\.bias",
    ):
        ResNetDecoder(weights=str(file))


@pytest.mark.parametrize(
    ("keys", "unexpected"),
    [
        (
            ["features.0.weight", "features.0.bias", "classifier.6.weight"],
            r"classifier\.6\.weight, features\.0",
        ),
        (  # of which the encoder has a bn1, too
            [
                "conv_stem.weight",
                "bn1.weight",
                "blocks.0.0.bn1.weight",
                "conv_head.weight",
                "classifier.weight",
            ],
            r"blocks\.0\.0\.bn1\.weight, .*conv_stem\.weight",
        ),
    ],
    ids=["VGG", "EfficientNet"],
)
def test_weights_of_other_names_are_listed_as_unexpected(
    keys: list[str], unexpected: str, tmp_path: Path
) -> None:
    torch.save({key: torch.ones(64) for key in keys}, tmp_path / "x.pth")
    with pytest.raises(BirdlabError, match=rf"Missing: .*conv1\.weight.*; unexpected: {unexpected}"):
        ResNetDecoder(weights=str(tmp_path / "x.pth"))


def test_weights_of_a_parallel_network_are_those_of_the_network(resnet34_file: Path, tmp_path: Path) -> None:
    trained = load_state(resnet34_file)
    torch.save({f"module.{key}": value for key, value in trained.items()}, tmp_path / "parallel.pth")
    net = ResNetDecoder(weights=str(tmp_path / "parallel.pth"))
    assert torch.equal(net.encoder.conv1.weight, trained["conv1.weight"])


def test_weights_that_do_not_fit_change_nothing() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = {key: value + 1 for key, value in before.items()}
    wrong = state | {"0.weight": torch.zeros(2, 3, 3, 3), "2.bias": torch.zeros(2)}
    del wrong["1.bias"]
    with pytest.raises(
        BirdlabError,
        match=r"^here .*Missing: 1\.bias; unexpected: 2\.bias; of other shape: "
        r"0\.weight \(2, 3, 3, 3\) for \(2, 1, 3, 3\)\.$",
    ):
        load_strictly(net, wrong, "here")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    del state["1.num_batches_tracked"]
    load_strictly(net, state, "here")
    assert torch.equal(net[1].bias, before["1.bias"] + 1)


def test_files_that_hold_no_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match=r"nowhere\.pth: there is no such file"):
        load_state(tmp_path / "nowhere.pth")
    with pytest.raises(BirdlabError, match=r"no run directory"):
        load_state(tmp_path)
    for name in ("noise.pth", "noise.safetensors"):
        (tmp_path / name).write_bytes(b"noise" * 100)
        with pytest.raises(BirdlabError, match=rf"{name}.* damaged"):
            load_state(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BirdlabError, match=r"list\.pth does not hold the weights"):
        load_state(tmp_path / "list.pth")


class _Program:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("run by a file of weights",)


def test_a_file_of_weights_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": _Program()}, tmp_path / "bad.pth")
    with pytest.raises(BirdlabError, match=r"made to run a program"):
        load_state(tmp_path / "bad.pth")
    assert capsys.readouterr().out == ""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch.hub, without network."""

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "checkpoints" / "resnet34-b627a593.pth"


def test_imagenet_without_network_says_which_file_goes_where(hub: Path) -> None:
    with pytest.raises(BirdlabError) as caught:
        ResNetDecoder(weights="imagenet")
    assert "no network" in str(caught.value)
    assert f"Put https://download.pytorch.org/models/{hub.name} at {hub}" in str(caught.value)


def test_imagenet_weights_put_there_are_taken(hub: Path, resnet34_file: Path) -> None:
    hub.parent.mkdir(exist_ok=True)
    hub.symlink_to(resnet34_file)
    trained = load_state(resnet34_file)
    assert torch.equal(ResNetDecoder(weights="imagenet").encoder.conv1.weight, trained["conv1.weight"])
    hub.unlink()
    hub.write_bytes(b"half a download")
    with pytest.raises(BirdlabError, match=r"b627a593\.pth is damaged"):
        imagenet_state(ResNet34_Weights.IMAGENET1K_V1)


SMALL = ["data.image_size=[32,32]"]


def test_encoder_weights_without_network_say_which_files_go_where(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/nowhere/hub")
    cfg = config.compose(["model=fpn", "model.encoder_weights=imagenet", *SMALL])
    with pytest.raises(BirdlabError) as caught:
        build.build_task(cfg)
    for said in ("model.safetensors", "https://huggingface.co/smp-hub/resnet34.imagenet/tree/", "snapshots"):
        assert said in str(caught.value)


def test_networks_of_segmentation_models_pytorch_start_from_a_file_or_a_whole_network(
    resnet34_file: Path, tmp_path: Path
) -> None:
    cfg = config.compose(["model=fpn", f"model.weights={resnet34_file}", *SMALL])
    trained = load_state(resnet34_file)
    net = build.build_task(cfg).net
    own = net.get_submodule("encoder").state_dict()
    grey = trained["conv1.weight"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(own["conv1.weight"], grey)
    assert torch.equal(own["layer4.2.conv2.weight"], trained["layer4.2.conv2.weight"])
    torch.save({f"net.{key}": value for key, value in net.state_dict().items()}, tmp_path / "fpn.ckpt")
    whole = [f"model.weights={tmp_path / 'fpn.ckpt'}", *SMALL]
    again = build.build_task(config.compose(["model=fpn", *whole])).net
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), net.parameters(), strict=True))
    with pytest.raises(BirdlabError, match=r"fpn\.ckpt holds .*; unexpected: decoder\."):
        build.build_task(config.compose(["model=manet", *whole]))
    with pytest.raises(BirdlabError, match=r"say model\.encoder_weights=imagenet"):
        build.build_task(config.compose(["model=fpn", "model.weights=imagenet", *SMALL]))


@pytest.mark.parametrize("model", ["fpn", "segformer"])
@pytest.mark.parametrize(("how", "channels"), [("mean", 1), ("mean_scaled", 4), ("copy", 2), ("mean", 3)])
def test_imagenet_s_first_filters_are_adapted_as_asked(
    model: str, how: FirstConv, channels: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from segmentation_models_pytorch import encoders

    size = "data.image_size=[64,64]"
    trained = build.build_task(config.compose([f"model={model}", size, "data.channels=3", "seed=7"])).net
    trained = trained.get_submodule("encoder")
    name, conv = first_conv_of(trained)
    save_file(dict(trained.state_dict()), tmp_path / "model.safetensors")
    monkeypatch.setattr(encoders, "hf_hub_download", lambda _, filename, **__: str(tmp_path / filename))
    words = [f"model={model}", "model.encoder_weights=imagenet", f"model.first_conv={how}", size]
    own = build.build_task(config.compose([*words, f"data.channels={channels}"])).net.get_submodule("encoder")
    adapted = own.state_dict()
    assert adapted[f"{name}.weight"].shape[1] == channels
    expected = adapt_first_conv(conv.weight, channels, how)
    torch.testing.assert_close(adapted[f"{name}.weight"], expected)
    others = trained.state_dict().items()
    assert all(torch.equal(adapted[key], value) for key, value in others if key != f"{name}.weight")
    with pytest.raises(BirdlabError, match=r"model\.first_conv=mode: give one of mean, mean_scaled, copy"):
        build.build_task(config.compose([f"model={model}", "model.first_conv=mode", size]))


@pytest.mark.parametrize("model", ["deeplabv3plus", "unetplusplus", "manet", "fpn", "segformer"])
def test_encoders_of_segmentation_models_pytorch_start_from_a_file(model: str, tmp_path: Path) -> None:
    words = [f"model={model}", "data.image_size=[64,64]"]
    encoder = build.build_task(config.compose(words)).net.get_submodule("encoder")
    torch.save(encoder.state_dict(), tmp_path / "encoder.pth")
    started = build.build_task(
        config.compose([*words, "seed=1", f"model.weights={tmp_path / 'encoder.pth'}"])
    )
    own = started.net.get_submodule("encoder").state_dict()
    assert all(torch.equal(own[name], value) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize(
    "words",
    [["unet", "model.widths=[2,2,2]"], ["resunet", "model.widths=[2,4]"], ["segnet"]],
    ids=lambda words: words[0],
)
def test_networks_without_an_encoder_of_others_start_from_the_whole_network(
    words: list[str], tmp_path: Path
) -> None:
    words = [f"model={words[0]}", *words[1:], *SMALL]
    first = build.build_task(config.compose(words)).net
    torch.save({f"net.{name}": value for name, value in first.state_dict().items()}, tmp_path / "net.ckpt")
    given = [*words, "seed=1", f"model.weights={tmp_path / 'net.ckpt'}"]
    second = build.build_task(config.compose(given)).net
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    with pytest.raises(BirdlabError, match=r"net\.ckpt holds the weights of another network"):
        build.build_task(config.compose([*given, "data.channels=3"]))
    with pytest.raises(BirdlabError, match=r"model\.weights=imagenet: there are none for this network"):
        build.build_task(config.compose([*words, "model.weights=imagenet"]))


def test_so_do_those_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/cache")
    said = missing_encoder("tu-resnet34.a1_in1k", "imagenet")
    assert "'hf download timm/resnet34.a1_in1k'" in said
    assert "models--timm--resnet34.a1_in1k: copy it into /cache." in said
    assert "model.encoder_weights=null" in said
    assert "hf download" not in missing_encoder("tu-nothing_of_timm", "imagenet")


def test_encoder_weights_that_do_not_exist_are_named() -> None:
    cfg = config.compose(["model=fpn", "model.encoder_weights=imagnet", *SMALL])
    with pytest.raises(BirdlabError, match=r"Wrong pretrained weights `imagnet`.*'imagenet'"):
        build.build_task(cfg)


@pytest.mark.parametrize(
    "words",
    [
        ["model=resnet34_decoder", "model.weights=gone.pth"],
        ["model=fpn", "model.encoder_weights=imagenet"],
        ["model=fpn", "model.weights=gone.pth"],
        ["model=unet", "model.widths=[4,8]"],
    ],
)
def test_a_network_for_a_checkpoint_needs_no_other_weights(words: list[str]) -> None:
    cfg = config.compose([*words, *SMALL])
    task = build.build_task(cfg, pretrained=False)
    assert task.settings["model"] == cfg.model  # the record still says what training started from


@pytest.mark.parametrize("model", ["deeplabv3plus", "unetplusplus", "manet", "fpn", "segformer"])
def test_networks_of_segmentation_models_pytorch_keep_to_the_convention(model: str) -> None:
    task = build.build_task(config.compose([f"model={model}", "data.image_size=[64,64]"])).eval()
    with torch.inference_mode():
        assert task.logits(torch.zeros(1, 64, 96, dtype=torch.uint8)).shape == (1, 64, 96)
    with pytest.raises(BirdlabError, match=r"image_size=\[100, 64\].* divide by (16|32): for instance"):
        build.build_task(config.compose([f"model={model}", "data.image_size=[100,64]"]))
