"""The processor's cores."""

import os

from birdlab.cores import cpu_count


def test_cpu_count_is_what_this_process_may_use() -> None:
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)
