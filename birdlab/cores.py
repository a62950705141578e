"""The processor's cores; without torch, as prediction from a file does without it."""

import os


def usable_cores() -> list[int]:
    """The cores that this process may use; empty where the system doesn't say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def cpu_count() -> int:
    """Processors that this process may use, which in a container or a job are fewer than there are."""
    return len(usable_cores()) or os.cpu_count() or 1
