"""Names for models: `production` means one model today and may mean another one tomorrow."""

import re
from dataclasses import dataclass

from sqlalchemy import delete as delete_from
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store.clock import database_now
from store.errors import ModelAliasNotFound, ModelNotFound
from store.ids import new_id
from store.paging import Order, Page, page
from store.tables import Model, ModelAlias, Project

NAME = re.compile(r"(?!mdl_)[a-z0-9][a-z0-9._-]{0,99}")
"""Nothing that could be the id of a model."""


@dataclass(frozen=True)
class Move:
    """An alias after `put`, and whether it is new."""

    alias: ModelAlias
    created: bool


def get(session: Session, project_id: str, name: str) -> ModelAlias:
    """Raises `ModelAliasNotFound`."""
    found = find(session, project_id, name)
    if found is None:
        raise ModelAliasNotFound
    return found


def find(session: Session, project_id: str, name: str) -> ModelAlias | None:
    """The alias, if there is one."""
    if not NAME.fullmatch(name):
        return None
    return session.scalars(
        select(ModelAlias)
        .where(ModelAlias.project_id == project_id, ModelAlias.name == name)
        .execution_options(populate_existing=True)
    ).one_or_none()


def list_(
    session: Session,
    project_id: str,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "desc",
    model_id: str | None = None,
) -> Page[ModelAlias]:
    """Aliases by age; only those of this model."""
    statement = select(ModelAlias).where(ModelAlias.project_id == project_id)
    if model_id is not None:
        statement = statement.where(ModelAlias.model_id == model_id)
    return page(session, statement, ModelAlias.id, limit=limit, after=after, order=order)


def of_model(session: Session, model_id: str) -> list[str]:
    """The names that mean this model."""
    return list(
        session.scalars(
            select(ModelAlias.name).where(ModelAlias.model_id == model_id).order_by(ModelAlias.name)
        )
    )


def hold(session: Session, project_id: str) -> None:
    """Before an alias is looked at and then changed: keep others from changing any of the project."""
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))


def put(
    session: Session, project_id: str, name: str, *, model_id: str, metadata: dict[str, str] | None = None
) -> Move:
    """The name means this model from now on. The caller has called `hold`. Raises `ModelNotFound`."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a model")
    # Keeps the model from being deleted before this transaction ends.
    held = select(Model.id).where(Model.id == model_id, Model.project_id == project_id)
    if session.scalar(held.with_for_update(read=True)) is None:
        raise ModelNotFound
    before = find(session, project_id, name)
    if before is None:
        made = ModelAlias(
            id=new_id("mal"), project_id=project_id, name=name, model_id=model_id, extra=metadata or {}
        )
        session.add(made)
        session.flush()
        session.refresh(made)
        return Move(made, created=True)
    if (before.model_id, before.extra) != (model_id, metadata or {}):
        session.execute(
            update(ModelAlias)
            .where(ModelAlias.id == before.id)
            .values(
                model_id=model_id,
                extra=metadata or {},
                version=ModelAlias.version + 1,
                updated_at=database_now(),
            )
            .execution_options(synchronize_session=False)
        )
    return Move(get(session, project_id, name), created=False)


def delete(session: Session, project_id: str, name: str) -> None:
    """The model stays. Raises `ModelAliasNotFound`."""
    alias = get(session, project_id, name)
    session.execute(delete_from(ModelAlias).where(ModelAlias.id == alias.id))
