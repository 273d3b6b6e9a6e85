"""What operators need: uploads, architectures, webhooks, keys, workers, storage."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from harmonicdet.client.arguments import given
from harmonicdet.client.asynchronous.bound import AsyncResource
from harmonicdet.client.asynchronous.pages import AsyncPages
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

_TUS = {"Tus-Resumable": "1.0.0"}


class AsyncUploads(AsyncResource):
    """`client.uploads`: archives that arrive in parts. `client.datasets.upload` makes and resumes them."""

    def list(self, *, limit: int | None = None) -> AsyncPages[UploadView]:
        """Uploads by age, the newest first."""
        return AsyncPages(self._transport, "list_uploads", UploadView, limit=limit)

    async def get(self, upload: str) -> UploadView:
        """How far it has come."""
        return UploadView(await self._transport.json("get_upload", {"upload_id": upload}))

    async def delete(self, upload: str) -> None:
        """Forget what has arrived."""
        await self._transport.ask("delete_upload", {"upload_id": upload}, headers=_TUS)


class AsyncArchitectures(AsyncResource):
    """`client.architectures`: detectors that can be trained."""

    async def list(self) -> "list_[ArchitectureView]":
        """All of them."""
        answer = await self._transport.json("list_architectures")
        return [ArchitectureView(raw) for raw in answer["data"]]

    async def schema(self, name: str) -> dict[str, Any]:
        """JSON Schema of its config, with defaults, ranges and a sentence per field."""
        found: dict[str, Any] = await self._transport.json("get_architecture_schema", {"name": name})
        return found


class AsyncWebhooks(AsyncResource):
    """`client.webhooks`: who is told when something happens."""

    async def create(self, url: str, events: Sequence[str]) -> WebhookCreatedView:
        """Its `secret` is shown this once."""
        body = {"url": url, "events": list(events)}
        return WebhookCreatedView(await self._transport.json("create_webhook", body=body))

    async def get(self, webhook: str) -> WebhookView:
        """The webhook with this id."""
        return WebhookView(await self._transport.json("get_webhook", {"webhook_id": webhook}))

    def list(self, *, limit: int | None = None) -> AsyncPages[WebhookView]:
        """Webhooks by age, the newest first."""
        return AsyncPages(self._transport, "list_webhooks", WebhookView, limit=limit)

    async def ping(self, webhook: str) -> DeliveryView:
        """Send it a message, to see whether it arrives."""
        return DeliveryView(await self._transport.json("ping_webhook", {"webhook_id": webhook}))

    def deliveries(self, webhook: str, *, limit: int | None = None) -> AsyncPages[DeliveryView]:
        """What was sent to it, and how it answered."""
        path = {"webhook_id": webhook}
        return AsyncPages(self._transport, "list_webhook_deliveries", DeliveryView, path, limit=limit)

    async def delete(self, webhook: str) -> None:
        """Nothing more is sent to it."""
        await self._transport.ask("delete_webhook", {"webhook_id": webhook})


class AsyncKeys(AsyncResource):
    """`client.keys`, with a key of scope `admin`."""

    async def create(
        self, name: str, scopes: Sequence[Scope], *, expires_at: datetime | None = None
    ) -> KeyCreatedView:
        """Its `key` is shown this once."""
        ends = None if expires_at is None else expires_at.isoformat()
        body = {"name": name, "scopes": list(scopes)} | given(expires_at=ends)
        return KeyCreatedView(await self._transport.json("create_key", body=body))

    def list(self, *, limit: int | None = None) -> AsyncPages[KeyView]:
        """Keys without their secrets, the newest first."""
        return AsyncPages(self._transport, "list_keys", KeyView, limit=limit)

    async def revoke(self, key: str) -> KeyView:
        """End a key at once."""
        return KeyView(await self._transport.json("revoke_key", {"key_id": key}))


class AsyncWorkers(AsyncResource):
    """`client.workers`: processes that do the jobs."""

    def list(self, *, queue: str | None = None, limit: int | None = None) -> AsyncPages[WorkerView]:
        """Those heard of within the last ten minutes."""
        return AsyncPages(self._transport, "list_workers", WorkerView, query=given(queue=queue), limit=limit)

    async def drain(self, worker: str) -> WorkerView:
        """It takes nothing more once its job has ended."""
        return WorkerView(await self._transport.json("drain_worker", {"worker_id": worker}))

    async def undrain(self, worker: str) -> WorkerView:
        """It takes jobs again."""
        return WorkerView(await self._transport.json("undrain_worker", {"worker_id": worker}))


class AsyncStorage(AsyncResource):
    """`client.storage`."""

    async def get(self) -> StorageView:
        """How much is stored, and how much room there is."""
        return StorageView(await self._transport.json("get_storage"))

    async def collect(self, *, dry_run: bool = False) -> CollectionView:
        """Delete what nothing needs any more, or say what that would be."""
        return CollectionView(await self._transport.json("collect_storage", query={"dry_run": dry_run}))


list_ = list  # within a class that has a method `list`
