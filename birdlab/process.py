"""What holds for every process that trains."""

import gc
import logging
import os
import threading
import warnings

import torch

from birdlab.allocator import keep_freed_memory

ATTACHED = "BIRDLAB_ATTACHED"
"""Set in the environment of a process whose standard input is held open by the one that started it."""


def set_up_process() -> None:
    """Quieter libraries, memory that is kept for the next step, and no run that outlives its sweep."""
    quieten()
    keep_freed_memory()
    if ATTACHED in os.environ:
        threading.Thread(target=_end_with_parent, daemon=True).start()


def quieten() -> None:
    """Leave out Lightning's tips and remarks on devices; its warnings stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # What is logged is of all ranks already.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")


def release_memory() -> None:
    """Give back what a failed job has left; outside of handlers, whose traceback holds on to the network."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _end_with_parent() -> None:
    """Wait until the other end of standard input closes: the parent has ended, however that happened."""
    # Not sys.stdin, whose lock would be held when the interpreter shuts down.
    while os.read(0, 1):
        pass
    os._exit(1)
