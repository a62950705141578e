"""What holds for every process that trains."""

import logging
import os
import threading
import warnings

from birdlab.allocator import keep_freed_memory

ATTACHED = "BIRDLAB_ATTACHED"
"""Set in the environment of a process whose standard input is held open by the one that started it."""


def set_up_process() -> None:
    """Quieter libraries, memory that is kept for the next step, and no run that outlives its sweep."""
    # Lightning's remarks on devices and tips; its warnings stay.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    keep_freed_memory()
    if ATTACHED in os.environ:
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait until the other end of standard input closes: the parent has ended, however that happened."""
    # Not sys.stdin, whose lock would be held when the interpreter shuts down.
    while os.read(0, 1):
        pass
    os._exit(1)
