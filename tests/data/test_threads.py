import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from birdlab.data.threads import in_spite_of_others


@pytest.fixture
def crowded() -> Iterator[None]:
    """Threads take turns in the middle of everything, so that what may go wrong does."""

    def turn(phase: str, info: dict[str, int]) -> None:
        sum(range(50))

    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(5)
    gc.callbacks.append(turn)
    yield
    gc.callbacks.remove(turn)
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("crowded")
def test_threads_read_headers_at_once(tmp_path: Path) -> None:
    file = tmp_path / "levels.npy"
    np.save(file, np.arange(6).reshape(2, 3))

    def total(depth: int) -> int:  # the deeper, the surer do two threads disagree on the depth
        return total(depth - 1) if depth else int(in_spite_of_others(np.load, file).sum())

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(total, [0, 7, 14, 21] * 100)) == {15}


def test_an_attempt_that_got_in_the_way_is_made_again() -> None:
    attempts = iter([SystemError("AST constructor recursion depth mismatch (before=39, after=36)"), None])

    def read(name: str) -> str:
        if error := next(attempts):
            raise error
        return name

    assert in_spite_of_others(read, "a") == "a"


def test_other_failures_are_failures() -> None:
    calls = []

    def read(name: str) -> None:
        calls.append(name)
        raise SystemError("null argument to internal routine")

    with pytest.raises(SystemError, match="null argument"):
        in_spite_of_others(read, "a")
    assert calls == ["a"]
