"""Comparisons and searches alike: series of trainings that are read, waited for and ended as a whole."""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

from harmonicdet.client.arguments import given, id_of
from harmonicdet.client.asynchronous.bound import AsyncBound, AsyncResource
from harmonicdet.client.asynchronous.pages import AsyncPages
from harmonicdet.client.asynchronous.waiting import states, watch
from harmonicdet.client.errors import HarmonicDetError
from harmonicdet.client.progress import FINISHED, Watcher
from harmonicdet.client.shape import Shape
from harmonicdet.client.shapes import DatasetView, JobStatus

ItemT = TypeVar("ItemT", bound="AsyncSeries[Any]")
DetailT = TypeVar("DetailT", bound="AsyncSeries[Any]")
ViewT = TypeVar("ViewT", bound=Shape)


class AsyncSeries(AsyncBound, Generic[DetailT]):
    """What can be done with one of them."""

    status: JobStatus

    @property
    def _all(self) -> "AsyncAllSeries[Any, DetailT, Any]":
        """Those of its kind."""
        raise NotImplementedError

    async def refresh(self) -> DetailT:
        """As it is now, with every training."""
        return await self._all.get(self.id)

    async def wait(self, *, progress: bool | Watcher = False, timeout: float | None = None) -> DetailT:
        """As it is when it has succeeded.

        Raises `ComparisonFailed` or `SearchFailed`, and `WaitTimedOut`.
        """
        return await self._all.wait(self.id, progress=progress, timeout=timeout)

    async def cancel(self) -> DetailT:
        """End its jobs, and begin no further one; models that there are stay."""
        return await self._all.cancel(self.id)

    async def pause(self) -> DetailT:
        """Pause every training that has not ended, and begin no further one."""
        return await self._all.pause(self.id)

    async def resume(self) -> DetailT:
        """Queue its paused trainings again, and go on."""
        return await self._all.resume(self.id)

    async def retry(self) -> DetailT:
        """Queue what has failed or was cancelled again, and begin what was not begun."""
        return await self._all.retry(self.id)

    async def delete(self) -> None:
        """Its jobs and models stay. Raises `Conflict` while it runs."""
        await self._all.delete(self.id)


class AsyncAllSeries(AsyncResource, Generic[ItemT, DetailT, ViewT]):
    """All of a kind: `ItemT` as lists have them, `DetailT` with every training, either a `ViewT`."""

    _one: ClassVar[str]
    """What the service calls one of them in its operations, such as `search`."""
    _many: ClassVar[str]
    _item: type[ItemT]
    _detail: type[DetailT]
    _failed: type[HarmonicDetError]

    async def get(self, which: str) -> DetailT:
        """The one with this id."""
        return await self._ask("get", which)

    async def wait(
        self, which: str | ViewT, *, progress: bool | Watcher = False, timeout: float | None = None
    ) -> DetailT:
        """As it is when it has succeeded.

        Raises `ComparisonFailed` or `SearchFailed`, and `WaitTimedOut`.
        """
        found = states(
            self._transport,
            f"get_{self._one}",
            self._path(which),
            ended=lambda state: state["status"] in FINISHED,
            timeout=timeout,
        )
        ended = self._detail(await watch(found, progress), self._client)
        if ended.status != "succeeded":
            raise self._failed(ended)
        return ended

    def list(
        self,
        *,
        dataset: str | DatasetView | None = None,
        status: JobStatus | None = None,
        metadata: Mapping[str, str] | None = None,
        order: Literal["asc", "desc"] = "desc",
        limit: int | None = None,
    ) -> AsyncPages[ItemT]:
        """All by age, the newest first."""
        dataset_id = None if dataset is None else id_of(dataset)
        query = given(dataset_id=dataset_id, status=status, metadata=metadata, order=order)
        return AsyncPages(
            self._transport,
            f"list_{self._many}",
            lambda raw: self._item(raw, self._client),
            query=query,
            limit=limit,
        )

    async def cancel(self, which: str | ViewT) -> DetailT:
        """End its jobs, and begin no further one; models that there are stay."""
        return await self._ask("cancel", which)

    async def pause(self, which: str | ViewT) -> DetailT:
        """Pause every training that has not ended, and begin no further one."""
        return await self._ask("pause", which)

    async def resume(self, which: str | ViewT) -> DetailT:
        """Queue its paused trainings again, and go on."""
        return await self._ask("resume", which)

    async def retry(self, which: str | ViewT) -> DetailT:
        """Queue what has failed or was cancelled again, and begin what was not begun."""
        return await self._ask("retry", which)

    async def delete(self, which: str | ViewT) -> None:
        """Its jobs and models stay. Raises `Conflict` while it runs."""
        await self._transport.ask(f"delete_{self._one}", self._path(which))

    async def _create(self, body: Mapping[str, Any]) -> DetailT:
        return self._detail(await self._transport.json(f"create_{self._one}", body=dict(body)), self._client)

    async def _ask(self, action: str, which: str | ViewT) -> DetailT:
        raw = await self._transport.json(f"{action}_{self._one}", self._path(which))
        return self._detail(raw, self._client)

    def _path(self, which: str | ViewT) -> dict[str, Any]:
        return {f"{self._one}_id": id_of(which)}
