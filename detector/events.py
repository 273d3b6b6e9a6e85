"""What a detector process tells whoever started it: JSON lines in `events.jsonl` of its run directory.

A run directory is the whole interface between the trainer and its supervisor: the trainer knows nothing of
rows or queues, the supervisor nothing of tensors.

    events.jsonl            one event a line, appended and flushed
    checkpoints/            step-00000120.pt, each written under another name, synced, then renamed
    artifacts/              model.safetensors, model.onnx, model.json, detections.json (train)
                            index.json, report.json (inspect)
                            report.json, detections.json, ground_truth.json, images.jsonl (evaluate)
    result.json             the last thing written; its presence says the run is complete

Exit codes: 0 complete; 1 failed (the last event is `error`); 3 interrupted on request after a checkpoint;
4 no room was left on the disk (not even for an `error` event, it may be); 5 the supervisor has gone, or was
not heard of in time.
"""

import errno
import os
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

EXIT_COMPLETE = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 3
EXIT_STORAGE_FULL = 4
EXIT_ABANDONED = 5

Phase = Literal["preparing", "training", "evaluating", "exporting"]


class Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PhaseEvent(Event):
    """The run has entered a phase."""

    type: Literal["phase"] = "phase"
    phase: Phase


class ProgressEvent(Event):
    """How far the run is. Steps and epochs count from the start of the training, over all attempts.

    The steps of an evaluation are images, and it has no epochs."""

    type: Literal["progress"] = "progress"
    epoch: int | None = None
    epochs: int | None = None
    step: int
    steps: int
    fraction: float
    eta_seconds: float | None = None


class MetricEvent(Event):
    """Numbers of one step (`split` is "train") or of one evaluation (`split` is the split measured)."""

    type: Literal["metric"] = "metric"
    split: str
    step: int
    epoch: float
    values: dict[str, float | None]


class CheckpointEvent(Event):
    """A checkpoint is on disk, whole. `path` is relative to the run directory."""

    type: Literal["checkpoint"] = "checkpoint"
    path: str
    sha256: str
    bytes: int
    step: int
    epoch: float


class NoticeEvent(Event):
    """Something the user should know: early stopping, a warning about the data, memory halved."""

    type: Literal["notice"] = "notice"
    code: str
    message: str


class Fault(BaseModel):
    """One thing wrong with a file that a user gave; `pointer` is a JSON Pointer into it (RFC 6901)."""

    model_config = ConfigDict(frozen=True)

    pointer: str
    code: str
    detail: str


class ErrorEvent(Event):
    """Why the run failed; the data of a `DetectorError`, or code `internal_error`."""

    type: Literal["error"] = "error"
    code: str
    message: str
    hint: str | None = None
    faults: list[Fault] = []


AnyEvent: TypeAlias = Annotated[
    PhaseEvent | ProgressEvent | MetricEvent | CheckpointEvent | NoticeEvent | ErrorEvent,
    Field(discriminator="type"),
]
_adapter: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


class EventWriter:
    """Appends events to `run/events.jsonl`, each line in one write."""

    def __init__(self, run: Path) -> None:
        self._descriptor = os.open(run / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._torn = b""
        self.muted = False

    def write(self, event: AnyEvent) -> None:
        """Raises OSError (ENOSPC) when there is room for a part of it only; readers skip that line."""
        if self.muted:
            return
        line = self._torn + event.model_dump_json().encode() + b"\n"
        if os.write(self._descriptor, line) < len(line):
            self._torn = b"\n"  # the next event begins a line of its own
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn = b""

    def mute(self) -> None:
        """From now on writes nothing: another process of the same run writes."""
        self.muted = True

    def close(self) -> None:
        os.close(self._descriptor)


class EventReader:
    """Reads what has been appended since the last call; keeps half a line for the next one."""

    def __init__(self, run: Path) -> None:
        self._path = run / "events.jsonl"
        self._offset = 0

    def read(self) -> list[AnyEvent]:
        """Every whole event appended since the last call, in order."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self._offset += end
        return [event for line in data[:end].split(b"\n") if (event := _parse(line)) is not None]


def _parse(line: bytes) -> AnyEvent | None:
    """None for no line, and for one that a full disk has cut off: its writer has failed by that."""
    try:
        return _adapter.validate_json(line) if line else None
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            return None
        raise
