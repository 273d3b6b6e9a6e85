"""Searches: trainings one after another, each with values that those before it suggest."""

# Written by `make client` from asynchronous/searches.py.

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from harmonicdet.client.arguments import given, id_of
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
from harmonicdet.client.synchronous.bound import Bound, Resource
from harmonicdet.client.synchronous.pages import Pages
from harmonicdet.client.synchronous.waiting import states, watch

if TYPE_CHECKING:
    from harmonicdet.client.synchronous.models import ModelDetail

Space = Mapping[str, FloatRange | IntRange | Choices]


class _Search(Bound):
    def refresh(self) -> "SearchDetail":
        """As it is now, with every trial."""
        return self._client.searches.get(self.id)

    def wait(self, *, progress: bool | Watcher = False, timeout: float | None = None) -> "SearchDetail":
        """As it is when it has succeeded. Raises `SearchFailed`, `WaitTimedOut`."""
        return self._client.searches.wait(self.id, progress=progress, timeout=timeout)

    def model(self) -> "ModelDetail":
        """The best model so far. Raises `SearchFailed` when there is none."""
        return self._client.searches.model(self.id)

    def cancel(self) -> "SearchDetail":
        """End its jobs and begin no further trial; models that there are stay."""
        return self._client.searches.cancel(self.id)

    def pause(self) -> "SearchDetail":
        """Pause every trial that has not ended, and begin no further one."""
        return self._client.searches.pause(self.id)

    def resume(self) -> "SearchDetail":
        """Queue its paused trials again, and go on."""
        return self._client.searches.resume(self.id)

    def retry(self) -> "SearchDetail":
        """Queue failed and cancelled trials again, and begin those that were not begun."""
        return self._client.searches.retry(self.id)

    def delete(self) -> None:
        """Its jobs and models stay. Raises `Conflict` while it runs."""
        self._client.searches.delete(self.id)


class Search(_Search, SearchView):
    """A search, as lists have it."""


class SearchDetail(_Search, SearchDetailView):
    """A search with all its trials."""


class Searches(Resource):
    """`client.searches`."""

    def create(
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
    ) -> SearchDetail:
        """Train with values from `space`, which has what each parameter of `config` may be. `pruning`: False
        for none, or its options.

        space = {"optimizer.lr": {"kind": "float", "low": 0.001, "high": 0.1, "log": True}}
        client.search(dataset, space, max_trials=20)
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
        return SearchDetail(self._transport.json("create_search", body=body), self._client)

    def get(self, search: str) -> SearchDetail:
        """The search with this id."""
        return SearchDetail(self._read("get_search", search), self._client)

    def wait(
        self,
        search: str | SearchView | SearchDetailView,
        *,
        progress: bool | Watcher = False,
        timeout: float | None = None,
    ) -> SearchDetail:
        """As it is when it has succeeded. Raises `SearchFailed`, `WaitTimedOut`."""
        found = states(
            self._transport,
            "get_search",
            {"search_id": id_of(search)},
            ended=lambda state: state["status"] in FINISHED,
            timeout=timeout,
        )
        ended = SearchDetail(watch(found, progress), self._client)
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
    ) -> Pages[Search]:
        """Searches by age, the newest first."""
        dataset_id = None if dataset is None else id_of(dataset)
        query = given(dataset_id=dataset_id, status=status, metadata=metadata, order=order)
        return Pages(
            self._transport,
            "list_searches",
            lambda raw: Search(raw, self._client),
            query=query,
            limit=limit,
        )

    def model(self, search: str | SearchView | SearchDetailView) -> "ModelDetail":
        """The best model so far. Raises `SearchFailed` when there is none."""
        found = self.get(id_of(search))
        if found.best is None or found.best.model_id is None:
            raise SearchFailed(found)
        return self._client.models.get(found.best.model_id)

    def cancel(self, search: str | SearchView | SearchDetailView) -> SearchDetail:
        """End its jobs and begin no further trial; models that there are stay."""
        return SearchDetail(self._read("cancel_search", search), self._client)

    def pause(self, search: str | SearchView | SearchDetailView) -> SearchDetail:
        """Pause every trial that has not ended, and begin no further one."""
        return SearchDetail(self._read("pause_search", search), self._client)

    def resume(self, search: str | SearchView | SearchDetailView) -> SearchDetail:
        """Queue its paused trials again, and go on."""
        return SearchDetail(self._read("resume_search", search), self._client)

    def retry(self, search: str | SearchView | SearchDetailView) -> SearchDetail:
        """Queue failed and cancelled trials again, and begin those that were not begun."""
        return SearchDetail(self._read("retry_search", search), self._client)

    def delete(self, search: str | SearchView | SearchDetailView) -> None:
        """Its jobs and models stay. Raises `Conflict` while it runs."""
        self._transport.ask("delete_search", {"search_id": id_of(search)})

    def _read(self, operation: str, search: str | SearchView | SearchDetailView, **options: Any) -> Any:
        return self._transport.json(operation, {"search_id": id_of(search)}, **options)
