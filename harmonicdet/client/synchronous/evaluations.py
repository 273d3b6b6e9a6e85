"""Evaluations: a model, or detections of any program, measured on a split of a dataset."""

# Written by `make client` from asynchronous/evaluations.py.

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from harmonicdet.client.arguments import given, id_of
from harmonicdet.client.errors import EvaluationFailed
from harmonicdet.client.progress import FINISHED, Watcher
from harmonicdet.client.shapes import (
    ComparisonFigure,
    ConfusionView,
    DatasetView,
    EvaluationDetailView,
    EvaluationImageView,
    EvaluationView,
    JobStatus,
    ModelDetailView,
    ModelView,
    PrecisionRecallView,
    ThresholdSweepView,
)
from harmonicdet.client.synchronous.bound import Bound, Resource
from harmonicdet.client.synchronous.downloading import download
from harmonicdet.client.synchronous.pages import Pages
from harmonicdet.client.synchronous.waiting import states, watch

Metadata = Mapping[str, str]


class _Evaluation(Bound):
    def refresh(self) -> "EvaluationDetail":
        """As it is now, with every measure."""
        return self._client.evaluations.get(self.id)

    def wait(self, *, progress: bool | Watcher = False, timeout: float | None = None) -> "EvaluationDetail":
        """With every measure, once it has succeeded. Raises `EvaluationFailed`, `WaitTimedOut`."""
        return self._client.evaluations.wait(self.id, progress=progress, timeout=timeout)

    def delete(self) -> None:
        """Raises `Conflict` while it is being made."""
        self._client.evaluations.delete(self.id)


class Evaluation(_Evaluation, EvaluationView):
    """An evaluation, as lists have it."""


class EvaluationDetail(_Evaluation, EvaluationDetailView):
    """An evaluation with every measure."""


