"""What has happened to many jobs at once: one question for everybody who follows some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import JSON, Integer, Text, and_, bindparam, cast, func, or_, select
from sqlalchemy.orm import Session

from store.tables import FINISHED, Job, JobEvent


@dataclass(frozen=True)
class News:
    """Events of a job after the number asked for, in order.

    `over`: it has finished, and there will be no more after these. `gone`: there is no such job any more.
    """

    events: Sequence[JobEvent]
    over: bool
    gone: bool


def news(session: Session, known: Mapping[str, int], *, limit: int = 1000) -> dict[str, News]:
    """By job, what has happened after the event number that is known of it; jobs without news are left out.

    At most `limit` events together; of a job whose events these cut, `over` is told the next time.
    """
    # An object of numbers is a table to both databases.
    asked = func.json_each(bindparam("known", dict(known), JSON)).table_valued("key", "value", name="asked")
    number = cast(cast(asked.c.value, Text), Integer)
    found = session.execute(
        select(asked.c.key, Job.status, JobEvent)
        .select_from(asked)
        .outerjoin(Job, Job.id == asked.c.key)
        .outerjoin(JobEvent, and_(JobEvent.job_id == Job.id, JobEvent.number > number))
        .where(or_(JobEvent.number.is_not(None), Job.id.is_(None), Job.status.in_(FINISHED)))
        .order_by(asked.c.key, JobEvent.number)
        .limit(limit)
    ).all()
    events: dict[str, list[JobEvent]] = {}
    statuses = {}
    for job_id, status, event in found:
        statuses[job_id] = status
        events.setdefault(job_id, []).extend([] if event is None else [event])
    cut = found[-1][0] if len(found) == limit else None
    return {
        job_id: News(rows, over=statuses[job_id] in FINISHED and job_id != cut, gone=statuses[job_id] is None)
        for job_id, rows in events.items()
    }
