import os
import time
from pathlib import Path

from worker import health


def test_a_worker_with_a_pulse_is_alive_until_it_stops(tmp_path: Path) -> None:
    assert not health.is_alive(tmp_path)
    pulse = health.Pulse(tmp_path, "train")
    pulse.start()
    assert health.is_alive(tmp_path)
    pulse.stop()
    assert not health.is_alive(tmp_path)


def test_a_worker_whose_last_pulse_is_old_is_not_alive(tmp_path: Path) -> None:
    pulse = health.Pulse(tmp_path, "train")
    pulse.start()
    (file,) = (tmp_path / "pulse").iterdir()
    old = time.time() - 2 * health.LATE_SECONDS
    os.utime(file, (old, old))
    assert not health.is_alive(tmp_path)
    pulse.stop()
