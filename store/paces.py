"""How fast trainings were that have ended, as their rows tell."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.tables import TRAINING_STEPS, Job, JobKind, JobMetric, JobStatus

# Rows are stored about once a second: over less time a pace would be a guess.
SHORTEST_SECONDS = 10.0


@dataclass(frozen=True)
class Finished:
    """A training that has made a model in one attempt, so that nobody waited in between."""

    job_id: str
    config: dict[str, Any]
    seconds: float
    """From its claim to its end."""


@dataclass(frozen=True)
class Pace:
    """What a step took, with its share of evaluations and checkpoints, and all that was before and after."""

    job_id: str
    step_seconds: float
    other_seconds: float


def finished(session: Session, project_id: str, *, limit: int = 100) -> Iterator[Finished]:
    """The project's latest, the newest first."""
    rows = session.execute(
        select(Job.id, Job.resolved_config, Job.started_at, Job.finished_at)
        .where(Job.project_id == project_id, Job.kind == JobKind.TRAIN)
        .where(Job.status == JobStatus.SUCCEEDED, Job.attempt == 1)
        .order_by(Job.id.desc())
        .limit(limit)
    )
    for job_id, config, begun, ended in rows:
        if config is not None and begun is not None and ended is not None:
            yield Finished(job_id, config, (ended - begun).total_seconds())


def paces(session: Session, trainings: Sequence[Finished]) -> list[Pace]:
    """Of those whose steps took long enough to be timed, in their order."""
    rows = session.execute(
        select(
            JobMetric.job_id,
            func.min(JobMetric.step),
            func.max(JobMetric.step),
            func.min(JobMetric.created_at),
            func.max(JobMetric.created_at),
        )
        .where(JobMetric.job_id.in_([one.job_id for one in trainings]), JobMetric.split == TRAINING_STEPS)
        .group_by(JobMetric.job_id)
    )
    timed = {job_id: (first, last, (end - begin).total_seconds()) for job_id, first, last, begin, end in rows}
    found = []
    for one in trainings:
        first, last, seconds = timed.get(one.job_id, (0, 0, 0.0))
        if seconds >= SHORTEST_SECONDS:
            step = seconds / (last - first)
            found.append(Pace(one.job_id, step, max(0.0, one.seconds - step * last)))
    return found
