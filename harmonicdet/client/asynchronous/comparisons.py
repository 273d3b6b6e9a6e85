"""Comparisons: the same trainings with several configs and seeds, and whether one is better."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from harmonicdet.client.arguments import given, id_of
from harmonicdet.client.asynchronous.series import AsyncAllSeries, AsyncSeries
from harmonicdet.client.errors import ComparisonFailed
from harmonicdet.client.shapes import (
    ComparisonDetailView,
    ComparisonFigure,
    ComparisonReport,
    ComparisonView,
    DatasetView,
    TrainConfig,
)

Arms = Mapping[str, TrainConfig | Mapping[str, Any]]
AnyComparison = ComparisonView | ComparisonDetailView


class _AsyncComparison(AsyncSeries["AsyncComparisonDetail"]):
    @property
    def _all(self) -> "AsyncComparisons":
        return self._client.comparisons

    async def report(self) -> ComparisonReport:
        """Everything that was found."""
        return await self._client.comparisons.report(self.id)


class AsyncComparison(_AsyncComparison, ComparisonView):
    """A comparison, as lists have it."""


class AsyncComparisonDetail(_AsyncComparison, ComparisonDetailView):
    """A comparison with the trainings of every arm."""


class AsyncComparisons(AsyncAllSeries[AsyncComparison, AsyncComparisonDetail, AnyComparison]):
    """`client.comparisons`."""

    _one = "comparison"
    _many = "comparisons"
    _item = AsyncComparison
    _detail = AsyncComparisonDetail
    _failed = ComparisonFailed

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
        }
        return await self._create(
            body | given(baseline=baseline, name=name, metadata=metadata, priority=priority)
        )

    async def report(self, comparison: str | AnyComparison) -> ComparisonReport:
        """Mean and standard deviation of every arm, differences with intervals, verdicts, and why."""
        query = {"format": "json"}
        return ComparisonReport(
            await self._transport.json("get_comparison_report", self._path(comparison), query=query)
        )

    async def report_as(
        self,
        comparison: str | AnyComparison,
        format: Literal["markdown", "html"],  # noqa: A002  # as the service calls it
    ) -> str:
        """The report for people."""
        query = {"format": format}
        answer = await self._transport.ask("get_comparison_report", self._path(comparison), query=query)
        return answer.text

    async def figure(self, comparison: str | AnyComparison, figure: str) -> ComparisonFigure:
        """A figure for Plotly: `plotly.graph_objects.Figure(found.raw)` draws it."""
        path = self._path(comparison) | {"figure": figure}
        return ComparisonFigure(await self._transport.json("get_comparison_figure", path))
