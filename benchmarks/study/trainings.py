"""Trainings by `python -m detector train`, each once: what is there is kept, what was interrupted goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from detector.config import TrainConfig
from detector.events import EXIT_INTERRUPTED, ErrorEvent, EventReader
from detector.files import write_json

State: TypeAlias = Literal["trained", "kept", "failed", "interrupted"]
TRAIN = (sys.executable, "-m", "detector", "train", "--supervised")
_HEAVY = ("artifacts/model.onnx", "artifacts/model.safetensors", "artifacts/images.jsonl")


class OtherConfig(Exception):
    """The folder has a training of another config; take another folder for the study."""


@dataclass(frozen=True)
class Training:
    """One of them."""

    run: Path
    data: Path
    """A materialised dataset, or an archive."""
    config: dict[str, Any]
    weights: Path | None = None
    """A backbone's."""

    def prepare(self, *, again: bool = False) -> None:
        """Raises OtherConfig. With `again` a training that has failed begins anew."""
        if again and (self.run / "failed.json").exists():
            shutil.rmtree(self.run)
        written = self.run / "config.json"
        if not written.exists():
            self.run.mkdir(parents=True, exist_ok=True)
            write_json(written, self.config)
        elif _with_new_options(json.loads(written.read_text())) != self.config:
            raise OtherConfig(f"{self.run} has a training of another config; take another folder (--out).")

    @property
    def state(self) -> State | None:
        """`kept` or `failed` where it has ended."""
        if (self.run / "result.json").exists():
            return "kept"
        return "failed" if (self.run / "failed.json").exists() else None


def _with_new_options(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a training that may be older than some options: these are as they were without them."""
    try:
        return TrainConfig.model_validate(config).model_dump(mode="json")
    except ValidationError:
        return config


@dataclass
class Trainer:
    """Runs trainings side by side. Interrupted, it lets each write its checkpoint first."""

    command: Sequence[str] = TRAIN
    parallel: int = 1
    _stopping: threading.Event = field(default_factory=threading.Event)
    _running: set["subprocess.Popen[bytes]"] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, trainings: Sequence[Training]) -> list[State]:
        """In their order; raises KeyboardInterrupt when all that ran have ended."""
        with ThreadPoolExecutor(self.parallel) as threads:
            try:
                waiting = [threads.submit(self._one, one) for one in trainings]
                # A Ctrl-C just before a wait begins is noticed only when it ends, so each is short.
                while wait(waiting, timeout=1).not_done:
                    pass
                return [one.result() for one in waiting]
            except KeyboardInterrupt:
                self.stop()
                raise

    def stop(self) -> None:
        """No further training begins, and those that run are asked to end."""
        self._stopping.set()
        with self._lock:
            for process in self._running:
                process.send_signal(signal.SIGTERM)

    def _threads(self) -> dict[str, str]:
        """Side by side, each has its share of the cores."""
        if self.parallel == 1 or "OMP_NUM_THREADS" in os.environ:
            return {}
        return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.parallel))}

    def _one(self, training: Training) -> State:
        ended = training.state
        if ended is not None:
            return ended
        with self._lock:
            if self._stopping.is_set():
                return "interrupted"
            # The pipe ends the training with this process, and a session of its own keeps Ctrl-C from it:
            # it hears of that once, from `stop`.
            with (training.run / "log.txt").open("ab") as log:
                process = subprocess.Popen(
                    [*self.command, *_arguments(training)],
                    env=os.environ | self._threads(),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._running.add(process)
        _, status, used = os.wait4(process.pid, 0)
        code = process.returncode = os.waitstatus_to_exitcode(status)
        with self._lock:
            self._running.discard(process)
        if process.stdin is not None:
            process.stdin.close()
        _add_cost(training.run, used.ru_utime + used.ru_stime)
        if code == 0:
            _lighten(training.run)
            return "trained"
        if code in (EXIT_INTERRUPTED, -signal.SIGTERM, -signal.SIGKILL) or self._stopping.is_set():
            return "interrupted"
        errors = [one for one in EventReader(training.run).read() if isinstance(one, ErrorEvent)]
        told = errors[-1].model_dump(include={"code", "message"}) if errors else {"code": f"exit code {code}"}
        write_json(training.run / "failed.json", told)
        return "failed"


def _arguments(training: Training) -> list[str]:
    arguments = ["--data", str(training.data), "--run", str(training.run)]
    arguments += ["--config", str(training.run / "config.json")]
    if training.weights is not None:
        arguments += ["--initial-weights", str(training.weights)]
    checkpoints = sorted((training.run / "checkpoints").glob("step-*.pt"))
    return [*arguments, "--resume", str(checkpoints[-1])] if checkpoints else arguments


def _add_cost(run: Path, seconds: float) -> None:
    """CPU seconds over all attempts: the same side by side, and on a machine with other work."""
    path = run / "cost.json"
    before = json.loads(path.read_text())["cpu_seconds"] if path.exists() else 0.0
    write_json(path, {"cpu_seconds": round(before + seconds, 3)})


def _lighten(run: Path) -> None:
    """Leaves what a comparison reads: a study's checkpoints and weights would fill a disk."""
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    for name in _HEAVY:
        (run / name).unlink(missing_ok=True)
