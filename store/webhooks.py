"""Webhooks: what a project wants to be told, and the messages on their way.

A message is a row written in the transaction of what it tells of, so that none is lost and none tells of what
did not happen. Whoever sends it holds the row for a while; a process that dies lets go of it by the clock.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from store.clock import database_now
from store.documents import to_json
from store.errors import WebhookNotFound
from store.ids import new_id
from store.paging import Order, Page, page
from store.tables import Comparison, Dataset, Job, JobStatus, Search, Webhook, WebhookDelivery

# Seconds from one attempt to the next, as Standard Webhooks proposes: about three days in all.
RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
KEPT_SECONDS = 30 * 86_400
_SECRET_BYTES = 32


@dataclass(frozen=True)
class Due:
    """A message to be sent now; `attempt` counts from 1."""

    id: str
    url: str
    secret: str
    body: str
    attempt: int


def new_secret() -> str:
    """A signing secret as Standard Webhooks writes it: `whsec_` and base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def create(session: Session, *, project_id: str, url: str, events: Sequence[str]) -> Webhook:
    """A webhook that is told of events of these types from now on."""
    row = Webhook(
        id=new_id("whk"),
        project_id=project_id,
        url=url,
        events=sorted(set(events)),
        secret=new_secret(),
        disabled_at=None,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def get(session: Session, project_id: str, webhook_id: str) -> Webhook:
    """Raises `WebhookNotFound`."""
    row = session.scalar(select(Webhook).where(Webhook.id == webhook_id, Webhook.project_id == project_id))
    if row is None:
        raise WebhookNotFound
    return row


def list_(
    session: Session, project_id: str, *, limit: int, after: str | None = None, order: Order = "desc"
) -> Page[Webhook]:
    """The project's webhooks by age."""
    statement = select(Webhook).where(Webhook.project_id == project_id)
    return page(session, statement, Webhook.id, limit=limit, after=after, order=order)


def delete(session: Session, project_id: str, webhook_id: str) -> None:
    """Also what is still to be sent to it. Raises `WebhookNotFound`."""
    get(session, project_id, webhook_id)
    session.execute(delete_from(Webhook).where(Webhook.id == webhook_id))


def deliveries(
    session: Session,
    project_id: str,
    webhook_id: str,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "desc",
) -> Page[WebhookDelivery]:
    """What was sent or is to be sent to a webhook, by age. Raises `WebhookNotFound`."""
    get(session, project_id, webhook_id)
    statement = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
    return page(session, statement, WebhookDelivery.id, limit=limit, after=after, order=order)


# Writing messages


def tell_of_job(
    session: Session,
    job_id: str,
    number: int,
    type: str,  # noqa: A002
    data: Mapping[str, Any],
) -> None:
    """Write the messages about event `number` of a job, in its own transaction."""
    listening = session.execute(
        select(Webhook.id, Webhook.events, Job.kind, Job.status, Job.attempt)
        .join(Job, Job.project_id == Webhook.project_id)
        .where(Job.id == job_id, Webhook.disabled_at.is_(None))
    ).all()
    for row in listening:
        if wants(row.events, type):
            about = {"id": job_id, "object": "job", "kind": row.kind, "status": row.status}
            _write(session, row.id, type, about | {"event": number, "attempt": row.attempt} | dict(data))


def tell_of_dataset(session: Session, dataset_id: str) -> None:
    """Write the messages about a dataset that has become ready or invalid, in that transaction."""
    listening = session.execute(
        select(Webhook.id, Webhook.events, Dataset.status, Dataset.name, Dataset.error)
        .join(Dataset, Dataset.project_id == Webhook.project_id)
        .where(Dataset.id == dataset_id, Webhook.disabled_at.is_(None))
    ).all()
    for row in listening:
        type_ = f"dataset.{row.status}"
        if wants(row.events, type_):
            about = {"id": dataset_id, "object": "dataset", "status": row.status, "name": row.name}
            _write(session, row.id, type_, about | ({"error": row.error} if row.error else {}))


def tell_of_comparison(session: Session, comparison_id: str) -> None:
    """Write the messages about a comparison that has ended, in that transaction."""
    listening = session.execute(
        select(
            Webhook.id,
            Webhook.events,
            Comparison.outcome,
            Comparison.name,
            Comparison.result,
            Comparison.error,
        )
        .join(Comparison, Comparison.project_id == Webhook.project_id)
        .where(Comparison.id == comparison_id, Webhook.disabled_at.is_(None))
    ).all()
    for row in listening:
        type_ = f"comparison.{row.outcome}"
        if wants(row.events, type_):
            about = {"id": comparison_id, "object": "comparison", "status": row.outcome, "name": row.name}
            if row.outcome == JobStatus.SUCCEEDED:
                about["verdict"] = (row.result or {}).get("verdict")
            _write(session, row.id, type_, about | ({"error": row.error} if row.error else {}))


def tell_of_search(session: Session, search_id: str) -> None:
    """Write the messages about a search that has ended, in that transaction."""
    listening = session.execute(
        select(Webhook.id, Webhook.events, Search.outcome, Search.name, Search.error)
        .join(Search, Search.project_id == Webhook.project_id)
        .where(Search.id == search_id, Webhook.disabled_at.is_(None))
    ).all()
    for row in listening:
        type_ = f"search.{row.outcome}"
        if wants(row.events, type_):
            about = {"id": search_id, "object": "search", "status": row.outcome, "name": row.name}
            _write(session, row.id, type_, about | ({"error": row.error} if row.error else {}))


def ping(session: Session, project_id: str, webhook_id: str) -> WebhookDelivery:
    """Write a message that says nothing but that messages arrive. Raises `WebhookNotFound`."""
    row = get(session, project_id, webhook_id)
    message = _write(session, row.id, "ping", {"id": row.id, "object": "webhook"})
    return session.get_one(WebhookDelivery, message)


def wants(events: Sequence[str], type: str) -> bool:  # noqa: A002
    """Whether somebody who asked for these types is told of one; `job.*` is every `job.…`."""
    return any(type == one or (one.endswith(".*") and type.startswith(one[:-1])) for one in events)


# Sending them


def anything_due(session: Session) -> bool:
    """Whether `claim_due` would find something: a look without a write transaction."""
    return bool(session.scalar(select(exists().where(*_due()))))


def claim_due(session: Session, *, hold_seconds: float, limit: int = 20) -> list[Due]:
    """Messages to send now, the oldest first; no other process gets them for `hold_seconds`."""
    due = session.execute(
        select(
            WebhookDelivery.id, WebhookDelivery.body, WebhookDelivery.attempts, Webhook.url, Webhook.secret
        )
        .join(Webhook)
        .where(*_due())
        .order_by(WebhookDelivery.next_at, WebhookDelivery.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=WebhookDelivery)
    ).all()
    if due:
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.id.in_([row.id for row in due]))
            .values(held_until=database_now() + hold_seconds, attempts=WebhookDelivery.attempts + 1)
            .execution_options(synchronize_session=False)
        )
    return [Due(row.id, row.url, row.secret, row.body, row.attempts + 1) for row in due]