class Evaluations(Resource):
    """`client.evaluations`."""

    def create(
        self,
        model: str | ModelView | ModelDetailView,
        dataset: str | DatasetView,
        *,
        split: str | None = None,
        score_threshold: float | None = None,
        precision: float | None = None,
        voc_inclusive: bool | None = None,
        priority: int | None = None,
        metadata: Metadata | None = None,
    ) -> Evaluation:
        """Measure a model, by id or alias, on a split of a dataset that is ready."""
        said = given(
            split=split,
            score_threshold=score_threshold,
            precision=precision,
            voc_inclusive=voc_inclusive,
            priority=priority,
            metadata=metadata,
        )
        body = {"model": id_of(model), "dataset_id": id_of(dataset)} | said
        return self._make(self._transport.json("create_evaluation", body=body))

    def of_detections(
        self,
        source: str | PathLike[str] | bytes,
        dataset: str | DatasetView,
        *,
        split: str | None = None,
        score_threshold: float | None = None,
        precision: float | None = None,
        voc_inclusive: bool | None = None,
        priority: int | None = None,
        metadata: Metadata | None = None,
    ) -> Evaluation:
        """Measure COCO results (JSON) of any program: a file of them, or its bytes."""
        said = given(
            split=split,
            score_threshold=score_threshold,
            precision=precision,
            voc_inclusive=voc_inclusive,
            priority=priority,
            metadata=metadata,
        )
        fields = {"dataset_id": id_of(dataset)} | {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in said.items()
        }
        if isinstance(source, bytes):
            return self._sent(fields, "detections.json", source)
        with Path(source).open("rb") as file:
            return self._sent(fields, Path(source).name, file)

    def _sent(self, fields: dict[str, str], name: str, content: Any) -> Evaluation:
        files = {"file": (name, content, "application/json")}
        return self._make(self._transport.json("create_evaluation", data=fields, files=files))

    def get(self, evaluation: str) -> EvaluationDetail:
        """The evaluation with this id, with every measure."""
        answer = self._transport.json("get_evaluation", {"evaluation_id": evaluation})
        return EvaluationDetail(answer, self._client)

    def wait(
        self,
        evaluation: str | EvaluationView | EvaluationDetailView,
        *,
        progress: bool | Watcher = False,
        timeout: float | None = None,
    ) -> EvaluationDetail:
        """With every measure, once it has succeeded. Raises `EvaluationFailed`, `WaitTimedOut`."""
        found = states(
            self._transport,
            "get_evaluation",
            {"evaluation_id": id_of(evaluation)},
            ended=lambda state: state["status"] in FINISHED,
            timeout=timeout,
        )
        ended = EvaluationDetail(watch(found, progress), self._client)
        if ended.status != "succeeded":
            raise EvaluationFailed(ended)
        return ended

    def list(
        self,
        *,
        model: str | ModelView | ModelDetailView | None = None,
        dataset: str | DatasetView | None = None,
        status: JobStatus | None = None,
        metadata: Metadata | None = None,
        order: Literal["asc", "desc"] = "desc",
        limit: int | None = None,
    ) -> Pages[Evaluation]:
        """Evaluations by age, the newest first."""
        query = given(
            model_id=None if model is None else id_of(model),
            dataset_id=None if dataset is None else id_of(dataset),
            status=status,
            metadata=metadata,
            order=order,
        )
        return Pages(self._transport, "list_evaluations", self._make, query=query, limit=limit)

    def confusion_matrix(self, evaluation: str | EvaluationView | EvaluationDetailView) -> ConfusionView:
        """Which class is taken for which."""
        return ConfusionView(self._read("get_confusion_matrix", evaluation))

    def pr_curves(
        self,
        evaluation: str | EvaluationView | EvaluationDetailView,
        *,
        category_id: int | None = None,
        region: Literal["bbox", "segm"] | None = None,
    ) -> PrecisionRecallView:
        """Precision over recall, class by class."""
        query = given(category_id=category_id, region=region)
        return PrecisionRecallView(self._read("get_pr_curves", evaluation, query=query))

    def threshold_sweep(self, evaluation: str | EvaluationView | EvaluationDetailView) -> ThresholdSweepView:
        """What each score threshold does, and the ones worth taking."""
        return ThresholdSweepView(self._read("get_threshold_sweep", evaluation))

    def figure(
        self, evaluation: str | EvaluationView | EvaluationDetailView, figure: str
    ) -> ComparisonFigure:
        """A figure for Plotly: `plotly.graph_objects.Figure(found.raw)` draws it."""
        path = {"evaluation_id": id_of(evaluation), "figure": figure}
        return ComparisonFigure(self._transport.json("get_evaluation_figure", path))

    def images(
        self,
        evaluation: str | EvaluationView | EvaluationDetailView,
        *,
        score_threshold: float | None = None,
        showing: Literal["false_positives", "misses", "mistakes"] | None = None,
        category_id: int | None = None,
        limit: int | None = None,
    ) -> Pages[EvaluationImageView]:
        """What was found on each image, and what was not; `showing`: only images that have some."""
        query = given(score_threshold=score_threshold, showing=showing, category_id=category_id)
        path = {"evaluation_id": id_of(evaluation)}
        return Pages(
            self._transport, "list_evaluation_images", EvaluationImageView, path, query=query, limit=limit
        )

    def download_detections(
        self, evaluation: str | EvaluationView | EvaluationDetailView, target: str | PathLike[str]
    ) -> Path:
        """The detections as COCO results."""
        path = {"evaluation_id": id_of(evaluation)}
        return download(self._transport, "get_evaluation_detections", path, Path(target))

    def download_ground_truth(
        self, evaluation: str | EvaluationView | EvaluationDetailView, target: str | PathLike[str]
    ) -> Path:
        """The split as a COCO dataset."""
        path = {"evaluation_id": id_of(evaluation)}
        return download(self._transport, "get_evaluation_ground_truth", path, Path(target))

    def delete(self, evaluation: str | EvaluationView | EvaluationDetailView) -> None:
        """Raises `Conflict` while it is being made."""
        self._transport.ask("delete_evaluation", {"evaluation_id": id_of(evaluation)})

    def _read(
        self, operation: str, evaluation: str | EvaluationView | EvaluationDetailView, **options: Any
    ) -> Any:
        return self._transport.json(operation, {"evaluation_id": id_of(evaluation)}, **options)

    def _make(self, raw: dict[str, Any]) -> Evaluation:
        return Evaluation(raw, self._client)
