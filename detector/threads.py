"""How torch's threads wait for each other. Imports nothing: it must run before torch does."""

import os

_SPINS = "1000"  # some microseconds


def wait_briefly() -> None:
    """Let OpenMP's threads spin for a moment when they wait, then sleep; the environment may say otherwise.

    By default they spin for milliseconds, and beside other work a thread then spins through the time that the
    one it waits for would need. Figures: docs/decisions/0027.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
