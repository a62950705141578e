"""Features by frequency: what is pooled, what is taken over, what is refused."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from birdlab.errors import BirdlabError
from birdlab.models.classifier import classifier
from birdlab.models.encoder_unet import EncoderUNet
from birdlab.models.frequency_rows import FrequencyRows, RowFeatures

timm = pytest.importorskip("timm")
NAME = "test_efficientnet"


def network(depths: tuple[int, ...] = (1, 2), *, rows: int = 32, **settings: object) -> FrequencyRows:
    torch.manual_seed(0)
    encoder = partial(timm.create_model, model_name=NAME, features_only=True, out_indices=depths)
    return FrequencyRows(3, encoder, rows, **settings)  # type: ignore[arg-type]


class Seen(nn.Module):
    """In place of an encoder: two resolutions of the image itself."""

    class Info:
        def module_name(self) -> list[str]:
            return ["stem"]

    feature_info = Info()

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Identity()

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image, image[:, :, ::2, ::2]]


def test_time_is_pooled_and_frequency_kept() -> None:
    image = torch.tensor([[[[1.0, 3.0], [5.0, 6.0]]]])
    assert RowFeatures(Seen())(image).tolist() == [[2.0, 5.5, 3.0, 6.0, 1.0, 1.0]]


def test_a_higher_call_is_another_one_and_a_later_call_the_same() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[:, :, 4, 2] = 1
    features = RowFeatures(Seen())
    assert torch.equal(features(image.roll(8, dims=3)), features(image))
    assert not torch.equal(features(image.roll(8, dims=2)), features(image))


def test_stages_behind_the_features_are_cut_off() -> None:
    whole = timm.create_model(NAME, features_only=True)
    net = network((1, 2))
    assert len(net.features.encoder.blocks) < len(whole.blocks)
    image = torch.randn(2, 3, 32, 40)
    expected = whole.eval()
    expected.load_state_dict(net.features.encoder.state_dict(), strict=False)
    for seen, own in zip(expected(image)[1:3], net.features.encoder.eval()(image), strict=True):
        torch.testing.assert_close(own, seen)


def test_any_length_but_the_rows_that_were_asked_for() -> None:
    net = network(rows=48).eval()
    assert net(torch.randn(2, 3, 48, 20)).shape == net(torch.randn(2, 3, 48, 77)).shape == (2, 3)
    with pytest.raises(BirdlabError, match=r"images of 48 rows and got 32; set data\.n_mels"):
        net(torch.randn(2, 3, 32, 48))


@pytest.mark.parametrize("settings", [{"rows": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_settings_that_can_t_be_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(BirdlabError, match=r"model\.build\.rows=.*dropout="):
        network(**settings)  # type: ignore[arg-type]


def test_an_encoder_that_loads_by_itself_is_refused() -> None:
    encoder = partial(timm.create_model, model_name=NAME, features_only=True, pretrained=True)
    with pytest.raises(BirdlabError, match=r"pretrained=True.*model\.weights=FILE"):
        FrequencyRows(3, encoder, 32)


def test_the_encoder_is_taken_over_from_classifiers_and_from_networks_that_mark() -> None:
    torch.manual_seed(1)
    encoder = partial(timm.create_model, model_name=NAME, features_only=True)
    build = partial(FrequencyRows, encoder=encoder, rows=32)
    named = timm.create_model(NAME)
    marks = EncoderUNet(encoder, in_channels=2, widths=(8, 8, 8, 8, 8))
    names = classifier(build, segments=4, classes=9, encoding="voting")
    for trained, there in ((named, named), (marks, marks.encoder), (names, names.net.features.encoder)):
        net = classifier(
            build, 10, 3, encoding="overlapping", weights="imagenet", stem="mean", imagenet=trained.state_dict
        )
        own, state = net.net.features.encoder.state_dict(), there.state_dict()
        assert [key for key in own if not torch.equal(own[key], state[key])] in ([], ["conv_stem.weight"])
    with pytest.raises(BirdlabError, match="another network"):
        classifier(build, 10, 3, weights="imagenet", imagenet=timm.create_model("test_resnet").state_dict)
