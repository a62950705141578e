"""Work in several processes."""

import multiprocessing
import os
from functools import partial

import cv2
import numpy as np
import pytest

from birdlab.errors import BirdlabError
from birdlab.parallel import mapped, one_thread


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


def test_one_thread_holds_until_the_last_one_is_out() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        inside = cv2.getNumThreads()
        second.__exit__(None, None, None)
        assert (inside, cv2.getNumThreads()) == (1, 4)
    finally:
        cv2.setNumThreads(before)


def _one_thread_in_a_worker() -> None:
    cv2.setNumThreads(0)  # as workers of a data loader begin
    with one_thread():
        pass


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="nothing is forked here")
def test_a_forked_worker_does_not_wait_for_threads_that_it_does_not_have() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.resize(np.zeros((2000, 2000), np.float32), (500, 500))  # starts them in this process
        worker = multiprocessing.get_context("fork").Process(target=_one_thread_in_a_worker)
        worker.start()
        worker.join(60)
        code = worker.exitcode
        worker.kill()
    finally:
        cv2.setNumThreads(before)
    assert code == 0
