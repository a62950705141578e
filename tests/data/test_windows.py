"""Windows cover everything, stay inside, and have one length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from birdlab.data.windows import check_window, window_ids, window_starts
from birdlab.errors import BirdlabError


def test_by_hand() -> None:
    assert window_starts(total=12, window=4, hop=4) == [0, 4, 8]
    assert window_starts(total=13, window=4, hop=4) == [0, 4, 8, 9]
    assert window_starts(total=8, window=4, hop=2) == [0, 2, 4]
    assert window_starts(total=4, window=4, hop=1) == [0]
    assert window_starts(total=1, window=4, hop=4) == [0]


def test_windows_that_begin_in_one_millisecond_have_names_of_their_own() -> None:
    assert window_ids("a", [0.0, 57.0, 57.0003]) == ["a@0.000000s", "a@57.000000s", "a@57.000300s"]
    assert window_ids("a", [0.0, 57.0, 57.001]) == ["a@0.000s", "a@57.000s", "a@57.001s"]


@given(total=st.integers(1, 200), window=st.integers(1, 50), data=st.data())
def test_everything_is_covered_once_begun(total: int, window: int, data: st.DataObject) -> None:
    hop = data.draw(st.integers(1, window))
    starts = window_starts(total, window, hop)
    assert starts == sorted(set(starts))
    assert {i for start in starts for i in range(start, start + window)} >= set(range(total))
    assert starts == [0] or starts[-1] + window == total


@pytest.mark.parametrize(
    ("window_s", "hop_s", "key"),
    [(None, 1.0, "window_s"), (0.001, None, "window_s"), (1.0, 2.0, "hop_s"), (1.0, 0, "hop_s")],
)
def test_impossible_windows_are_refused(window_s: float | None, hop_s: float | None, key: str) -> None:
    with pytest.raises(BirdlabError, match=f"data.{key}"):
        check_window(window_s, hop_s, shortest_s=0.004)


def test_possible_windows_are_not() -> None:
    for window_s, hop_s in ((None, None), (3.0, None), (3.0, 1.5), (3.0, 3.0)):
        check_window(window_s, hop_s, shortest_s=0.004)
