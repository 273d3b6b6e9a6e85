"""Comparisons and searches alike: series of trainings that are read, waited for and ended as a whole."""

# Written by `make client` from asynchronous/series.py.

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

from harmonicdet.client.arguments import given, id_of
from harmonicdet.client.errors import HarmonicDetError
from harmonicdet.client.progress import FINISHED, Watcher
from harmonicdet.client.shape import Shape
from harmonicdet.client.shapes import DatasetView, JobStatus
from harmonicdet.client.synchronous.bound import Bound, Resource
from harmonicdet.client.synchronous.pages import Pages
from harmonicdet.client.synchronous.waiting import states, watch

ItemT = TypeVar("ItemT", bound="Series[Any]")
DetailT = TypeVar("DetailT", bound="Series[Any]")
ViewT = TypeVar("ViewT", bound=Shape)


class Series(Bound, Generic[DetailT]):
    """What can be done with one of them."""

    status: JobStatus

    @property
    def _all(self) -> "AllSeries[Any, DetailT, Any]":
        """Those of its kind."""
        raise NotImplementedError

    def refresh(self) -> DetailT:
        """As it is now, with every training."""
        return self._all.get(self.id)

    def wait(self, *, progress: bool | Watcher = False, timeout: float | None = None) -> DetailT:
        """As it is when it has succeeded.

        Raises `ComparisonFailed` or `SearchFailed`, and `WaitTimedOut`.
        """
        return self._all.wait(self.id, progress=progress, timeout=timeout)

    def cancel(self) -> DetailT:
        """End its jobs, and begin no further one; models that there are stay."""
        return self._all.cancel(self.id)

    def pause(self) -> DetailT:
        """Pause every training that has not ended, and begin no further one."""
        return self._all.pause(self.id)

    def resume(self) -> DetailT:
        """Queue its paused trainings again, and go on."""
        return self._all.resume(self.id)

    def retry(self) -> DetailT:
        """Queue what has failed or was cancelled again, and begin what was not begun."""
        return self._all.retry(self.id)

    def delete(self) -> None:
        """Its jobs and models stay. Raises `Conflict` while it runs."""
        self._all.delete(self.id)


class AllSeries(Resource, Generic[ItemT, DetailT, ViewT]):
    """All of a kind: `ItemT` as lists have them, `DetailT` with every training, either a `ViewT`."""

    _one: ClassVar[str]
    """What the service calls one of them in its operations, such as `search`."""
    _many: ClassVar[str]
    _item: type[ItemT]
    _detail: type[DetailT]
    _failed: type[HarmonicDetError]

    def get(self, which: str) -> DetailT:
        """The one with this id."""
        return self._ask("get", which)

    def wait(
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
        ended = self._detail(watch(found, progress), self._client)
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
    ) -> Pages[ItemT]:
        """All by age, the newest first."""
        dataset_id = None if dataset is None else id_of(dataset)
        query = given(dataset_id=dataset_id, status=status, metadata=metadata, order=order)
        return Pages(
            self._transport,
            f"list_{self._many}",
            lambda raw: self._item(raw, self._client),
            query=query,
            limit=limit,
        )

    def cancel(self, which: str | ViewT) -> DetailT:
        """End its jobs, and begin no further one; models that there are stay."""
        return self._ask("cancel", which)

    def pause(self, which: str | ViewT) -> DetailT:
        """Pause every training that has not ended, and begin no further one."""
        return self._ask("pause", which)

    def resume(self, which: str | ViewT) -> DetailT:
        """Queue its paused trainings again, and go on."""
        return self._ask("resume", which)

    def retry(self, which: str | ViewT) -> DetailT:
        """Queue what has failed or was cancelled again, and begin what was not begun."""
        return self._ask("retry", which)

    def delete(self, which: str | ViewT) -> None:
        """Its jobs and models stay. Raises `Conflict` while it runs."""
        self._transport.ask(f"delete_{self._one}", self._path(which))

    def _create(self, body: Mapping[str, Any]) -> DetailT:
        return self._detail(self._transport.json(f"create_{self._one}", body=dict(body)), self._client)

    def _ask(self, action: str, which: str | ViewT) -> DetailT:
        raw = self._transport.json(f"{action}_{self._one}", self._path(which))
        return self._detail(raw, self._client)

    def _path(self, which: str | ViewT) -> dict[str, Any]:
        return {f"{self._one}_id": id_of(which)}
