"""Webhooks: where the project is told of its jobs and datasets."""

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from api.dependencies import (
    After,
    DatabaseDep,
    Limit,
    OnceDep,
    OrderBy,
    ProjectDep,
    SettingsDep,
    WebhookId,
)
from api.errors import BodyMalformed, BodyTooLarge, Invalid, WebhookTargetRefused
from api.openapi import problems
from api.outbound import TargetRefused, check_url
from api.schemas.common import ProblemError
from api.schemas.webhooks import (
    DeliveryList,
    DeliveryView,
    WebhookCreate,
    WebhookCreatedView,
    WebhookList,
    WebhookView,
)
from store import webhooks
from store.errors import WebhookNotFound

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post(
    "",
    status_code=201,
    response_model=WebhookCreatedView,
    summary="Create a webhook",
    response_description="The webhook with its secret: shown this once.",
    responses=problems(BodyMalformed, BodyTooLarge, Invalid, WebhookTargetRefused),
)
def create_webhook(
    body: WebhookCreate, database: DatabaseDep, settings: SettingsDep, project: ProjectDep, once: OnceDep
) -> Response:
    """Messages are signed as Standard Webhooks says, and sent again for three days until they are taken.

    An address that is not public is refused.
    """

    def create(session: Session) -> Response:
        row = webhooks.create(session, project_id=project, url=body.url, events=list(body.events))
        return once.answer(session, 201, WebhookCreatedView.made(row), {"Cache-Control": "no-store"})

    with once.asked(body):
        try:
            check_url(body.url, allow_private=settings.webhooks_allow_private)
        except TargetRefused as error:
            detail = str(error)
            fault = ProblemError(pointer="/url", code=WebhookTargetRefused.code, detail=detail)
            raise WebhookTargetRefused(detail, errors=[fault]) from None
        return database.run(create)


@router.get("", summary="List webhooks")
def list_webhooks(
    database: DatabaseDep,
    project: ProjectDep,
    limit: Limit = 20,
    after: After = None,
    order: OrderBy = "desc",
) -> WebhookList:
    """The project's webhooks by age, without their secrets."""
    with database.read() as session:
        page = webhooks.list_(session, project, limit=limit, after=after, order=order)
        views = [WebhookView.of(row) for row in page.items]
    return WebhookList.of(views, has_more=page.has_more)


@router.get("/{webhook_id}", summary="Read a webhook", responses=problems(WebhookNotFound))
def get_webhook(webhook_id: WebhookId, database: DatabaseDep, project: ProjectDep) -> WebhookView:
    """Where it sends, and what."""
    with database.read() as session:
        return WebhookView.of(webhooks.get(session, project, webhook_id))


@router.delete(
    "/{webhook_id}",
    status_code=204,
    response_class=Response,
    summary="Delete a webhook",
    responses=problems(WebhookNotFound),
)
def delete_webhook(webhook_id: WebhookId, database: DatabaseDep, project: ProjectDep) -> None:
    """Nothing more is sent to it, nor what is still on its way."""
    with database.begin() as session:
        webhooks.delete(session, project, webhook_id)


@router.post(
    "/{webhook_id}/ping",
    status_code=202,
    summary="Send a test message",
    responses=problems(WebhookNotFound),
)
def ping_webhook(webhook_id: WebhookId, database: DatabaseDep, project: ProjectDep) -> DeliveryView:
    """A message of the type `ping`, signed and sent like every other."""
    with database.begin() as session:
        row = webhooks.ping(session, project, webhook_id)
        session.refresh(row)
        return DeliveryView.of(row)


@router.get(
    "/{webhook_id}/deliveries", summary="List the messages to a webhook", responses=problems(WebhookNotFound)
)
def list_webhook_deliveries(
    webhook_id: WebhookId,
    database: DatabaseDep,
    project: ProjectDep,
    limit: Limit = 20,
    after: After = None,
    order: OrderBy = "desc",
) -> DeliveryList:
    """What was sent in the last 30 days and what still will be: how often, and what the receiver said."""
    with database.read() as session:
        page = webhooks.deliveries(session, project, webhook_id, limit=limit, after=after, order=order)
        views = [DeliveryView.of(row) for row in page.items]
    return DeliveryList.of(views, has_more=page.has_more)
