"""How torch's threads wait for each other. Imports nothing: it must run before torch does."""

import os


def wait_without_spinning() -> None:
    """Let OpenMP's threads sleep while they wait, unless the environment says otherwise.

    By default they spin, and beside other work a thread then spins through the time that the one it waits
    for would need. Sleeping is a trade: a training alone on its machine loses about a fifth of its speed, one
    on a busy machine gains a multiple. `OMP_WAIT_POLICY=ACTIVE` spins. Figures: docs/decisions/0010.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
