"""From how a detector process ended to what the user reads: a status reason and a problem object."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detector.events import Fault

LOG_TAIL_BYTES = 16 * 1024
_ERROR_LINES = 40

# The closed set of API.md. Any other code of the detector stays in the problem, and is `internal_error` here.
_REASONS = frozenset(
    {
        "dataset_invalid",
        "results_invalid",
        "out_of_memory",
        "non_finite_loss",
        "checkpoint_corrupt",
        "export_mismatch",
        "storage_full",
        "worker_lost",
    }
)

# What a user would look for under another reason's name.
_REASON_OF = {"stalled": "worker_lost", "classes_differ": "dataset_invalid"}

_TITLES = {
    "dataset_invalid": "The dataset cannot be used",
    "results_invalid": "The detections cannot be used",
    "classes_differ": "The dataset has none of the model's classes",
    "evaluation_too_large": "There is more to compare than an evaluation takes",
    "model_invalid": "The model cannot be used",
    "out_of_memory": "Out of memory",
    "non_finite_loss": "The loss is not finite",
    "checkpoint_corrupt": "The checkpoint cannot be used",
    "export_mismatch": "The exported model differs from the trained one",
    "config_invalid": "The training config cannot be used",
    "weights_unavailable": "The initial weights cannot be had",
    "superseded": "The job is of no use any more",
    "comparison_invalid": "The trainings cannot be compared",
    "search_invalid": "The search cannot go on",
    "storage_full": "The worker's disk is full",
    "stalled": "The detector has hung",
    "worker_lost": "The attempt was cut short",
}

_HINTS = {
    "results_invalid": "COCO results are a list of {image_id, category_id, bbox, score} with the dataset's "
    "own ids, as /v1/datasets/{id}/images has them.",
    "out_of_memory": "Lower batch_size or architecture.image_size, or give the worker more memory.",
    "non_finite_loss": "Lower optimizer.lr, lengthen warmup_steps, or set clip_grad_norm.",
    "checkpoint_corrupt": "Start the training again as a new job.",
    "storage_full": "Make room on the worker's disk; the training goes on from its last checkpoint.",
    "stalled": "If single steps may take so long, raise the job's progress_timeout_seconds.",
    "worker_lost": "The training goes on from its last checkpoint; if this repeats, read the last log lines.",
    "internal_error": "The last log lines say more; the whole log is at /v1/jobs/{id}/logs.",
}


class JobFailed(Exception):
    """The job cannot succeed, and trying again would not help."""

    def __init__(self, code: str, detail: str, hint: str | None = None, faults: Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.faults = list(faults)


def status_reason(code: str) -> str:
    """The job's `status_reason` for an error code of the detector."""
    code = _REASON_OF.get(code, code)
    return code if code in _REASONS else "internal_error"


def problem(failure: JobFailed, log: str) -> dict[str, Any]:
    """The problem object (RFC 9457) kept in the row: what, why, what to do, and the last lines of `log`."""
    return {
        "type": "about:blank",
        "title": _TITLES.get(failure.code, "The job failed"),
        "status": None,
        "code": failure.code,
        "detail": failure.detail,
        "hint": failure.hint or _HINTS.get(failure.code, _HINTS["internal_error"]),
        "log_tail": "\n".join(log.splitlines()[-_ERROR_LINES:]),
    } | ({"errors": [one.model_dump() for one in failure.faults]} if failure.faults else {})


def log_tail(log: Path, limit: int = LOG_TAIL_BYTES) -> str:
    """The last whole lines of a log file, at most `limit` bytes together; NUL and broken UTF-8 replaced."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - limit))
            data = file.read()
    except FileNotFoundError:
        return ""
    if size > limit:
        data = data[data.find(b"\n") + 1 :]
    return data.decode("utf-8", "replace").replace("\0", "�")
