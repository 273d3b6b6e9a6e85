"""Comparisons: the same trainings with several configs and seeds, and whether one is better."""

# Written by `make client` from asynchronous/comparisons.py.

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from harmonicdet.client.arguments import given, id_of
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
from harmonicdet.client.synchronous.bound import Bound, Resource
from harmonicdet.client.synchronous.pages import Pages
from harmonicdet.client.synchronous.waiting import states, watch

Arms = Mapping[str, TrainConfig | Mapping[str, Any]]


class _Comparison(Bound):
    def refresh(self) -> "ComparisonDetail":
        """As it is now, with every training."""
        return self._client.comparisons.get(self.id)

    def wait(self, *, progress: bool | Watcher = False, timeout: float | None = None) -> "ComparisonDetail":
        """As it is when it has succeeded. Raises `ComparisonFailed`, `WaitTimedOut`."""
        return self._client.comparisons.wait(self.id, progress=progress, timeout=timeout)

    def report(self) -> ComparisonReport:
        """Everything that was found."""
        return self._client.comparisons.report(self.id)

    def cancel(self) -> "ComparisonDetail":
        """End its jobs without comparing them."""
        return self._client.comparisons.cancel(self.id)

    def pause(self) -> "ComparisonDetail":
        """Pause every training that has not ended."""
        return self._client.comparisons.pause(self.id)

    def resume(self) -> "ComparisonDetail":
        """Queue its paused trainings again."""
        return self._client.comparisons.resume(self.id)

    def retry(self) -> "ComparisonDetail":
        """Queue what has failed of it again."""
        return self._client.comparisons.retry(self.id)

    def delete(self) -> None:
        """Its models stay. Raises `Conflict` while it runs."""
        self._client.comparisons.delete(self.id)


class Comparison(_Comparison, ComparisonView):
    """A comparison, as lists have it."""


class ComparisonDetail(_Comparison, ComparisonDetailView):
    """A comparison with the trainings of every arm."""


class Comparisons(Resource):
    """`client.comparisons`."""

    def create(
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
    ) -> ComparisonDetail:
        """Train each arm with each seed. An arm is its name and what it changes in `config`.

        client.compare(dataset, {"baseline": {"loss": "baseline"}, "harmonic": {"loss": "harmonic"}})
        """
        body = {
            "dataset_id": id_of(dataset),
            "config": dict(config or {}),
            "arms": [{"name": arm, "config": dict(changes)} for arm, changes in arms.items()],
            "seeds": seeds if isinstance(seeds, int) else list(seeds),
        } | given(baseline=baseline, name=name, metadata=metadata, priority=priority)
        return ComparisonDetail(self._transport.json("create_comparison", body=body), self._client)

    def get(self, comparison: str) -> ComparisonDetail:
        """The comparison with this id."""
        return ComparisonDetail(self._read("get_comparison", comparison), self._client)

    def wait(
        self,
        comparison: str | ComparisonView | ComparisonDetailView,
        *,
        progress: bool | Watcher = False,
        timeout: float | None = None,
    ) -> ComparisonDetail:
        """As it is when it has succeeded. Raises `ComparisonFailed`, `WaitTimedOut`."""
        found = states(
            self._transport,
            "get_comparison",
            {"comparison_id": id_of(comparison)},
            ended=lambda state: state["status"] in FINISHED,
            timeout=timeout,
        )
        ended = ComparisonDetail(watch(found, progress), self._client)
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
    ) -> Pages[Comparison]:
        """Comparisons by age, the newest first."""
        dataset_id = None if dataset is None else id_of(dataset)
        query = given(dataset_id=dataset_id, status=status, metadata=metadata, order=order)
        return Pages(
            self._transport,
            "list_comparisons",
            lambda raw: Comparison(raw, self._client),
            query=query,
            limit=limit,
        )

    def report(self, comparison: str | ComparisonView | ComparisonDetailView) -> ComparisonReport:
        """Mean and standard deviation of every arm, differences with intervals, verdicts, and why."""
        return ComparisonReport(self._read("get_comparison_report", comparison, query={"format": "json"}))

    def report_as(
        self,
        comparison: str | ComparisonView | ComparisonDetailView,
        format: Literal["markdown", "html"],  # noqa: A002  # as the service calls it
    ) -> str:
        """The report for people."""
        path = {"comparison_id": id_of(comparison)}
        answer = self._transport.ask("get_comparison_report", path, query={"format": format})
        return answer.text

    def figure(
        self, comparison: str | ComparisonView | ComparisonDetailView, figure: str
    ) -> ComparisonFigure:
        """A figure for Plotly: `plotly.graph_objects.Figure(found.raw)` draws it."""
        path = {"comparison_id": id_of(comparison), "figure": figure}
        return ComparisonFigure(self._transport.json("get_comparison_figure", path))

    def cancel(self, comparison: str | ComparisonView | ComparisonDetailView) -> ComparisonDetail:
        """End its jobs without comparing them."""
        return ComparisonDetail(self._read("cancel_comparison", comparison), self._client)

    def pause(self, comparison: str | ComparisonView | ComparisonDetailView) -> ComparisonDetail:
        """Pause every training that has not ended."""
        return ComparisonDetail(self._read("pause_comparison", comparison), self._client)

    def resume(self, comparison: str | ComparisonView | ComparisonDetailView) -> ComparisonDetail:
        """Queue its paused trainings again."""
        return ComparisonDetail(self._read("resume_comparison", comparison), self._client)

    def retry(self, comparison: str | ComparisonView | ComparisonDetailView) -> ComparisonDetail:
        """Queue what has failed of it again."""
        return ComparisonDetail(self._read("retry_comparison", comparison), self._client)

    def delete(self, comparison: str | ComparisonView | ComparisonDetailView) -> None:
        """Its models stay. Raises `Conflict` while it runs."""
        self._transport.ask("delete_comparison", {"comparison_id": id_of(comparison)})

    def _read(
        self, operation: str, comparison: str | ComparisonView | ComparisonDetailView, **options: Any
    ) -> Any:
        return self._transport.json(operation, {"comparison_id": id_of(comparison)}, **options)
