"""The detector as a child process: its own session, its end tied to ours, its output in a log file."""

import contextlib
import os
import signal
import subprocess
import threading
from pathlib import Path

# The trainer knows nothing of rows and queues, so it is not handed their passwords either.
_KEPT_FROM_CHILD = (
    *("HARMONICDET_DATABASE_URL", "HARMONICDET_BROKER_URL", "HARMONICDET_BLOBS", "HARMONICDET_SECRETS_DIR"),
    *("HARMONICDET_DATABASE_PASSWORD", "HARMONICDET_BROKER_PASSWORD", "HARMONICDET_SECRET"),
    *("HARMONICDET_S3_ACCESS_KEY_ID", "HARMONICDET_S3_SECRET_ACCESS_KEY"),
    *("HARMONICDET_S3_ACCESS_KEY_ID", "HARMONICDET_S3_SECRET_ACCESS_KEY"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)


class Child:
    """A running detector process and its process group.

    Its stdin is a pipe that only we hold: when this process dies, however it dies, the pipe closes and the
    child (started with `--supervised`) exits. When this process is frozen, the child ends by itself at the
    time last given to `may_live_until`.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in _KEPT_FROM_CHILD}
        environment["PYTHONUNBUFFERED"] = "1"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
        self._lock = threading.Lock()
        self._swept = False
        self.killed = False  # by us

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs. After its end its group is gone too."""
        with self._lock:
            code = self._process.poll()
            if code is not None and not self._swept:
                self._signal_group(signal.SIGKILL)  # whatever it had started itself
                if self._process.stdin is not None:
                    with contextlib.suppress(OSError):
                        self._process.stdin.close()
                self._swept = True
            return code

    def may_live_until(self, deadline: float) -> None:
        """Tells the child the monotonic time at which it ends by itself unless it hears a later one."""
        with self._lock, contextlib.suppress(OSError, ValueError):  # it has ended, or reads nothing
            if self._process.stdin is not None:
                os.write(self._process.stdin.fileno(), b"%.3f\n" % deadline)

    def terminate(self) -> None:
        """Asks the trainer to write a checkpoint and exit."""
        self._tell(signal.SIGTERM)

    def finish(self) -> None:
        """Asks the trainer to train no further, but to evaluate and export what it has.

        Only for a trainer that has told an event: before that the signal would end it.
        """
        self._tell(signal.SIGUSR1)

    def kill(self) -> None:
        """Kills the whole process group, at once. Safe from any thread and after the end."""
        with self._lock:
            if self._process.returncode is None:
                self.killed = True
                self._signal_group(signal.SIGKILL)

    def reap(self) -> int:
        """Kills what is left and waits for it."""
        self.kill()
        code = self._process.wait()
        self.poll()
        return code

    def _tell(self, number: signal.Signals) -> None:
        with self._lock:
            if self._process.returncode is None:
                self._process.send_signal(number)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
