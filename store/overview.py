"""What a reader of a job wants beside its row: its place in the queue, its model, the head of its metrics.

`store.glance` asks for the same in one statement: what changes here changes there.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import jobs
from store.tables import TRAINING_STEPS, Evaluation, Job, JobKind, JobMetric, JobStatus, Model


class Point(NamedTuple):
    """The metrics of one step; the names are those of `store.tables.JobMetric`."""

    step: int
    epoch: float
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Overview:
    """`best`: the evaluation with the highest AP; `last`: the latest one; `train`: the latest step."""

    queue_position: int | None
    waiting_for: str | None
    model_id: str | None
    evaluation_id: str | None
    best: JobMetric | Point | None
    last: JobMetric | Point | None
    train: JobMetric | Point | None


def overview(session: Session, job: Job) -> Overview:
    """Asks only for what a job in this state can have."""
    trains = job.kind is JobKind.TRAIN
    started = trains and job.attempt > 0
    measured = select(JobMetric).where(JobMetric.job_id == job.id, JobMetric.split != TRAINING_STEPS)
    steps = select(JobMetric).where(JobMetric.job_id == job.id, JobMetric.split == TRAINING_STEPS)
    ap = JobMetric.metrics["AP"].as_float()
    best = measured.order_by(ap.desc().nulls_last(), JobMetric.step, JobMetric.split)
    last = measured.order_by(JobMetric.step.desc(), JobMetric.split.desc())
    return Overview(
        queue_position=jobs.queue_position(session, job),
        waiting_for=jobs.waiting_for(session, job),
        model_id=session.scalar(select(Model.id).where(Model.job_id == job.id))
        if trains and job.status is JobStatus.SUCCEEDED
        else None,
        evaluation_id=session.scalar(select(Evaluation.id).where(Evaluation.job_id == job.id))
        if job.kind is JobKind.EVALUATE or (trains and job.status is JobStatus.SUCCEEDED)
        else None,
        best=session.scalar(best.limit(1)) if started else None,
        last=session.scalar(last.limit(1)) if started else None,
        train=session.scalar(steps.order_by(JobMetric.step.desc()).limit(1)) if started else None,
    )
