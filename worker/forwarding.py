"""The detector's log, line by line in the log of its worker, with the ids of the job.

For those who collect the logs of all processes in one place. The file stays as it is: it is for the user.
"""

import logging
from pathlib import Path

log = logging.getLogger("worker.detector")

_MOST_BYTES = 64 << 10  # of one look; a detector that says more than that is not followed
_LONGEST_LINE = 2000


class ForwardedLog:
    """Call `forward` now and then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset: int | None = None

    def begin(self) -> None:
        """What is in the file by now was said before."""
        self._offset = self._size()

    def forward(self, *, last: bool = False) -> None:
        """The whole lines since the last call; the `last` time, half a line too."""
        size = self._size()
        offset = self._offset or 0
        if size - offset > _MOST_BYTES:
            log.warning("%d bytes of the log are left out", size - offset - _MOST_BYTES)
            offset = size - _MOST_BYTES
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                data = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return
        end = len(data) if last else data.rfind(b"\n") + 1
        self._offset = offset + end
        for line in data[:end].decode("utf-8", "replace").splitlines():
            if line.strip():
                log.info("%s", line[:_LONGEST_LINE])

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0
