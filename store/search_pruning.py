"""Which trials of a search are not worth their end: the median rule, told by an evaluation between epochs.

A trial is pruned when the best it has reached by some epoch is below the median of what the trials that have
succeeded had at that epoch. D. Golovin et al., Google Vizier, KDD 2017, section 3.2.1 (without its averages);
Optuna's MedianPruner is the same rule.
"""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from store.search_ends import change_trial
from store.tables import TRAINING_STEPS, Job, JobMetric, JobStatus, Search, SearchTrial


class Verdict(NamedTuple):
    """Why a trial is pruned."""

    epoch: float
    metric: str
    best: float  # of this trial, up to here
    median: float  # of the others, here


def judge(
    session: Session, job_id: str, rows: Iterable[tuple[str, int, float, Mapping[str, Any]]]
) -> Verdict | None:
    """What these rows of metrics, just stored, mean for the training, whose row is held: a verdict, then the
    trial is marked and the caller asks for its end; None: it goes on.

    Nothing is pruned at its last epoch, or once something else was asked of it.
    """
    epochs = {epoch for split, _, epoch, _ in rows if split != TRAINING_STEPS}
    if not epochs:
        return None
    found = session.execute(
        select(SearchTrial.search_id, SearchTrial.pruned, Search.spec, Job.resolved_config)
        .join(Search, Search.id == SearchTrial.search_id)
        .join(Job, Job.id == SearchTrial.job_id)
        .where(SearchTrial.job_id == job_id, Job.requested_action.is_(None))
    ).one_or_none()
    if found is None or found.pruned or found.spec["pruning"] is None:
        return None
    rule, metric = found.spec["pruning"], found.spec["metric"]
    last = (found.resolved_config or {}).get("epochs", 0)
    if _succeeded(session, found.search_id) < rule["startup_trials"]:
        return None
    for epoch in sorted(epochs):
        if not rule["warmup_epochs"] < epoch < last:
            continue
        best = max(_reached(session, job_id, metric, epoch), default=None)
        others = _of_others(session, found.search_id, metric, epoch)
        if best is not None and others and best < median(others):
            change_trial(session, job_id, pruned=True)
            return Verdict(epoch, metric, best, median(others))
    return None


def is_pruned(session: Session, job_id: str) -> bool:
    """Whether this is a trial whose end was asked for by its search."""
    return bool(session.scalar(select(exists().where(SearchTrial.job_id == job_id, SearchTrial.pruned))))


def _succeeded(session: Session, search_id: str) -> int:
    statement = select(func.count()).select_from(SearchTrial).join(Job, Job.id == SearchTrial.job_id)
    statement = statement.where(SearchTrial.search_id == search_id, Job.status == JobStatus.SUCCEEDED)
    return session.scalar(statement) or 0


def _reached(session: Session, job_id: str, metric: str, epoch: float) -> list[float]:
    rows = session.scalars(
        select(JobMetric.metrics).where(
            JobMetric.job_id == job_id, JobMetric.split != TRAINING_STEPS, JobMetric.epoch <= epoch
        )
    )
    return _values(rows, metric)


def _of_others(session: Session, search_id: str, metric: str, epoch: float) -> list[float]:
    rows = session.scalars(
        select(JobMetric.metrics)
        .join(SearchTrial, SearchTrial.job_id == JobMetric.job_id)
        .join(Job, Job.id == JobMetric.job_id)
        .where(
            SearchTrial.search_id == search_id,
            Job.status == JobStatus.SUCCEEDED,
            JobMetric.split != TRAINING_STEPS,
            JobMetric.epoch == epoch,
        )
    )
    return _values(rows, metric)


def _values(rows: Iterable[Mapping[str, Any]], metric: str) -> list[float]:
    return [row[metric] for row in rows if row.get(metric) is not None]
