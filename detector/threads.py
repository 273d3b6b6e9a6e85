"""How torch's threads wait for each other. Imports nothing: it must run before torch does."""

import os


def wait_without_spinning() -> None:
    """Let OpenMP's threads sleep while they wait, unless the environment says otherwise.

    By default they spin. That gains nothing measurable on an idle machine, and on a busy one (a prediction
    beside a training is enough) a thread spins through the time that the one it waits for would need: on two
    cores with two more processes at work, a training step took 20 s instead of 1.5 s.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
