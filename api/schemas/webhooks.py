"""Webhooks on the wire."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import Body, Example, Identified, ListView
from store.tables import Webhook, WebhookDelivery

EventType = Literal[
    "job.*",
    "job.queued",
    "job.started",
    "job.requeued",
    "job.paused",
    "job.resumed",
    "job.retried",
    "job.checkpoint",
    "job.notice",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "dataset.*",
    "dataset.ready",
    "dataset.invalid",
    "comparison.*",
    "comparison.succeeded",
    "comparison.failed",
    "comparison.cancelled",
    "search.*",
    "search.succeeded",
    "search.failed",
    "search.cancelled",
]
_WEBHOOK: Example = {
    "id": "whk_01jz4m7w9x1y3z5a7b9c1d3e5f",
    "object": "webhook",
    "url": "https://example.org/hooks/harmonicdet",
    "events": ["dataset.ready", "job.*"],
    "created_at": "2026-11-22T15:00:00.000Z",
    "disabled_at": None,
}
_DELIVERY: Example = {
    "id": "msg_01jz4m7w9x1y3z5a7b9c1d3e5f",
    "object": "webhook_delivery",
    "type": "job.succeeded",
    "attempts": 1,
    "pending": False,
    "status": 204,
    "error": None,
    "created_at": "2026-11-22T15:12:00.000Z",
    "delivered_at": "2026-11-22T15:12:00.310Z",
}


def _page(item: Example) -> Example:
    return {
        "object": "list",
        "data": [item],
        "first_id": item["id"],
        "last_id": item["id"],
        "has_more": False,
    }


class WebhookCreate(Body):
    """A webhook to be made."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": _WEBHOOK["url"], "events": _WEBHOOK["events"]}]}
    )

    url: Annotated[str, Field(min_length=8, max_length=2000)]
    """Where messages are sent by POST: an https address on the internet."""
    events: Annotated[list[EventType], Field(min_length=1, max_length=20)]
    """What to be told of; `job.*` is everything of jobs."""


class WebhookView(Identified):
    """Where the project is told of its jobs, datasets, comparisons and searches."""

    model_config = ConfigDict(json_schema_extra={"examples": [_WEBHOOK]})

    object: Literal["webhook"] = "webhook"
    url: str
    events: list[str]
    created_at: datetime
    disabled_at: datetime | None
    """When the receiver answered 410 Gone, after which nothing is sent."""

    @classmethod
    def of(cls, row: Webhook) -> Self:
        return cls(
            id=row.id,
            url=row.url,
            events=row.events,
            created_at=row.created_at,
            disabled_at=row.disabled_at,
        )


class WebhookCreatedView(WebhookView):
    """A new webhook. `secret` is shown this once."""

    model_config = ConfigDict(json_schema_extra={"examples": [_WEBHOOK | {"secret": "whsec_C2FtcGxl…"}]})

    secret: str
    """With it the receiver verifies signatures, by any library of Standard Webhooks."""

    @classmethod
    def made(cls, row: Webhook) -> Self:
        return cls(**WebhookView.of(row).model_dump(), secret=row.secret)


class WebhookList(ListView[WebhookView]):
    """Webhooks."""

    model_config = ConfigDict(json_schema_extra={"examples": [_page(_WEBHOOK)]})


class DeliveryView(Identified):
    """One message to a webhook."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DELIVERY]})

    object: Literal["webhook_delivery"] = "webhook_delivery"
    type: str
    attempts: int
    """How often it was sent, each time with the same id."""
    pending: bool
    """Whether it will be sent (again)."""
    status: int | None
    """HTTP status of the receiver's last answer; null when it gave none."""
    error: str | None
    """Why there was no answer."""
    created_at: datetime
    delivered_at: datetime | None

    @classmethod
    def of(cls, row: WebhookDelivery) -> Self:
        return cls(
            id=row.id,
            type=row.type,
            attempts=row.attempts,
            pending=row.pending,
            status=row.status or None,
            error=row.error,
            created_at=row.created_at,
            delivered_at=row.delivered_at,
        )


class DeliveryList(ListView[DeliveryView]):
    """Messages to a webhook."""

    model_config = ConfigDict(json_schema_extra={"examples": [_page(_DELIVERY)]})
