"""Lists are read by key, never by offset: a page is what follows a given row."""

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

T = TypeVar("T")
Order = Literal["asc", "desc"]
LARGEST = 1000


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows, and whether more follow the last of them."""

    items: list[T]
    has_more: bool


def page(
    session: Session,
    statement: Select[T],
    key: InstrumentedAttribute[Any],
    *,
    limit: int,
    after: str | int | None = None,
    order: Order = "asc",
) -> Page[T]:
    """The first `limit` (1 to 1000) rows of `statement` that come after the row whose `key` is `after`."""
    limit = max(1, min(limit, LARGEST))
    if after is not None:
        statement = statement.where(key > after if order == "asc" else key < after)
    statement = statement.order_by(key.asc() if order == "asc" else key.desc()).limit(limit + 1)
    rows = list(session.scalars(statement))
    return Page(items=rows[:limit], has_more=len(rows) > limit)
