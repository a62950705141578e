"""Work in several processes."""

import os
from functools import partial

import pytest

from birdlab.errors import BirdlabError
from birdlab.parallel import cpu_count, mapped


def test_results_come_in_order_from_other_processes() -> None:
    codes = [f"({number}, __import__('os').getpid())" for number in range(12)]
    numbers, processes = zip(*mapped(eval, codes, 2, "counting"), strict=True)
    assert numbers == tuple(range(12))
    assert os.getpid() not in processes


def test_one_worker_is_this_process() -> None:
    assert set(mapped(eval, ["__import__('os').getpid()"] * 3, 1, "counting")) == {os.getpid()}


def test_a_process_that_dies_is_reported() -> None:
    with pytest.raises(BirdlabError, match=r"was counting died"):
        list(mapped(os._exit, [3], 2, "counting"))


def test_an_exception_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(mapped(partial(divmod, 1), [0], 2, "counting"))


def test_cpu_count_is_what_this_process_may_use() -> None:
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)
