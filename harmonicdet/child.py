"""Runs a module as a part of the embedded service: `python -m harmonicdet.child MODULE ARGUMENTS...`.

Its stdin is a pipe that only the parent holds. When the parent dies, however it dies, the pipe closes and the
part ends as if it had been sent SIGTERM, or, should that not work, at once.
"""

import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 15.0


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
