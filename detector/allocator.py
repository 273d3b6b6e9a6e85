"""What becomes of memory that a training step frees."""

import ctypes
import sys

# Names of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """From now on this process keeps what it frees, and uses it again; whether the C library can do so.

    glibc gives each large tensor pages of its own, and gives them back with it, so that the kernel clears the
    same hundreds of megabytes again at every step. What the process has at most is the same. Figures:
    docs/decisions/0027.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # not glibc
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
