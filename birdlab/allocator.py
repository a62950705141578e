"""Memory that is freed and needed again a moment later stays with the process."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def keep_freed_memory() -> bool:
    """Let glibc reuse freed blocks of any size instead of handing them back to the system.

    By default blocks over 32 MiB are unmapped when freed and mapped anew, zeroed page by page, when asked
    for: the activations of every training step. On a CPU that costs a fifth of a float32 step of the residual
    U-Net; keeping them costs a tenth more memory.

    Returns:
        Whether it took effect; False where the C library is another one, which is no reason to stop.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # The largest block of the main heap, and as much again at its end: 1 and 2 GiB.
    return bool(mallopt and mallopt(M_MMAP_THRESHOLD, 1 << 30) and mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1))
