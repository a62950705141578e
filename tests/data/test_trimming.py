import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from birdlab.data.trimming import centred, fullest, loudest, stretched


@given(st.integers(0, 100), st.integers(1, 100))
def test_the_middle_loses_as_much_at_both_ends(total: int, length: int) -> None:
    first = centred(total, length)
    after = total - first - length
    assert first == 0 if total <= length else abs(first - after) <= 1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 30))
def test_the_fullest_stretch_has_the_largest_sum(profile: list[int], length: int) -> None:
    values = np.array(profile, np.float64)
    first = fullest(values, length)
    assert 0 <= first <= max(0, len(profile) - length)
    sums = [sum(profile[start : start + length]) for start in range(max(1, len(profile) - length + 1))]
    assert sums[first] == max(sums)


def test_steady_noise_does_not_decide() -> None:
    levels = np.full((4, 100), -60, np.float32)
    levels[0] = 0  # an insect all the time
    levels[2, 70:80] = -30
    assert 60 <= loudest(levels, 20) <= 70
    levels[1, 5] = 90  # one knock
    assert 60 <= loudest(levels, 20) <= 70


@pytest.mark.parametrize(("total", "expected"), [(4, [1, 1, 2, 2]), (1, [2]), (2, [1, 2])])
def test_profiles_stretch_over_the_same_time(total: int, expected: list[int]) -> None:
    assert stretched(np.array([1.0, 2.0]), total).tolist() == expected
