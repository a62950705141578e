"""Work for several processes, and nothing left running when the first one ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait

import cv2
import torch

from birdlab.ahead import Item, Result, ahead
from birdlab.errors import BirdlabError


def mapped(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, doing: str
) -> Iterator[Result]:
    """``map(function, items)`` in several processes, in order, a few items ahead of whoever takes them.

    Args:
        function: importable by name, or a ``functools.partial`` of such.
        items: its arguments; they travel by pickling.
        workers: processes; below 2 everything happens in this one.
        doing: what the processes do, for the message if one dies.

    Raises:
        BirdlabError: if a process dies.
    """
    if workers < 2:
        yield from map(function, items)
        return
    # "spawn": a forked child would inherit held locks, among them those of torch's threads.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield from ahead(pool, function, items, 2 * workers)
    except BrokenProcessPool as error:
        raise BirdlabError(
            f"A process that was {doing} died, perhaps for want of memory: close other programs and start "
            "again. In a script of your own, put the call below `if __name__ == '__main__':`."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """No threads of torch or OpenCV meanwhile: their number would show in the last bit of sums.

    torch counts for each thread that calls, OpenCV for the whole process: the last one out restores it.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    _without_cv2_threads.enter()
    try:
        yield
    finally:
        _without_cv2_threads.leave()
        torch.set_num_threads(threads)


class _WithoutCv2Threads:
    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 0

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(0)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            # Asked for one, OpenCV ends its others, and waits for ever in a forked process that lacks them.
            if self._inside == 0 and self._before > 1:
                cv2.setNumThreads(self._before)


_without_cv2_threads = _WithoutCv2Threads()


def follow_parent() -> None:
    """In a process of `multiprocessing`: end with the one that started it, even if that one is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _start_worker() -> None:
    """One thread per process, and no process that outlives the one that asked for it."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # Ctrl-C reaches the whole process group; the parent shuts the pool down.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent()
