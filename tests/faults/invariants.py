"""What must be true after a storm, asked of the database, the blobs and the trainers' marks."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from store.tables import (
    FINISHED,
    Artifact,
    Checkpoint,
    Dataset,
    Evaluation,
    Job,
    JobEvent,
    JobKind,
    JobMetric,
    JobStatus,
    Model,
)
from tests.faults.deployments import Deployment
from tests.faults.load import Accepted, Order
from tests.faults.marks import MarksFile, overlaps
from tests.faults.trainer import STEPS_PER_EPOCH, State, states
from worker.curves import NAME as CURVES

TRAINERS_FILES = ("model.safetensors", "model.json")
TERMINAL_EVENTS = {f"job.{status}" for status in FINISHED}


@dataclass
class Findings:
    """For every claim the cases that contradict it, and numbers worth a line in the report."""

    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    numbers: dict[str, Any] = field(default_factory=dict)

    def check(self, claim: str, contradictions: Iterable[str]) -> None:
        self.broken[claim] += contradictions

    @property
    def whole(self) -> bool:
        return not any(self.broken.values())


def examine(
    deployment: Deployment,
    orders: dict[str, Order],
    accepted: Accepted,
    *,
    may_have_failed: Collection[str] = (),
) -> Findings:
    """Reads everything once. The service may be running; the jobs must have ended."""
    found = Findings()
    with deployment.database.read() as session:
        jobs = list(session.scalars(select(Job).where(Job.kind == JobKind.TRAIN).order_by(Job.id)))
        events: dict[str, list[JobEvent]] = defaultdict(list)
        for event in session.scalars(select(JobEvent).order_by(JobEvent.job_id, JobEvent.number)):
            events[event.job_id].append(event)
        metrics: dict[str, list[JobMetric]] = defaultdict(list)
        for metric in session.scalars(select(JobMetric).order_by(JobMetric.job_id, JobMetric.step)):
            metrics[metric.job_id].append(metric)
        checkpoints = list(session.scalars(select(Checkpoint)))
        models = list(session.scalars(select(Model)))
        artifacts = list(session.scalars(select(Artifact)))
        evaluations = list(session.scalars(select(Evaluation)))
        datasets = list(session.scalars(select(Dataset)))
    by_id = {job.id: job for job in jobs}
    by_key = {job.idempotency_key: job for job in jobs}

    found.check("every submission that was acknowledged is a job", _lost(accepted, by_id))
    found.check("no submission became two jobs", _doubled(jobs, accepted, by_key))
    found.check("no submission was refused", accepted.refused)
    found.check(
        "every job has ended",
        (f"{job.id} is {job.status}" for job in jobs if job.status not in FINISHED),
    )
    found.check(
        "no job has failed that was not made to",
        (
            f"{job.id} is {job.status}: {job.status_reason}"
            for job in jobs
            if job.status not in (JobStatus.SUCCEEDED, JobStatus.CANCELLED) and job.id not in may_have_failed
        ),
    )
    found.check("one model and one evaluation for every succeeded job", _models(jobs, models, evaluations))
    found.check("every event in order, under its own attempt, one end", _events(jobs, events))
    found.check(
        "metrics: every step once, with the value of an undisturbed training",
        _steps(jobs, orders, metrics),
    )
    found.check(
        "no stale write: every metric was written by the claim that went on from the checkpoint before it",
        _stale(jobs, events, metrics),
    )
    found.check(
        "every checkpoint is what an undisturbed training has at that step",
        (_checkpoints(deployment, by_id, orders, checkpoints)),
    )
    found.check(
        "every model's files are those of an undisturbed training",
        (_artifacts(deployment, by_id, orders, models, artifacts)),
    )
    blobs = {dataset.archive for dataset in datasets} | {str(dataset.index) for dataset in datasets}
    blobs |= {row.blob for row in checkpoints} | {row.blob for row in artifacts}
    found.check(
        "no blob is missing",
        (f"{key} is not there" for key in sorted(blobs) if not deployment.blobs.exists(key)),
    )
    marks = MarksFile(deployment.marks).read()
    found.check("no two trainers of a job at once", overlaps(marks))

    found.numbers = {
        "jobs accepted": len(accepted.jobs()),
        "jobs by status": dict(sorted(Counter(str(job.status) for job in jobs).items())),
        "claims": sum(job.token for job in jobs),
        "most claims of one job": max((job.token for job in jobs), default=0),
        "jobs claimed more than once": sum(job.token > 1 for job in jobs),
        "trainings' steps done": sum(mark.what == "step" for mark in marks),
        "steps in the models": sum(len([m for m in metrics[job.id] if m.split == "train"]) for job in jobs),
        "events written": sum(len(events[job.id]) for job in jobs),
        "submissions sent again": accepted.retries,
        "run directories left": len(list(deployment.root.glob("**/runs/job_*"))),
    }
    return found


def _lost(accepted: Accepted, by_id: dict[str, Job]) -> Iterable[str]:
    for key, ids in accepted.ids.items():
        yield from (f"{key} was acknowledged as {job}" for job in ids if job not in by_id)


def _doubled(jobs: list[Job], accepted: Accepted, by_key: dict[str | None, Job]) -> Iterable[str]:
    keys = Counter(job.idempotency_key for job in jobs)
    yield from (f"{key} has {count} jobs" for key, count in keys.items() if count > 1)
    for key, ids in accepted.ids.items():
        if len(set(ids)) > 1:
            yield f"{key} was acknowledged as {', '.join(sorted(set(ids)))}"
    yield from (f"{key} was never acknowledged" for key in by_key if key not in accepted.ids)


def _models(jobs: list[Job], models: list[Model], evaluations: list[Evaluation]) -> Iterable[str]:
    of_job = Counter(model.job_id for model in models)
    of_model = Counter(evaluation.model_id for evaluation in evaluations)
    for job in jobs:
        wanted = int(job.status is JobStatus.SUCCEEDED)
        if of_job[job.id] != wanted:
            yield f"{job.id} is {job.status} and has {of_job[job.id]} models"
    if len(models) != sum(job.status is JobStatus.SUCCEEDED for job in jobs):
        yield f"{len(models)} models"
    yield from (
        f"{model.id} has {of_model[model.id]} evaluations" for model in models if of_model[model.id] != 1
    )


def _events(jobs: list[Job], events: dict[str, list[JobEvent]]) -> Iterable[str]:
    for job in jobs:
        its = events[job.id]
        if [event.number for event in its] != list(range(1, job.next_event)):
            yield f"{job.id}: numbers {[event.number for event in its]}, next {job.next_event}"
        attempts = [event.attempt for event in its]
        if attempts != sorted(attempts) or (its and attempts[-1] != job.attempt):
            yield f"{job.id}: attempts {attempts} of {job.attempt}"
        started = [event.attempt for event in its if event.type == "job.started"]
        if started != list(range(1, job.attempt + 1)) or job.token != job.attempt:
            yield f"{job.id}: started {started}, attempt {job.attempt}, token {job.token}"
        ends = [event.number for event in its if event.type in TERMINAL_EVENTS]
        retried = sum(event.type == "job.retried" for event in its)
        if job.status in FINISHED and (len(ends) != 1 + retried or ends[-1] != its[-1].number):
            yield f"{job.id}: ends with events {ends} of {len(its)}"


def _undisturbed(job: Job, orders: dict[str, Order]) -> list[State]:
    config = orders[str(job.idempotency_key)].body["config"]
    return states(config["seed"], STEPS_PER_EPOCH * config["epochs"])


def _steps(jobs: list[Job], orders: dict[str, Order], metrics: dict[str, list[JobMetric]]) -> Iterable[str]:
    for job in jobs:
        undisturbed = _undisturbed(job, orders)
        trained = [metric for metric in metrics[job.id] if metric.split == "train"]
        steps = [metric.step for metric in trained]
        wanted = len(undisturbed) - 1 if job.status is JobStatus.SUCCEEDED else len(steps)
        if steps != list(range(1, wanted + 1)):
            yield f"{job.id} ({job.status}): steps {steps}"
            continue
        for metric in trained:
            if metric.metrics["loss"] != undisturbed[metric.step].loss:
                yield f"{job.id}: another loss at step {metric.step}"
        measured = [metric for metric in metrics[job.id] if metric.split == "val"]
        if [m.step for m in measured] != list(range(STEPS_PER_EPOCH, wanted + 1, STEPS_PER_EPOCH)):
            yield f"{job.id}: evaluated at {[metric.step for metric in measured]}"
        for metric in measured:
            if metric.metrics["AP"] != undisturbed[metric.step].loss:
                yield f"{job.id}: another AP at step {metric.step}"


def _stale(
    jobs: list[Job], events: dict[str, list[JobEvent]], metrics: dict[str, list[JobMetric]]
) -> Iterable[str]:
    for job in jobs:
        # The claim that wrote step n: the last one that went on from a step below n.
        begun = [
            (event.attempt, event.data["resumed_from_step"])
            for event in events[job.id]
            if event.type in ("job.started", "job.checkpoint_forgotten")
        ]
        for metric in metrics[job.id]:
            writer = max((attempt for attempt, step in begun if step < metric.step), default=0)
            if metric.metrics["token"] != writer:
                yield (
                    f"{job.id}: {metric.split} step {metric.step} was written by claim "
                    f"{metric.metrics['token']:g}, not by {writer}"
                )
        for event in events[job.id]:
            if event.type == "job.checkpoint":
                base = max((step for attempt, step in begun if attempt == event.attempt), default=-1)
                if event.data["step"] <= base:
                    yield f"{job.id}: attempt {event.attempt} from step {base} kept step {event.data['step']}"


def _checkpoints(
    deployment: Deployment, by_id: dict[str, Job], orders: dict[str, Order], checkpoints: list[Checkpoint]
) -> Iterable[str]:
    for row in checkpoints:
        job = by_id[row.job_id]
        if f"/{row.token}/" not in row.blob or row.token > job.token:
            yield f"{row.blob} is not under claim {row.token}"
        if not deployment.blobs.exists(row.blob):
            yield f"{row.blob} is not there"
            continue
        with deployment.blobs.open(row.blob) as file:
            data = file.read()
        if data != _undisturbed(job, orders)[row.step].checkpoint():
            yield f"{row.blob} is another state"
        if hashlib.sha256(data).hexdigest() != row.sha256:
            yield f"{row.blob} has another hash"
    kept = {(row.job_id, row.blob) for row in checkpoints}
    for job in by_id.values():
        if job.checkpoint_key is not None and (job.id, job.checkpoint_key) not in kept:
            yield f"{job.id} goes on from {job.checkpoint_key}, which is not kept"


def _artifacts(
    deployment: Deployment,
    by_id: dict[str, Job],
    orders: dict[str, Order],
    models: list[Model],
    artifacts: list[Artifact],
) -> Iterable[str]:
    job_of = {model.id: by_id[model.job_id] for model in models if model.job_id in by_id}
    of_model: dict[str, list[str]] = defaultdict(list)
    for row in artifacts:
        of_model[row.model_id].append(row.name)
    wanted = sorted([*TRAINERS_FILES, CURVES])
    yield from (f"{m.id} has {sorted(of_model[m.id])}" for m in models if sorted(of_model[m.id]) != wanted)
    for row in artifacts:
        if row.model_id not in job_of:
            yield f"{row.name} of {row.model_id} belongs to no job"
            continue
        final = _undisturbed(job_of[row.model_id], orders)[-1]
        if not deployment.blobs.exists(row.blob):
            yield f"{row.blob} is not there"
            continue
        with deployment.blobs.open(row.blob) as file:
            data = file.read()
        if row.name == CURVES:  # the worker's own, of the metrics that are checked above
            if hashlib.sha256(data).hexdigest() != row.sha256:
                yield f"{row.name} of {job_of[row.model_id].id} is torn"
            continue
        if data != final.artifact(row.name) or hashlib.sha256(data).hexdigest() != row.sha256:
            yield f"{row.name} of {job_of[row.model_id].id} is another state"