def delivered(session: Session, due: Due, status: int) -> None:
    """The receiver has taken the message."""
    _settle(session, due, pending=False, status=status, error=None, delivered_at=database_now())


def refused(session: Session, due: Due, *, status: int = 0, error: str | None = None) -> None:
    """The receiver has not taken it: it is sent again later, until there is no later.

    `status` 410 says that nobody is there any more: the webhook is disabled.
    """
    if status == 410:
        session.execute(
            update(Webhook)
            .where(Webhook.id.in_(select(WebhookDelivery.webhook_id).where(WebhookDelivery.id == due.id)))
            .values(disabled_at=database_now())
            .execution_options(synchronize_session=False)
        )
    over = due.attempt > len(RETRY_SECONDS) or status == 410
    pause = 0 if over else RETRY_SECONDS[due.attempt - 1]
    _settle(session, due, pending=not over, status=status, error=error, next_at=database_now() + pause)


def forget_old(session: Session) -> None:
    """Drop the messages that ended long ago."""
    session.execute(
        delete_from(WebhookDelivery).where(
            WebhookDelivery.pending.is_(False),
            WebhookDelivery.created_at < database_now() - KEPT_SECONDS,
        )
    )


def _due() -> tuple[Any, ...]:
    now = database_now()
    return (
        WebhookDelivery.pending.is_(True),
        WebhookDelivery.next_at <= now,
        WebhookDelivery.held_until <= now,
    )


def _settle(session: Session, due: Due, **values: Any) -> None:
    """Only the attempt that is under way may say how it ended."""
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == due.id, WebhookDelivery.attempts == due.attempt)
        .values(held_until=0.0, **values)
        .execution_options(synchronize_session=False)
    )


def _write(session: Session, webhook_id: str, type: str, data: Mapping[str, Any]) -> str:  # noqa: A002
    message = new_id("msg")
    timestamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = to_json({"type": type, "timestamp": timestamp, "data": dict(data)})
    session.add(WebhookDelivery(id=message, webhook_id=webhook_id, type=type, body=body))
    session.flush()
    return message
