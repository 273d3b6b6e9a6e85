"""A secret that somebody puts in every place there is: it is found in no log, error, event or description.

Two canaries: a real API key, which is cut out wherever it turns up, and a plain word, which nobody could
recognise, so that nothing of what a request says may be logged but its path. They go through every operation
of the description, so that a new one is covered by itself; then once more with the tables gone, so that every
operation fails.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hostile.seeded import SeededApi, fill

pytestmark = pytest.mark.embedded  # it looks into the file of the database

WORD = "zaunkoenig7351"
# What a user has said about a thing of hers is kept there, and shown to her own project only.
KEPT = {
    ("comparison", "metadata"),
    ("comparison", "name"),
    ("dataset", "name"),
    ("dataset", "metadata"),
    ("evaluation", "metadata"),
    ("evaluation", "name"),
    ("evaluation", "spec"),
    ("idempotency", "key"),
    ("job", "idempotency_key"),
    ("job", "metadata"),
    ("job", "spec"),
    ("key", "name"),
    ("search", "metadata"),
    ("search", "name"),
    ("model", "metadata"),
    ("model", "name"),
    ("upload", "told"),
    ("webhook", "url"),
    ("webhook_delivery", "body"),
}
HEADERS = (
    "Accept-Language",
    "Cookie",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Referer",
    "Upload-Checksum",
    "Upload-Metadata",
    "User-Agent",
    "X-Api-Key",
    "X-Forwarded-For",
)


class Sender:
    """Asks every operation with the canaries everywhere, and keeps the answers."""

    def __init__(self, api: SeededApi, key: str, made: dict[str, str]) -> None:
        self.key = key
        self.made = made
        self.answers: list[tuple[str, httpx.Response]] = []
        self._client = httpx.Client(
            base_url=api.address, timeout=60, headers={"Authorization": f"Bearer {key}"}
        )
        self.description: dict[str, Any] = self._client.get("/openapi.json").json()

    def close(self) -> None:
        self._client.close()

    def ask_everything(self) -> int:
        """How many requests that was."""
        before = len(self.answers)
        for path, methods in self.description["paths"].items():
            for method, operation in methods.items():
                for way in self._ways(path, operation):
                    self._send(operation["operationId"], method.upper(), way)
        return len(self.answers) - before

    def _ways(self, path: str, operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Requests of one operation: the canaries in path, query, headers, and in every kind of body."""
        both = f"{WORD} {self.key}"
        filled = re.sub(r"{(\w+)}", lambda found: self.made.get(found[1], "production"), path)
        secret = re.sub(r"{(\w+)}", self.key, path)
        named = [one["name"] for one in operation.get("parameters", []) if one.get("in") == "query"]
        query = dict.fromkeys([*named, "api_key", "key", "token"], both)
        headers = dict.fromkeys(HEADERS, both) | {"X-Request-ID": self.key, "Tus-Resumable": "1.0.0"}
        yield {"url": filled, "params": {"api_key": self.key, WORD: self.key}, "headers": headers}
        yield {"url": filled, "params": query}
        yield {"url": secret, "headers": {"Authorization": f"Basic {self.key}"}}
        yield {"url": filled, "headers": {"Authorization": f"Bearer {self.key}x"}}
        content = operation.get("requestBody", {}).get("content", {})
        for kind, media in content.items():
            if kind.endswith("json"):
                for body in self._bodies(media):
                    yield {"url": filled, "json": body}
            elif kind.startswith("multipart"):
                files = {"file": (f"{both}.zip", both.encode(), "application/zip")}
                yield {"url": filled, "files": files, "data": {"name": both, both: both, "metadata": both}}
            else:
                sent = {"Content-Type": kind.replace("*", "png"), "Tus-Resumable": "1.0.0"}
                yield {"url": filled, "content": both.encode(), "headers": sent}
        if content:
            yield {"url": filled, "content": both.encode(), "headers": {"Content-Type": both}}

    def _bodies(self, media: dict[str, Any]) -> Iterator[Any]:
        """The examples with the canaries in every field, in all at once, and in a field that is none."""
        both = f"{WORD} {self.key}"
        examples = [one["value"] for one in media.get("examples", {}).values()] or [{}]
        of_each_kind = {str(example.get("kind")): example for example in reversed(examples)}
        for example in of_each_kind.values():
            body = {name: value for name, value in example.items() if name != "upload_id"}
            for name, value in self.made.items():
                if name in body:
                    body[name] = value
            yield body | {"name": both, "metadata": {"note": both}}
            for name in body:
                yield body | {name: both}
            yield body | {both: both}
            yield dict.fromkeys(body, both)

    def _send(self, operation: str, method: str, way: dict[str, Any]) -> None:
        way = way | {"headers": {**way.get("headers", {})}}
        with self._client.stream(method, **way) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                answer.read()
            self.answers.append((operation, answer))


@pytest.mark.acceptance
def test_a_secret_is_found_nowhere(tmp_path: Path) -> None:
    with SeededApi(tmp_path / "data", require_keys=True, webhooks_allow_private="1") as api:
        key = api.key(name="canary")
        secret = key.rpartition("_")[2]
        sender = Sender(api, key, fill(api, key))
        asked = sender.ask_everything()
        assert asked >= 300
        descriptions = [sender._client.get(path).text for path in ("/openapi.json", "/docs", "/v1")]
        metrics = sender._client.get("/metrics").text
        found = _rows_with(api, (secret, WORD))
        _break(api)
        sender.ask_everything()
        statuses = {answer.status_code for _, answer in sender.answers}
        sender.close()
    assert {200, 201, 202, 401, 404, 422, 500} <= statuses

    log = api.log.read_text()
    assert log.count("api.access") >= len(sender.answers)
    assert "unexpected error" in log
    assert secret not in log
    told = [line for line in log.splitlines() if WORD in line]
    assert not told
    for text in (*descriptions, metrics):
        assert secret not in text
        assert WORD not in text
    for operation, answer in sender.answers:
        if answer.status_code >= 400 and answer.request.method != "HEAD":
            assert secret not in answer.text, (operation, answer.text)
            assert answer.status_code < 500 or WORD not in answer.text, (operation, answer.text)
    assert found <= KEPT, found - KEPT


def _rows_with(api: SeededApi, needles: tuple[str, ...]) -> set[tuple[str, str]]:
    """(table, column) of every value in the database that has one of them."""
    found = set()
    with closing(sqlite3.connect(api.data / "harmonicdet.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = database.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - a name of ours
            columns = [column[0] for column in rows.description]
            for row in rows:
                for column, value in zip(columns, row, strict=True):
                    text = value.decode("latin-1") if isinstance(value, bytes) else json.dumps(value)
                    if any(needle in text for needle in needles):
                        found.add((table, column))
    return found


def _break(api: SeededApi) -> None:
    """Takes away every table but those that say who asks."""
    with closing(sqlite3.connect(api.data / "harmonicdet.db", timeout=60)) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if table not in ("key", "project") and not table.startswith("sqlite"):
                database.execute(f'DROP TABLE "{table}"')
        database.commit()
