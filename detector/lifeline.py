"""A supervised process does not outlive its supervisor, however that ends."""

import contextlib
import ctypes
import os
import signal
import sys
import threading

from detector.events import EXIT_FAILED

_PR_SET_PDEATHSIG = 1


def tie_to_supervisor() -> None:
    """Ends this process at once when standard input, a pipe that the supervisor holds, is closed.

    On Linux the kernel does the same by a signal. Nothing is cleaned up: a new attempt may start right away,
    and checkpoints are whole or absent anyway.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_wait_for_end, name="lifeline", daemon=True).start()


def _wait_for_end() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os._exit(EXIT_FAILED)
