"""What an image classifier is shown of a stack, in each of the five ways."""

import pytest
import torch
from torch import Tensor, nn

from birdlab.errors import BirdlabError
from birdlab.models.encoding import (
    Encoding,
    OneLong,
    OverlappingVoting,
    SegmentVoting,
    Shuffled,
    channels,
    encoded,
)


class Seen(nn.Module):
    """Keeps what it is shown; its logits are the mean and the maximum of each image."""

    image: Tensor

    def forward(self, image: Tensor) -> Tensor:
        self.image = image
        return torch.stack([image.mean(dim=(1, 2, 3)), image.amax(dim=(1, 2, 3))], dim=1)


@pytest.fixture
def stack() -> Tensor:
    return torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))


def test_one_long_spectrogram_has_the_segments_one_after_the_other(stack: Tensor) -> None:
    seen = Seen()
    OneLong(seen)(stack)
    assert seen.image.shape == (3, 1, 5, 24)
    for segment in range(4):
        assert torch.equal(seen.image[:, 0, :, 6 * segment : 6 * segment + 6], stack[:, segment])


def test_voting_is_the_mean_of_the_segments_logits(stack: Tensor) -> None:
    seen = Seen()
    logits = SegmentVoting(seen)(stack)
    assert seen.image.shape == (12, 1, 5, 6)
    expected = torch.stack([stack.mean(dim=(2, 3)), stack.amax(dim=(2, 3))], dim=-1).mean(dim=1)
    torch.testing.assert_close(logits, expected)


def test_overlapping_windows_are_each_segment_and_the_next(stack: Tensor) -> None:
    seen = Seen()
    logits = OverlappingVoting(seen)(stack)
    assert seen.image.shape == (9, 1, 5, 12)
    windows = seen.image.reshape(3, 3, 5, 12)
    for window in range(3):
        assert torch.equal(windows[:, window], torch.cat([stack[:, window], stack[:, window + 1]], dim=-1))
    torch.testing.assert_close(logits[:, 1], windows.amax(dim=(2, 3)).mean(dim=1))


def test_training_draws_windows_anew_and_evaluation_takes_all(stack: Tensor) -> None:
    seen = Seen()
    net = OverlappingVoting(seen, drawn=2)
    every = {float(window.sum()) for window in net.windows(stack).flatten(0, 1)}
    torch.manual_seed(0)
    drawn = []
    for _ in range(8):
        assert net(stack).shape == (3, 2)
        sums = [float(window.sum()) for window in seen.image]
        assert len(set(sums)) == 6  # two of each recording, none twice
        assert set(sums) <= every
        drawn.append(tuple(sums))
    assert len(set(drawn)) > 1
    net.eval()(stack)
    assert len(seen.image) == 9


@pytest.mark.parametrize(("encoding", "windows"), [("voting", 0), ("stacked", 2), ("long", 1)])
def test_windows_are_drawn_where_windows_vote(encoding: Encoding, windows: int) -> None:
    with pytest.raises(BirdlabError, match=rf"model\.training_windows={windows}"):
        encoded(Seen(), encoding, windows)


def test_shuffled_segments_are_the_same_ones_in_an_order_of_the_recording_s_own(stack: Tensor) -> None:
    seen = Seen()
    Shuffled(seen)(stack)
    once = seen.image
    for before, after in zip(stack, once, strict=True):
        assert {float(segment.sum()) for segment in before} == {float(segment.sum()) for segment in after}
    Shuffled(seen)(stack[:, [2, 0, 3, 1]])
    assert torch.equal(seen.image, once)  # so the order in time says nothing
    Shuffled(seen)(stack[1:2])
    assert torch.equal(seen.image, once[1:2])  # nor does the batch


def test_all_orders_are_drawn_alike() -> None:
    seen = Seen()
    stack = torch.randn(3000, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    Shuffled(seen)(stack)
    places = [(seen.image[:, new] == stack[:, old]).all(dim=(1, 2)) for new in range(3) for old in range(3)]
    shares = torch.stack(places).double().mean(dim=1)
    assert shares.sum() == pytest.approx(3)
    assert shares.sub(1 / 3).abs().max() < 0.04  # 4.6 standard deviations


def test_stacked_is_the_network_itself_and_other_words_are_refused() -> None:
    net = Seen()
    assert encoded(net, "stacked") is net
    ways = ("stacked", "shuffled", "voting", "overlapping", "long")
    assert [channels(how, 10) for how in ways] == [10, 10, 1, 1, 1]  # type: ignore[arg-type]
    with pytest.raises(BirdlabError, match=r"encoding=piled: give one of stacked, shuffled, voting, overl"):
        channels("piled", 10)  # type: ignore[arg-type]
    with pytest.raises(BirdlabError, match="needs two segments"):
        channels("overlapping", 1)


@pytest.mark.parametrize("how", [Shuffled, SegmentVoting, OneLong])
def test_channels_last_stays_so(how: type[nn.Module], stack: Tensor) -> None:
    seen = Seen()
    logits = how(seen)(stack)
    last = how(seen)(stack.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, logits)
    assert seen.image.is_contiguous(memory_format=torch.channels_last)
