"""The choice of precision: a pure function of the times, and a probe that leaves no trace."""

import copy
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from birdlab import precision
from birdlab.precision import (
    Choice,
    Setting,
    available,
    choose,
    keep_depthwise_exact,
    simplest_of_the_fast,
)

PLAIN = Setting("32-true", "contiguous")
LAST = Setting("32-true", "channels_last")
HALF = Setting("bf16-mixed", "contiguous")
HALF_LAST = Setting("bf16-mixed", "channels_last")


@pytest.fixture(autouse=True)
def _both_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "available", lambda device: ("32-true", "bf16-mixed"))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 1, 1))


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 1, 8, 8)


def clock_of(monkeypatch: pytest.MonkeyPatch, seconds: dict[Setting, list[float]]) -> Callable[[], float]:
    """A clock that only training steps advance, by the given seconds in each round."""
    now = 0.0
    steps: dict[Setting, Iterator[float]] = {setting: iter(taken) for setting, taken in seconds.items()}

    def step(net: nn.Module, image: torch.Tensor, setting: Setting) -> None:
        nonlocal now
        now += next(steps[setting])

    monkeypatch.setattr(precision, "_step", step)
    return lambda: now


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((1.00, 0.96, 0.96, 0.96), PLAIN),  # 4 % is not worth leaving float32 and plain memory
        ((1.00, 0.90, 0.87, 0.87), LAST),  # within 5 % of the fastest, and still float32
        ((1.00, 0.60, 0.50, 0.49), HALF),
        ((1.00, 0.60, 0.50, 0.30), HALF_LAST),
        ((0.30, 0.60, 0.50, 1.00), PLAIN),
    ],
)
def test_simplest_setting_within_five_percent(times: tuple[float, ...], expected: Setting) -> None:
    settings = (PLAIN, LAST, HALF, HALF_LAST)
    assert simplest_of_the_fast(dict(zip(settings, times, strict=True))) == expected


def test_warming_up_does_not_count(
    net: nn.Module, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = clock_of(
        monkeypatch,
        {
            PLAIN: [0.3] * 5,
            LAST: [0.2] * 5,
            HALF: [0.9, 0.12, 0.1, 0.12, 0.12],
            HALF_LAST: [0.11, 0.11, 0.5, 0.11, 0.11],
        },
    )
    choice = choose(net, image, clock=clock)
    assert (choice.precision, choice.memory_format) == HALF
    assert choice.seconds == pytest.approx({PLAIN: 0.3, LAST: 0.2, HALF: 0.1, HALF_LAST: 0.11})
    assert str(choice).startswith(
        "trainer.precision=bf16-mixed memory_format=contiguous (ms per step: 32-true"
    )


def test_slow_steps_are_tried_once(
    net: nn.Module, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = clock_of(monkeypatch, {PLAIN: [9.0], LAST: [8.0], HALF: [40.0], HALF_LAST: [41.0]})
    choice = choose(net, image, clock=clock)
    assert (choice.precision, choice.memory_format) == LAST
    assert clock() == 98.0


def test_pinned_settings_are_not_tried(
    net: nn.Module, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = clock_of(monkeypatch, {PLAIN: [0.3] * 5, LAST: [0.2] * 5})
    choice = choose(net, image, precision="32-true", clock=clock)
    assert (choice.precision, choice.memory_format) == LAST
    assert set(choice.seconds) == {PLAIN, LAST}
    pinned = choose(net, image, precision="bf16-mixed", memory_format="contiguous", clock=clock)
    assert pinned == Choice("bf16-mixed", "contiguous", {})
    assert str(pinned) == "trainer.precision=bf16-mixed memory_format=contiguous"


def test_probe_leaves_no_trace(net: nn.Module, image: torch.Tensor) -> None:
    net.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    strides = [p.stride() for p in net.parameters()]
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    choice = choose(net, image)
    assert torch.equal(torch.rand(3), expected)
    assert len(choice.seconds) == 4
    assert all(seconds > 0 for seconds in choice.seconds.values())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [p.stride() for p in net.parameters()] == strides
    assert all(p.grad is None for p in net.parameters())
    assert not net.training


def test_steps_run_in_the_setting_they_are_named_after(image: torch.Tensor) -> None:
    seen = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.conv(x)
            last = x.is_contiguous(memory_format=torch.channels_last)
            seen.append(
                Setting(
                    "bf16-mixed" if y.dtype is torch.bfloat16 else "32-true",
                    "channels_last" if last else "contiguous",
                )
            )
            return y

    choice = choose(Spy(), image.repeat(1, 2, 1, 1))
    assert list(choice.seconds) == seen[:4] == [PLAIN, LAST, HALF, HALF_LAST]


def test_float32_comes_first_everywhere() -> None:
    assert available(torch.device("cpu"))[0] == "32-true"
    assert available(torch.device("mps")) == ("32-true",)


@pytest.mark.parametrize(
    "copied", [lambda net: net, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_depthwise_convolutions_stay_in_float32(copied: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    net: nn.Module = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=2)
    )
    image = torch.rand(2, 3, 6, 6)
    plain = net(image)
    keep_depthwise_exact(net)
    net = copied(net)
    assert torch.equal(net(image), plain)
    pointwise, depthwise, grouped = net.children()
    nn.init.normal_(depthwise.weight)  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = pointwise(image)
        exact = depthwise(mixed)
        last = grouped(exact)
    assert (mixed.dtype, exact.dtype, last.dtype) == (torch.bfloat16, torch.float32, torch.bfloat16)
    filtered = nn.functional.conv2d(mixed.float(), depthwise.weight, depthwise.bias, groups=8)  # type: ignore[arg-type]
    assert torch.equal(exact, filtered)
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]
