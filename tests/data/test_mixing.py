import pytest
import torch

from birdlab.data.mixing import gain_for, loud_box


def test_the_box_holds_what_is_within_20_db():
    call = torch.zeros(6, 8)
    call[2, 3], call[4, 5], call[5, 7] = 1.0, 0.11, 0.09
    assert loud_box(call) == (slice(2, 5), slice(3, 6))


def test_gain_by_hand():
    # In the box of 1 x 2 cells the call's mean power is (4 + 16) / 2 = 10, the background's (9 + 1) / 2 = 5.
    call = torch.tensor([[0.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    background = torch.tensor([[50.0, 3.0, 1.0], [50.0, 50.0, 50.0]])
    assert gain_for(0.0, call, background) == pytest.approx((5 / 10) ** 0.5)
    assert gain_for(20.0, call, background) == pytest.approx(10 * (5 / 10) ** 0.5)
