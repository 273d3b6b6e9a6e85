"""Searches: trainings one after another, each with values that those before it suggest."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harmonicdet.client.arguments import given, id_of
from harmonicdet.client.asynchronous.series import AsyncAllSeries, AsyncSeries
from harmonicdet.client.errors import SearchFailed
from harmonicdet.client.shapes import (
    Choices,
    DatasetView,
    FloatRange,
    IntRange,
    MedianPruning,
    Metric,
    SearchDetailView,
    SearchView,
    TrainConfig,
)

if TYPE_CHECKING:
    from harmonicdet.client.asynchronous.models import AsyncModelDetail

Space = Mapping[str, FloatRange | IntRange | Choices]
AnySearch = SearchView | SearchDetailView


class _AsyncSearch(AsyncSeries["AsyncSearchDetail"]):
    @property
    def _all(self) -> "AsyncSearches":
        return self._client.searches

    async def model(self) -> "AsyncModelDetail":
        """The best model so far. Raises `SearchFailed` when there is none."""
        return await self._client.searches.model(self.id)


class AsyncSearch(_AsyncSearch, SearchView):
    """A search, as lists have it."""


class AsyncSearchDetail(_AsyncSearch, SearchDetailView):
    """A search with all its trials."""


class AsyncSearches(AsyncAllSeries[AsyncSearch, AsyncSearchDetail, AnySearch]):
    """`client.searches`."""

    _one = "search"
    _many = "searches"
    _item = AsyncSearch
    _detail = AsyncSearchDetail
    _failed = SearchFailed

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
        return await self._create(body)

    async def model(self, search: str | AnySearch) -> "AsyncModelDetail":
        """The best model so far. Raises `SearchFailed` when there is none."""
        found = await self.get(id_of(search))
        if found.best is None or found.best.model_id is None:
            raise SearchFailed(found)
        return await self._client.models.get(found.best.model_id)
