import pytest
import torch

from birdlab.baselines import EnergyThreshold, hand_coarsened, through_network_size


def energy_db(image: torch.Tensor) -> torch.Tensor:
    """What EnergyThreshold makes of images [B, C, F, T], back in dB above row and column."""
    return 16 * EnergyThreshold()(image).sigmoid()


def test_energy_by_hand():
    # With the floor of 4/255, 36/255 is ten times, 20 dB, above 0, which is off the scale, and 4/255 6.02 dB.
    image = torch.zeros(1, 1, 5, 7)
    image[0, 0, 2, 3], image[0, 0, 1, 5] = 36 / 255, 4 / 255
    expected = torch.zeros(5, 7)
    expected[2, 3], expected[1, 5] = 16, 6.0206
    torch.testing.assert_close(energy_db(image)[0, 0], expected, atol=0.02, rtol=0)


def test_a_steady_row_and_a_broad_column_are_background():
    image = torch.full((1, 3, 9, 11), 2 / 255)
    image[:, :, 4, :] = 200 / 255
    image[:, :, :, 6] = 100 / 255
    above = energy_db(image)[0, 0]
    assert above.shape == (9, 11)
    # Of the column only its median is gone, so what lies in the steady row isn't above it.
    assert float(above.max()) < 0.1


def test_a_call_stands_out_of_both():
    image = torch.full((1, 1, 9, 11), 2 / 255)
    image[..., :, 6] = 20 / 255
    image[..., 3, 6] = 56 / 255
    # (56 + 4) / (20 + 4) is 7.96 dB.
    assert float(energy_db(image)[0, 0, 3, 6]) == pytest.approx(7.96, abs=0.01)


def test_logits_are_finite_and_ordered():
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    image[0], image[1, :, 3, 3] = 0.0, 1.0
    logits = EnergyThreshold()(image)
    assert logits.shape == (2, 1, 16, 16)
    assert logits.isfinite().all()
    assert bool((logits[0] == logits[0, 0, 0, 0]).all())


def test_a_mask_of_the_network_s_own_size_passes():
    mask = (torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) > 0.7).to(torch.uint8)
    assert torch.equal(through_network_size(mask, (16, 16)), mask)


def test_resizing_by_hand():
    # Nearest takes the columns 2, 6, 10 and 14 of 16: the bar keeps one of four, the thin line is lost. Back,
    # the edges between bird and background lie halfway between the centres of the large pixels.
    mask = torch.zeros(4, 16, dtype=torch.uint8)
    mask[:, 5:8] = 1
    mask[:, 13] = 1
    expected = torch.zeros(4, 16, dtype=torch.uint8)
    expected[:, 4:8] = 1
    result = through_network_size(mask, (4, 4))
    assert result.dtype == torch.uint8
    assert torch.equal(result, expected)


def test_empty_and_full_masks_pass():
    for mask in (torch.zeros(40, 60, dtype=torch.uint8), torch.ones(40, 60, dtype=torch.uint8)):
        assert torch.equal(through_network_size(mask, (8, 8)), mask)
        assert torch.equal(hand_coarsened(mask), mask)


def test_hand_coarsened_by_hand():
    mask = torch.zeros(60, 300, dtype=torch.uint8)
    mask[30, 100] = 1
    mask[30, 151] = 1  # 50 columns between the two are filled
    mask[30, 250] = 1  # 98 are not
    coarse = hand_coarsened(mask)
    expected = torch.zeros(60, 300, dtype=torch.uint8)
    expected[28:33, 95:157] = 1
    expected[28:33, 245:256] = 1
    assert torch.equal(coarse, expected)
