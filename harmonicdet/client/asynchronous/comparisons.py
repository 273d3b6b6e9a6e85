"""Comparisons: the same trainings with several configs and seeds, and whether one is better."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from harmonicdet.client.arguments import given, id_of
from harmonicdet.client.asynchronous.bound import AsyncBound, AsyncResource
from harmonicdet.client.asynchronous.pages import AsyncPages
from harmonicdet.client.asynchronous.waiting import states, watch
from harmonicdet.client.errors import ComparisonFailed
from harmonicdet.client.progress import FINISHED, Watcher
from harmonicdet.client.shapes import (
    ComparisonDetailView,
    ComparisonFigure,
    ComparisonReport,
    ComparisonView,
    DatasetView,
    JobStatus,
    TrainConfig,
)

Arms = Mapping[str, TrainConfig | Mapping[str, Any]]


class _AsyncComparison(AsyncBound):
    async def refresh(self) -> "AsyncComparisonDetail":
        """As it is now, with every training."""
        return await self._client.comparisons.get(self.id)

    async def wait(
        self, *, progress: bool | Watcher = False, timeout: float | None = None
    ) -> "AsyncComparisonDetail":
        """As it is when it has succeeded. Raises `ComparisonFailed`, `WaitTimedOut`."""
        return await self._client.comparisons.wait(self.id, progress=progress, timeout=timeout)

    async def report(self) -> ComparisonReport:
        """Everything that was found."""
        return await self._client.comparisons.report(self.id)

    async def cancel(self) -> "AsyncComparisonDetail":
        """End its jobs without comparing them."""
        return await self._client.comparisons.cancel(self.id)

    async def pause(self) -> "AsyncComparisonDetail":
        """Pause every training that has not ended."""
        return await self._client.comparisons.pause(self.id)

    async def resume(self) -> "AsyncComparisonDetail":
        """Queue its paused trainings again."""
        return await self._client.comparisons.resume(self.id)

    async def retry(self) -> "AsyncComparisonDetail":
        """Queue what has failed of it again."""
        return await self._client.comparisons.retry(self.id)

    async def delete(self) -> None:
        """Its models stay. Raises `Conflict` while it runs."""
        await self._client.comparisons.delete(self.id)


class AsyncComparison(_AsyncComparison, ComparisonView):
    """A comparison, as lists have it."""


class AsyncComparisonDetail(_AsyncComparison, ComparisonDetailView):
    """A comparison with the trainings of every arm."""


class AsyncComparisons(AsyncResource):
    """`client.comparisons`."""

    async def create(
        self,
        dataset: str | DatasetView,
        arms: Arms,
        *,
        config: TrainConfig | Mapping[str, Any] | None = None,
        seeds: int | Sequence[int] = 3,
        baseline: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int | None = None,
    ) -> AsyncComparisonDetail:
        """Train each arm with each seed. An arm is its name and what it changes in `config`.

        await client.compare(dataset, {"baseline": {"loss": "baseline"}, "harmonic": {"loss": "harmonic"}})
        """
        body = {
            "dataset_id": id_of(dataset),
            "config": dict(config or {}),
            "arms": [{"name": arm, "config": dict(changes)} for arm, changes in arms.items()],
            "seeds": seeds if isinstance(seeds, int) else list(seeds),
        } | given(baseline=baseline, name=name, metadata=metadata, priority=priority)
        return AsyncComparisonDetail(await self._transport.json("create_comparison", body=body), self._client)

    async def get(self, comparison: str) -> AsyncComparisonDetail:
        """The comparison with this id."""
        return AsyncComparisonDetail(await self._read("get_comparison", comparison), self._client)

    async def wait(
        self,
        comparison: str | ComparisonView | ComparisonDetailView,
        *,
        progress: bool | Watcher = False,
        timeout: float | None = None,
    ) -> AsyncComparisonDetail:
        """As it is when it has succeeded. Raises `ComparisonFailed`, `WaitTimedOut`."""
        found = states(
            self._transport,
            "get_comparison",
            {"comparison_id": id_of(comparison)},
            ended=lambda state: state["status"] in FINISHED,
            timeout=timeout,
        )
        ended = AsyncComparisonDetail(await watch(found, progress), self._client)
        if ended.status != "succeeded":
            raise ComparisonFailed(ended)
        return ended

    def list(
        self,
        *,
        dataset: str | DatasetView | None = None,
        status: JobStatus | None = None,
        metadata: Mapping[str, str] | None = None,
        order: Literal["asc", "desc"] = "desc",
        limit: int | None = None,
    ) -> AsyncPages[AsyncComparison]:
        """Comparisons by age, the newest first."""
        dataset_id = None if dataset is None else id_of(dataset)
        query = given(dataset_id=dataset_id, status=status, metadata=metadata, order=order)
        return AsyncPages(
            self._transport,
            "list_comparisons",
            lambda raw: AsyncComparison(raw, self._client),
            query=query,
            limit=limit,
        )

    async def report(self, comparison: str | ComparisonView | ComparisonDetailView) -> ComparisonReport:
        """Mean and standard deviation of every arm, differences with intervals, verdicts, and why."""
        return ComparisonReport(
            await self._read("get_comparison_report", comparison, query={"format": "json"})
        )

    async def report_as(
        self,
        comparison: str | ComparisonView | ComparisonDetailView,
        format: Literal["markdown", "html"],  # noqa: A002  # as the service calls it
    ) -> str:
        """The report for people."""
        path = {"comparison_id": id_of(comparison)}
        answer = await self._transport.ask("get_comparison_report", path, query={"format": format})
        return answer.text

    async def figure(
        self, comparison: str | ComparisonView | ComparisonDetailView, figure: str
    ) -> ComparisonFigure:
        """A figure for Plotly: `plotly.graph_objects.Figure(found.raw)` draws it."""
        path = {"comparison_id": id_of(comparison), "figure": figure}
        return ComparisonFigure(await self._transport.json("get_comparison_figure", path))

    async def cancel(self, comparison: str | ComparisonView | ComparisonDetailView) -> AsyncComparisonDetail:
        """End its jobs without comparing them."""
        return AsyncComparisonDetail(await self._read("cancel_comparison", comparison), self._client)

    async def pause(self, comparison: str | ComparisonView | ComparisonDetailView) -> AsyncComparisonDetail:
        """Pause every training that has not ended."""
        return AsyncComparisonDetail(await self._read("pause_comparison", comparison), self._client)

    async def resume(self, comparison: str | ComparisonView | ComparisonDetailView) -> AsyncComparisonDetail:
        """Queue its paused trainings again."""
        return AsyncComparisonDetail(await self._read("resume_comparison", comparison), self._client)

    async def retry(self, comparison: str | ComparisonView | ComparisonDetailView) -> AsyncComparisonDetail:
        """Queue what has failed of it again."""
        return AsyncComparisonDetail(await self._read("retry_comparison", comparison), self._client)

    async def delete(self, comparison: str | ComparisonView | ComparisonDetailView) -> None:
        """Its models stay. Raises `Conflict` while it runs."""
        await self._transport.ask("delete_comparison", {"comparison_id": id_of(comparison)})

    async def _read(
        self, operation: str, comparison: str | ComparisonView | ComparisonDetailView, **options: Any
    ) -> Any:
        return await self._transport.json(operation, {"comparison_id": id_of(comparison)}, **options)
