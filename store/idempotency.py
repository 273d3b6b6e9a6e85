"""Requests with an Idempotency-Key: the first one is done, its repeats get its answer for a day.

Whoever answers a request holds its key by a lease, so that one whose process has died is soon free for the
next. The answer is kept in the transaction that does what was asked (`keep`): a holder that has lost its
lease to another does nothing, and an answer is never of something that was not done, or was done twice.
Refusals are not kept: the same request may fare better later.

A key belongs to a project and an operation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.orm import Session

from store.clock import database_now
from store.errors import IdempotencyMismatch, RequestInProgress
from store.rows import insert_into
from store.tables import Idempotency

KEPT_SECONDS = 24 * 3600
LEASE_SECONDS = 5.0
_AT_ONCE = 1000


@dataclass(frozen=True)
class Asked:
    """A request, by its key; `holder` is different in each of its repeats.

    `fingerprint` tells what is asked for; it is empty before that is known.
    """

    project_id: str
    operation: str
    key: str
    holder: str
    fingerprint: str = ""


@dataclass(frozen=True)
class Answer:
    """What the first request was answered with; `fingerprint` is that of the request."""

    status: int
    headers: dict[str, str]
    body: str
    fingerprint: str = ""


def begin(session: Session, asked: Asked, *, lease_seconds: float = LEASE_SECONDS) -> Answer | None:
    """None: the request is to be done, and is ours for so long; else its answer.

    Raises `RequestInProgress` while another holds it, `IdempotencyMismatch` when something else was asked.
    """
    session.execute(delete(Idempotency).where(_key(asked), Idempotency.expires_at <= database_now(), _free()))
    row = {
        "project_id": asked.project_id,
        "operation": asked.operation,
        "key": asked.key,
        "fingerprint": asked.fingerprint,
        "holder": asked.holder,
        "held_until": database_now() + lease_seconds,
        "expires_at": database_now() + KEPT_SECONDS,
        "headers": {},
    }
    created = session.scalar(
        insert_into(session, Idempotency)
        .values(row)
        .on_conflict_do_nothing(index_elements=["project_id", "operation", "key"])
        .returning(Idempotency.key)
    )
    if created is not None:
        return None
    answer = _answered(session, asked)
    if answer is None:
        _take_over(session, asked, lease_seconds)
    return answer


def extend(session: Session, asked: Asked, *, lease_seconds: float = LEASE_SECONDS) -> bool:
    """Whether it is still ours, and then for so long from now."""
    values = {"held_until": database_now() + lease_seconds}
    return _update_ours(session, asked, values)


def keep(session: Session, asked: Asked, answer: Answer) -> None:
    """Keep the answer, in the transaction that does what was asked.

    Raises `RequestInProgress` when it is another's by now: the transaction must not be committed.
    """
    values = {
        "fingerprint": asked.fingerprint,
        "held_until": 0.0,
        "expires_at": database_now() + KEPT_SECONDS,
        "status": answer.status,
        "headers": answer.headers,
        "body": answer.body,
    }
    if not _update_ours(session, asked, values):
        raise RequestInProgress


def give_up(session: Session, asked: Asked) -> None:
    """It was not done: the next one may try at once. Does nothing where an answer is kept."""
    session.execute(delete(Idempotency).where(_key(asked), _ours(asked)))


def compare(kept: str, asked: str) -> None:
    """Raises `IdempotencyMismatch` when two fingerprints are known and differ."""
    if kept and asked and kept != asked:
        raise IdempotencyMismatch


def forget_old(session: Session) -> int:
    """Delete what nobody may ask for any more; how many. Another call has the rest, where there is much."""
    old = (
        select(Idempotency.project_id, Idempotency.operation, Idempotency.key)
        .where(Idempotency.expires_at <= database_now(), _free())
        .limit(_AT_ONCE)
    )
    rows = session.execute(old).all()
    for row in rows:
        one = Asked(row.project_id, row.operation, row.key, "")
        session.execute(
            delete(Idempotency).where(_key(one), Idempotency.expires_at <= database_now(), _free())
        )
    return len(rows)


def _answered(session: Session, asked: Asked) -> Answer | None:
    row = session.scalars(
        select(Idempotency).where(_key(asked)).execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise RequestInProgress  # given up this moment: the client comes again
    compare(row.fingerprint, asked.fingerprint)
    return Answer(row.status, row.headers, row.body, row.fingerprint) if row.status else None


def _take_over(session: Session, asked: Asked, lease_seconds: float) -> None:
    taken = session.scalar(
        update(Idempotency)
        .where(_key(asked), Idempotency.status == 0, _free())
        .values(
            holder=asked.holder,
            held_until=database_now() + lease_seconds,
            fingerprint=asked.fingerprint or Idempotency.fingerprint,
        )
        .returning(Idempotency.key)
        .execution_options(synchronize_session=False)
    )
    if taken is None:
        raise RequestInProgress


def _update_ours(session: Session, asked: Asked, values: Mapping[str, object]) -> bool:
    found = session.scalar(
        update(Idempotency)
        .where(_key(asked), _ours(asked))
        .values(**values)
        .returning(Idempotency.key)
        .execution_options(synchronize_session=False)
    )
    return found is not None


def _key(asked: Asked) -> ColumnElement[bool]:
    return and_(
        Idempotency.project_id == asked.project_id,
        Idempotency.operation == asked.operation,
        Idempotency.key == asked.key,
    )


def _ours(asked: Asked) -> ColumnElement[bool]:
    return and_(Idempotency.holder == asked.holder, Idempotency.status == 0)


def _free() -> ColumnElement[bool]:
    return Idempotency.held_until <= database_now()
