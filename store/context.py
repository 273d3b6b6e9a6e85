"""What is being worked on: ids that every line of a log carries, and that a new job remembers.

Set where work begins (a request, an attempt of a job), found by whatever is called from there; a thread of
its own has to be started with a copy of it.
"""

from contextvars import ContextVar
from typing import NamedTuple


class Attempt(NamedTuple):
    """One attempt of one job."""

    job_id: str
    number: int


request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The request that is answered, or that asked for the job at hand."""
traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The span at hand, as W3C Trace Context writes it; None where nothing is traced."""
attempt: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


def fields() -> dict[str, str | int]:
    """What is known, by the names under which logs have it."""
    found: dict[str, str | int] = {}
    if (request := request_id.get()) is not None:
        found["request_id"] = request
    if (job := attempt.get()) is not None:
        found |= {"job_id": job.job_id, "attempt": job.number}
    return found
