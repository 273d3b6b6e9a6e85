"""`python -m worker.health`: 0 when a worker of this host is alive. The containers' health check."""

import os
import socket
import sys
import threading
import time
from pathlib import Path

BEAT_SECONDS = 5.0
LATE_SECONDS = 30.0


class Pulse:
    """Touches a file every few seconds, for as long as this process gets to run at all."""

    def __init__(self, data: Path, queue: str) -> None:
        self._file = _pulses(data) / f"{socket.gethostname()}-{queue}"
        self._stopped = threading.Event()

    def start(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch()
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._file.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            self._file.touch()


def is_alive(data: Path) -> bool:
    """Whether a worker of this host that keeps its files in `data` has shown its pulse lately."""
    files = _pulses(data).glob(f"{socket.gethostname()}-*")
    return any(time.time() - file.stat().st_mtime < LATE_SECONDS for file in files)


def _pulses(data: Path) -> Path:
    return data / "pulse"


def main() -> int:
    """Reads the environment by itself: a health check every few seconds must not import the whole worker."""
    return 0 if is_alive(Path(os.environ.get("HARMONICDET_DATA") or "data")) else 1


if __name__ == "__main__":
    sys.exit(main())
