"""Things that any process does from time to time, one process at once: a row says who, and when again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store.clock import database_now
from store.rows import insert_into
from store.tables import Chore


def take(session: Session, name: str, *, holder: str, seconds: float, now: bool = False) -> bool:
    """Whether `holder` may do it, for so long unless it is extended: it is due, or asked for `now`."""
    row = {"name": name, "holder": "", "held_until": 0.0, "due_at": 0.0}
    session.execute(insert_into(session, Chore).values(row).on_conflict_do_nothing(index_elements=["name"]))
    free = [Chore.name == name, Chore.held_until <= database_now()]
    if not now:
        free.append(Chore.due_at <= database_now())
    taken = session.scalar(
        update(Chore)
        .where(*free)
        .values(holder=holder, held_until=database_now() + seconds)
        .returning(Chore.name)
        .execution_options(synchronize_session=False)
    )
    return taken is not None


def extend(session: Session, name: str, *, holder: str, seconds: float) -> bool:
    """Whether `holder` still has it, and then for so long from now."""
    kept = session.scalar(
        update(Chore)
        .where(Chore.name == name, Chore.holder == holder, Chore.held_until > database_now())
        .values(held_until=database_now() + seconds)
        .returning(Chore.name)
        .execution_options(synchronize_session=False)
    )
    return kept is not None


def give_back(session: Session, name: str, *, holder: str) -> None:
    """It has not been done; it is due when it was."""
    session.execute(
        update(Chore)
        .where(Chore.name == name, Chore.holder == holder)
        .values(holder="", held_until=0.0)
        .execution_options(synchronize_session=False)
    )


def done(
    session: Session, name: str, *, holder: str, again_in_seconds: float, outcome: Mapping[str, Any]
) -> None:
    """It has been done, or has failed: somebody may do it again after so long."""
    session.execute(
        update(Chore)
        .where(Chore.name == name, Chore.holder == holder)
        .values(
            holder="",
            held_until=0.0,
            due_at=database_now() + again_in_seconds,
            outcome=dict(outcome),
            done_at=database_now(),
        )
        .execution_options(synchronize_session=False)
    )


def done_at(session: Session, name: str) -> datetime | None:
    """When it was done the last time."""
    return session.scalar(select(Chore.done_at).where(Chore.name == name))


def outcome(session: Session, name: str) -> dict[str, Any] | None:
    """What came of it the last time."""
    return session.scalar(select(Chore.outcome).where(Chore.name == name))
