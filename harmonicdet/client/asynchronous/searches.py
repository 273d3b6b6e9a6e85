"""Searches: trainings one after another, each with values that those before it suggest."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from harmonicdet.client.arguments import given, id_of
from harmonicdet.client.asynchronous.bound import AsyncBound, AsyncResource
from harmonicdet.client.asynchronous.pages import AsyncPages
from harmonicdet.client.asynchronous.waiting import states, watch
from harmonicdet.client.errors import SearchFailed
from harmonicdet.client.progress import FINISHED, Watcher
from harmonicdet.client.shapes import (
    Choices,
    DatasetView,
    FloatRange,
    IntRange,
    JobStatus,
    MedianPruning,
    Metric,
    SearchDetailView,
    SearchView,
    TrainConfig,
)

if TYPE_CHECKING:
    from harmonicdet.client.asynchronous.models import AsyncModelDetail

Space = Mapping[str, FloatRange | IntRange | Choices]


class _AsyncSearch(AsyncBound):
    async def refresh(self) -> "AsyncSearchDetail":
        """As it is now, with every trial."""
        return await self._client.searches.get(self.id)

    async def wait(
        self, *, progress: bool | Watcher = False, timeout: float | None = None
    ) -> "AsyncSearchDetail":
        """As it is when it has succeeded. Raises `SearchFailed`, `WaitTimedOut`."""
        return await self._client.searches.wait(self.id, progress=progress, timeout=timeout)

    async def model(self) -> "AsyncModelDetail":
        """The best model so far. Raises `SearchFailed` when there is none."""
        return await self._client.searches.model(self.id)

    async def cancel(self) -> "AsyncSearchDetail":
        """End its jobs and begin no further trial; models that there are stay."""
        return await self._client.searches.cancel(self.id)

    async def pause(self) -> "AsyncSearchDetail":
        """Pause every trial that has not ended, and begin no further one."""
        return await self._client.searches.pause(self.id)

    async def resume(self) -> "AsyncSearchDetail":
        """Queue its paused trials again, and go on."""
        return await self._client.searches.resume(self.id)

    async def retry(self) -> "AsyncSearchDetail":
        """Queue failed and cancelled trials again, and begin those that were not begun."""
        return await self._client.searches.retry(self.id)

    async def delete(self) -> None:
        """Its jobs and models stay. Raises `Conflict` while it runs."""
        await self._client.searches.delete(self.id)


class AsyncSearch(_AsyncSearch, SearchView):
    """A search, as lists have it."""


class AsyncSearchDetail(_AsyncSearch, SearchDetailView):
    """A search with all its trials."""


class AsyncSearches(AsyncResource):
    """`client.searches`."""

    async def create(
        self,
        dataset: str | DatasetView,
        space: Space,
        *,
        config: TrainConfig | Mapping[str, Any] | None = None,
        max_trials: int | None = None,
        max_parallel: int | None = None,
        metric: Metric | None = None,
        pruning: bool | MedianPruning = True,
        seed: int | None = None,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int | None = None,
    ) -> AsyncSearchDetail:
        """Train with values from `space`, which has what each parameter of `config` may be. `pruning`: False
        for none, or its options.

        space = {"optimizer.lr": {"kind": "float", "low": 0.001, "high": 0.1, "log": True}}
        await client.search(dataset, space, max_trials=20)
        """
        body = given(
            dataset_id=id_of(dataset),
            config=dict(config or {}),
            space=dict(space),
            max_trials=max_trials,
            max_parallel=max_parallel,
            metric=metric,
            seed=seed,
            name=name,
            metadata=metadata,
            priority=priority,
        )
        if pruning is not True:
            body["pruning"] = pruning or None
        return AsyncSearchDetail(await self._transport.json("create_search", body=body), self._client)

    async def get(self, search: str) -> AsyncSearchDetail:
        """The search with this id."""
        return AsyncSearchDetail(await self._read("get_search", search), self._client)

    async def wait(
        self,
        search: str | SearchView | SearchDetailView,
        *,
        progress: bool | Watcher = False,
        timeout: float | None = None,
    ) -> AsyncSearchDetail:
        """As it is when it has succeeded. Raises `SearchFailed`, `WaitTimedOut`."""
        found = states(
            self._transport,
            "get_search",
            {"search_id": id_of(search)},
            ended=lambda state: state["status"] in FINISHED,
            timeout=timeout,
        )
        ended = AsyncSearchDetail(await watch(found, progress), self._client)
        if ended.status != "succeeded":
            raise SearchFailed(ended)
        return ended

    def list(
        self,
        *,
        dataset: str | DatasetView | None = None,
        status: JobStatus | None = None,
        metadata: Mapping[str, str] | None = None,
        order: Literal["asc", "desc"] = "desc",
        limit: int | None = None,
    ) -> AsyncPages[AsyncSearch]:
        """Searches by age, the newest first."""
        dataset_id = None if dataset is None else id_of(dataset)
        query = given(dataset_id=dataset_id, status=status, metadata=metadata, order=order)
        return AsyncPages(
            self._transport,
            "list_searches",
            lambda raw: AsyncSearch(raw, self._client),
            query=query,
            limit=limit,
        )

    async def model(self, search: str | SearchView | SearchDetailView) -> "AsyncModelDetail":
        """The best model so far. Raises `SearchFailed` when there is none."""
        found = await self.get(id_of(search))
        if found.best is None or found.best.model_id is None:
            raise SearchFailed(found)
        return await self._client.models.get(found.best.model_id)

    async def cancel(self, search: str | SearchView | SearchDetailView) -> AsyncSearchDetail:
        """End its jobs and begin no further trial; models that there are stay."""
        return AsyncSearchDetail(await self._read("cancel_search", search), self._client)

    async def pause(self, search: str | SearchView | SearchDetailView) -> AsyncSearchDetail:
        """Pause every trial that has not ended, and begin no further one."""
        return AsyncSearchDetail(await self._read("pause_search", search), self._client)

    async def resume(self, search: str | SearchView | SearchDetailView) -> AsyncSearchDetail:
        """Queue its paused trials again, and go on."""
        return AsyncSearchDetail(await self._read("resume_search", search), self._client)

    async def retry(self, search: str | SearchView | SearchDetailView) -> AsyncSearchDetail:
        """Queue failed and cancelled trials again, and begin those that were not begun."""
        return AsyncSearchDetail(await self._read("retry_search", search), self._client)

    async def delete(self, search: str | SearchView | SearchDetailView) -> None:
        """Its jobs and models stay. Raises `Conflict` while it runs."""
        await self._transport.ask("delete_search", {"search_id": id_of(search)})

    async def _read(self, operation: str, search: str | SearchView | SearchDetailView, **options: Any) -> Any:
        return await self._transport.json(operation, {"search_id": id_of(search)}, **options)
