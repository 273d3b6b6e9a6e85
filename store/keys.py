"""API keys: 256 random bits, shown once, of which only a visible prefix and an HMAC are kept.

A key is `hd_<prefix>_<secret>`. The prefix finds the row; the HMAC-SHA-256 of the whole under the server's
own secret is compared in constant time, so that neither a copy of the database nor the time an answer takes
tells anything about a key.
"""

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from store.clock import database_now
from store.errors import KeyNotFound
from store.glance import KeyGlance
from store.ids import new_id
from store.paging import Order, Page, page
from store.tables import Key

_MARK = "hd_"
_PREFIX_BYTES = 5  # 40 bits find a row; they are no part of the secret
_SECRET_BYTES = 32
RowT = TypeVar("RowT", bound=Key | KeyGlance)


class Scope(StrEnum):
    """What a key allows. `admin` allows everything within its project."""

    READ = "read"
    TRAIN = "train"
    PREDICT = "predict"
    ADMIN = "admin"
    METRICS = "metrics"


@dataclass(frozen=True)
class NewKey:
    """A key as it was made; `text` is what the client sends, and cannot be had again."""

    row: Key
    text: str


def create(
    session: Session,
    *,
    secret: bytes,
    project_id: str,
    name: str,
    scopes: Iterable[Scope],
    expires_at: datetime | None = None,
) -> NewKey:
    """A new key of the project.

    Args:
        secret: the server's own, under which the key is hashed.
    """
    prefix = _MARK + secrets.token_hex(_PREFIX_BYTES)
    text = f"{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    row = Key(
        id=new_id("key"),
        project_id=project_id,
        name=name,
        prefix=prefix,
        digest=_digest(secret, text),
        scopes=sorted({str(scope) for scope in scopes}),
        expires_at=expires_at,
        revoked_at=None,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return NewKey(row, text)


def authenticate(session: Session, *, secret: bytes, text: str) -> Key | None:
    """The row of this key; None when there is no such key, or it has expired or was revoked."""
    prefix = prefix_of(text)
    return None if prefix is None else recognised(valid(session, prefix), secret=secret, text=text)


def valid(session: Session, prefix: str) -> Key | None:
    """The key with this prefix, if it has neither expired nor been revoked."""
    return session.scalar(
        select(Key).where(
            Key.prefix == prefix,
            Key.revoked_at.is_(None),
            or_(Key.expires_at.is_(None), Key.expires_at > database_now()),
        )
    )


def prefix_of(text: str) -> str | None:
    """What finds the row of this key; None for what can be no key."""
    return "_".join(text.split("_", 2)[:2]) if len(text) <= 200 and text.isascii() else None


def recognised(row: RowT | None, *, secret: bytes, text: str) -> RowT | None:
    """The valid row that the prefix has found, if it is the key's whose text this is."""
    # An unknown prefix costs the same as a wrong secret.
    known = row.digest if row is not None else "0" * 64
    return row if hmac.compare_digest(_digest(secret, text), known) else None


def list_(
    session: Session, project_id: str, *, limit: int, after: str | None = None, order: Order = "desc"
) -> Page[Key]:
    """The keys of the project, revoked and expired ones too."""
    statement = select(Key).where(Key.project_id == project_id)
    return page(session, statement, Key.id, limit=limit, after=after, order=order)


def revoke(session: Session, project_id: str, key_id: str) -> Key:
    """End a key at once; a repeat changes nothing. Raises `KeyNotFound`."""
    mine = (Key.id == key_id, Key.project_id == project_id)
    session.execute(
        update(Key)
        .where(*mine, Key.revoked_at.is_(None))
        .values(revoked_at=database_now())
        .execution_options(synchronize_session=False)
    )
    row = session.scalar(select(Key).where(*mine).execution_options(populate_existing=True))
    if row is None:
        raise KeyNotFound
    return row


def _digest(secret: bytes, text: str) -> str:
    return hmac.digest(secret, text.encode(), "sha256").hex()
