"""Everything that the client raises."""

from typing import Any

from harmonicdet.client.shapes import (
    ComparisonDetailView,
    DatasetView,
    EvaluationDetailView,
    JobView,
    Problem,
    ProblemError,
    SearchDetailView,
)


class HarmonicDetError(Exception):
    """Whatever the client raises is one of these."""


class ConnectionFailed(HarmonicDetError):
    """Nobody answers at the address, or the connection broke, after all retries."""


class WaitTimedOut(HarmonicDetError):
    """It has not ended in the time that was given for waiting; it goes on."""


class DownloadCorrupt(HarmonicDetError):
    """What has arrived is not the file that the service has, by its SHA-256."""


class MissingPackage(HarmonicDetError, ImportError):
    """Something was asked for that needs a package which is not installed."""


class StatusError(HarmonicDetError):
    """The service refused, and said why: a problem of RFC 9457."""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        self.problem = problem
        self.status = int(problem.status or 0)
        self.code = problem.code
        """Stable name of the problem."""
        self.detail = problem.detail
        self.errors: list[ProblemError] = problem.errors or []
        """Each thing wrong with the request, with a JSON Pointer to it."""
        self.request_id = problem.request_id
        """By which the service's log knows the request."""
        self.hint: str | None = problem.raw.get("hint")
        self.retry_after = retry_after
        """Seconds that the service asks to wait."""
        super().__init__(_told(self))


def _told(error: StatusError) -> str:
    lines = [f"{error.detail} ({error.status} {error.code})"]
    said = [f"{one.pointer}: {one.detail}" for one in error.errors]
    if len(said) > 1 or (said and said[0] not in error.detail):
        lines += [f"  {one}" for one in said]
    if error.hint:
        lines.append(f"  {error.hint}")
    if error.status >= 500 and error.request_id:
        lines.append(f"  request {error.request_id}")
    return "\n".join(lines)


class Invalid(StatusError):
    """The request is not right (400, 422); `errors` says where."""


class AuthenticationFailed(StatusError):
    """The service wants a key, or does not know this one (401)."""


class PermissionMissing(StatusError):
    """The key is not for this (403)."""


class NotFound(StatusError):
    """There is no such thing, or it belongs to another project (404)."""


class Conflict(StatusError):
    """Not possible as things are (409, 412)."""


class TooLarge(StatusError):
    """More than the service takes at once (413)."""


class RateLimited(StatusError):
    """Too many requests (429), after all retries."""


class ServiceFailed(StatusError):
    """Something went wrong in the service, or it is not ready (5xx), after all retries."""


_BY_STATUS: dict[int, type[StatusError]] = {
    400: Invalid,
    401: AuthenticationFailed,
    403: PermissionMissing,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    413: TooLarge,
    422: Invalid,
    429: RateLimited,
}


def refused(
    status: int, body: dict[str, Any] | None, text: str, retry_after: float | None = None
) -> StatusError:
    """The error for an answer; `body` is its problem, or None when a proxy or another program answered."""
    told = body if body is not None and isinstance(body.get("code"), str) else None
    problem = Problem(
        told
        or {
            "title": "",
            "status": status,
            "code": f"http_{status}",
            "detail": f"The answer is no problem of HarmonicDet: {text[:200].strip() or 'it is empty'}",
        }
    )
    kind = _BY_STATUS.get(status, ServiceFailed if status >= 500 else StatusError)
    return kind(problem, retry_after)


class _Failed(HarmonicDetError):
    """Something that was waited for has ended badly."""

    def __init__(self, what: str, reason: str | None, error: Any) -> None:
        self.code: str | None = error.code if error is not None else reason
        self.detail: str | None = error.detail if error is not None else None
        self.hint: str | None = error.hint if error is not None else None
        self.log_tail: str | None = error.log_tail if error is not None else None
        self.errors: list[ProblemError] = (error.errors or []) if error is not None else []
        told = self.detail or (f"({reason})" if reason else "")
        super().__init__(" ".join(part for part in (f"{what}:" if told else what, told, self.hint) if part))


class JobFailed(_Failed):
    """The job has failed or was cancelled; `log_tail` has the end of its log."""

    def __init__(self, job: JobView) -> None:
        self.job = job
        super().__init__(f"{job.id} {job.status}", job.status_reason, job.error)


class DatasetInvalid(_Failed):
    """The dataset cannot be used; `client.datasets.report(error.dataset)` has every finding."""

    def __init__(self, dataset: DatasetView) -> None:
        self.dataset = dataset
        super().__init__(f"{dataset.id} is invalid", None, dataset.error)


class ComparisonFailed(_Failed):
    """The comparison has failed or was cancelled."""

    def __init__(self, comparison: ComparisonDetailView) -> None:
        self.comparison = comparison
        super().__init__(f"{comparison.id} {comparison.status}", None, comparison.error)


class SearchFailed(_Failed):
    """The search has failed or was cancelled, or has no model yet; `errors` says why each trial failed."""

    def __init__(self, search: SearchDetailView) -> None:
        self.search = search
        super().__init__(f"{search.id} {search.status}", None, search.error)


class EvaluationFailed(_Failed):
    """The evaluation has failed or was cancelled; of uploaded detections `errors` names each fault."""

    def __init__(self, evaluation: EvaluationDetailView) -> None:
        self.evaluation = evaluation
        super().__init__(f"{evaluation.id} {evaluation.status}", evaluation.status_reason, evaluation.error)
