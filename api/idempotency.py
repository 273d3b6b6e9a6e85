"""Idempotency-Key: a repeated request does nothing, and is answered as the first one was.

    with once.asked(body):                      # raises when it was asked before
        …checks…
        return database.run(lambda session: once.answer(session, 202, made(session), {"Location": …}))

A body that is read as it comes says only at its end what is asked for:

    async with once.asking():
        …the body…
        once.settle(digest, options)            # raises when it was asked before
        return database.run(…)
"""

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from store import idempotency
from store.errors import StoreError
from store.idempotency import Answer, Asked
from store.sessions import Database

REPLAYED = "Idempotent-Replayed"
_LONG_LEASE_SECONDS = 15.0  # of a request whose body takes its time; extended while it does
_BEAT_SECONDS = 4.0


class Answered(Exception):
    """The same was asked before, with this answer."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__("the request was answered before")


class Once:
    """One request and its Idempotency-Key. Without a key, what is asked is simply done."""

    def __init__(self, database: Database, project_id: str, operation: str, key: str | None) -> None:
        self._database = database
        self._asked = None if key is None else Asked(project_id, operation, key, secrets.token_hex(16))
        self._before: Answer | None = None
        self._is_kept = False

    @property
    def job_key(self) -> str | None:
        """The `idempotency_key` of the job that the request makes: unique in the project, so that even two
        holders of one key could not make two. Those of `create_job` are the clients' own."""
        if self._asked is None:
            return None
        if self._asked.operation == "create_job":
            return self._asked.key
        return hashlib.sha256(f"{self._asked.operation}:{self._asked.key}".encode()).hexdigest()

    @property
    def was_answered(self) -> bool:
        """Whether there is an answer already; `settle` finds out whether it is the one to this request."""
        return self._before is not None

    @contextmanager
    def asked(self, *what: object) -> Iterator[None]:
        """While a request is answered that asks for `what`.

        Raises `Answered`, `IdempotencyMismatch`, `RequestInProgress`.
        """
        if self._asked is not None:
            self._asked = replace(self._asked, fingerprint=fingerprint(*what))
            self._begin(idempotency.LEASE_SECONDS)
            if self._before is not None:
                raise Answered(self._before)
        try:
            yield
        except BaseException:
            self._give_up()
            raise
        if not self._is_kept:
            self._give_up()

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """While a request is answered whose body is still to be read. Raises `RequestInProgress`."""
        if self._asked is None:
            yield
            return
        await to_thread.run_sync(self._begin, _LONG_LEASE_SECONDS)
        beat = asyncio.create_task(self._beat())
        try:
            yield
        except BaseException:
            await to_thread.run_sync(self._give_up)
            raise
        finally:
            beat.cancel()
            with suppress(asyncio.CancelledError):
                await beat
        if not self._is_kept:
            await to_thread.run_sync(self._give_up)

    def settle(self, *what: object) -> None:
        """Now it is known what is asked for. Raises `Answered`, `IdempotencyMismatch`."""
        if self._asked is None:
            return
        self._asked = replace(self._asked, fingerprint=fingerprint(*what))
        if self._before is not None:
            idempotency.compare(self._before.fingerprint, self._asked.fingerprint)
            raise Answered(self._before)

    def answer(
        self, session: Session, status: int, body: BaseModel, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The answer, kept in the transaction that has done what was asked."""
        text = body.model_dump_json()
        if self._asked is not None:
            idempotency.keep(session, self._asked, Answer(status, dict(headers or {}), text))
            self._is_kept = True
        return Response(text, status, headers, "application/json")

    def _begin(self, lease_seconds: float) -> None:
        if self._asked is not None:
            asked = self._asked
            self._before = self._database.run(
                lambda session: idempotency.begin(session, asked, lease_seconds=lease_seconds)
            )

    def _give_up(self) -> None:
        if self._asked is None or self._before is not None:
            return
        asked = self._asked
        with suppress(StoreError):  # then the lease ends by itself
            self._database.run(lambda session: idempotency.give_up(session, asked), repeatable=True)

    async def _beat(self) -> None:
        while self._before is None:
            await asyncio.sleep(_BEAT_SECONDS)
            with suppress(StoreError):
                await to_thread.run_sync(self._extend)

    def _extend(self) -> None:
        if self._asked is not None:
            asked = self._asked
            self._database.run(
                lambda session: idempotency.extend(session, asked, lease_seconds=_LONG_LEASE_SECONDS),
                repeatable=True,
            )


def register(app: FastAPI) -> None:
    """Have repeats answered."""
    app.exception_handler(Answered)(_replayed)


def fingerprint(*what: object) -> str:
    """SHA-256 of what is asked for, as it was sent: two that differ in the order of names only are one."""
    text = json.dumps(what, default=_plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    raise TypeError(f"{type(value).__name__} tells no request from another")


def _replayed(_: Request, error: Answered) -> Response:
    answer = error.answer
    return Response(answer.body, answer.status, {**answer.headers, REPLAYED: "true"}, "application/json")
