"""What operators need: uploads, architectures, webhooks, keys, workers, storage."""

# Written by `make client` from asynchronous/operating.py.

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from harmonicdet.client.arguments import given
from harmonicdet.client.shapes import (
    ArchitectureView,
    CollectionView,
    DeliveryView,
    KeyCreatedView,
    KeyView,
    Scope,
    StorageView,
    UploadView,
    WebhookCreatedView,
    WebhookView,
    WorkerView,
)
from harmonicdet.client.synchronous.bound import Resource
from harmonicdet.client.synchronous.pages import Pages

_TUS = {"Tus-Resumable": "1.0.0"}


class Uploads(Resource):
    """`client.uploads`: archives that arrive in parts. `client.datasets.upload` makes and resumes them."""

    def list(self, *, limit: int | None = None) -> Pages[UploadView]:
        """Uploads by age, the newest first."""
        return Pages(self._transport, "list_uploads", UploadView, limit=limit)

    def get(self, upload: str) -> UploadView:
        """How far it has come."""
        return UploadView(self._transport.json("get_upload", {"upload_id": upload}))

    def delete(self, upload: str) -> None:
        """Forget what has arrived."""
        self._transport.ask("delete_upload", {"upload_id": upload}, headers=_TUS)


class Architectures(Resource):
    """`client.architectures`: detectors that can be trained."""

    def list(self) -> "list_[ArchitectureView]":
        """All of them."""
        answer = self._transport.json("list_architectures")
        return [ArchitectureView(raw) for raw in answer["data"]]

    def schema(self, name: str) -> dict[str, Any]:
        """JSON Schema of its config, with defaults, ranges and a sentence per field."""
        found: dict[str, Any] = self._transport.json("get_architecture_schema", {"name": name})
        return found


class Webhooks(Resource):
    """`client.webhooks`: who is told when something happens."""

    def create(self, url: str, events: Sequence[str]) -> WebhookCreatedView:
        """Its `secret` is shown this once."""
        body = {"url": url, "events": list(events)}
        return WebhookCreatedView(self._transport.json("create_webhook", body=body))

    def get(self, webhook: str) -> WebhookView:
        """The webhook with this id."""
        return WebhookView(self._transport.json("get_webhook", {"webhook_id": webhook}))

    def list(self, *, limit: int | None = None) -> Pages[WebhookView]:
        """Webhooks by age, the newest first."""
        return Pages(self._transport, "list_webhooks", WebhookView, limit=limit)

    def ping(self, webhook: str) -> DeliveryView:
        """Send it a message, to see whether it arrives."""
        return DeliveryView(self._transport.json("ping_webhook", {"webhook_id": webhook}))

    def deliveries(self, webhook: str, *, limit: int | None = None) -> Pages[DeliveryView]:
        """What was sent to it, and how it answered."""
        path = {"webhook_id": webhook}
        return Pages(self._transport, "list_webhook_deliveries", DeliveryView, path, limit=limit)

    def delete(self, webhook: str) -> None:
        """Nothing more is sent to it."""
        self._transport.ask("delete_webhook", {"webhook_id": webhook})


class Keys(Resource):
    """`client.keys`, with a key of scope `admin`."""

    def create(
        self, name: str, scopes: Sequence[Scope], *, expires_at: datetime | None = None
    ) -> KeyCreatedView:
        """Its `key` is shown this once."""
        ends = None if expires_at is None else expires_at.isoformat()
        body = {"name": name, "scopes": list(scopes)} | given(expires_at=ends)
        return KeyCreatedView(self._transport.json("create_key", body=body))

    def list(self, *, limit: int | None = None) -> Pages[KeyView]:
        """Keys without their secrets, the newest first."""
        return Pages(self._transport, "list_keys", KeyView, limit=limit)

    def revoke(self, key: str) -> KeyView:
        """End a key at once."""
        return KeyView(self._transport.json("revoke_key", {"key_id": key}))


class Workers(Resource):
    """`client.workers`: processes that do the jobs."""

    def list(self, *, queue: str | None = None, limit: int | None = None) -> Pages[WorkerView]:
        """Those heard of within the last ten minutes."""
        return Pages(self._transport, "list_workers", WorkerView, query=given(queue=queue), limit=limit)

    def drain(self, worker: str) -> WorkerView:
        """It takes nothing more once its job has ended."""
        return WorkerView(self._transport.json("drain_worker", {"worker_id": worker}))

    def undrain(self, worker: str) -> WorkerView:
        """It takes jobs again."""
        return WorkerView(self._transport.json("undrain_worker", {"worker_id": worker}))


class Storage(Resource):
    """`client.storage`."""

    def get(self) -> StorageView:
        """How much is stored, and how much room there is."""
        return StorageView(self._transport.json("get_storage"))

    def collect(self, *, dry_run: bool = False) -> CollectionView:
        """Delete what nothing needs any more, or say what that would be."""
        return CollectionView(self._transport.json("collect_storage", query={"dry_run": dry_run}))


list_ = list  # within a class that has a method `list`
