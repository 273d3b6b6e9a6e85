"""Evaluations on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, FiniteFloat, RootModel

from api.schemas.common import (
    Body,
    Example,
    Identified,
    JobProblem,
    ListView,
    Metadata,
    NumberedListView,
    Shape,
)
from api.schemas.models import ClassView
from store.tables import Evaluation, Job, JobKind, JobStatus

Numbers = dict[str, float | None]

_DATASET_ID = "ds_01jz4m8x0v3s7q9k2b5c6d7e8f"
_EVALUATION_ID = "evl_01jz4mp2q7r9s1t3v5w7x9y1z4"
_MODEL_ID = "mdl_01jz4mp2q7r9s1t3v5w7x9y1z3"
_METRICS: Example = {
    "AP": 0.412,
    "AP50": 0.731,
    "AP75": 0.401,
    "AP_small": None,
    "AP_medium": 0.355,
    "AP_large": 0.447,
    "AR1": 0.21,
    "AR10": 0.472,
    "AR100": 0.518,
    "AR_small": None,
    "AR_medium": 0.47,
    "AR_large": 0.55,
}


class _Asked(Body):
    dataset_id: str = Field(min_length=1, max_length=40)
    """The dataset that it is measured on, which must be ready."""
    split: str = Field("auto", min_length=1, max_length=40)
    """The split of the dataset; `auto` is `val`, else `test`, else the only one there is."""
    score_threshold: Annotated[FiniteFloat | None, Field(ge=-1e30, le=1e30)] = None
    """The score from which detections count in the confusion matrix and in the lists of images; without it
    the one with the best F1."""
    precision: float = Field(0.9, gt=0, le=1)
    """The share of right detections that the second kind of operating point must reach."""
    voc_inclusive: bool = False
    """Measure VOC's AP as its devkit does, where a box's corners are pixels that belong to it."""
    priority: int = Field(0, ge=-100, le=100)
    """Larger ones start first; among equals the oldest."""
    metadata: Metadata = Field(default_factory=dict)
    """Up to 50 names and values of your own."""

    @property
    def options(self) -> dict[str, Any]:
        """What is asked of the report."""
        return self.model_dump(include={"score_threshold", "precision", "voc_inclusive"})


class EvaluationCreate(_Asked):
    """A model to measure."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": _MODEL_ID, "dataset_id": _DATASET_ID},
                {
                    "model": "production",
                    "dataset_id": _DATASET_ID,
                    "split": "test",
                    "precision": 0.95,
                    "metadata": {"release": "2026-11"},
                },
            ]
        }
    )

    model: str = Field(min_length=1, max_length=100)
    """Id of the model, or an alias such as `production`."""


class EvaluationOfDetections(_Asked):
    """What is said about a file of detections."""


EXAMPLE: Example = {
    "id": _EVALUATION_ID,
    "object": "evaluation",
    "status": "succeeded",
    "status_reason": None,
    "source": "model",
    "job_id": "job_01jz4m9a6hcy0p3t1w5x7z9b2d",
    "model_id": _MODEL_ID,
    "dataset_id": _DATASET_ID,
    "split": "val",
    "score_threshold": None,
    "precision": 0.9,
    "voc_inclusive": False,
    "metrics": _METRICS,
    "error": None,
    "metadata": {},
    "created_at": "2026-11-22T15:12:00.000Z",
    "finished_at": "2026-11-22T15:12:31.482Z",
}
NEW_EXAMPLE: Example = EXAMPLE | {"status": "queued", "metrics": None, "finished_at": None}


class EvaluationView(Identified):
    """Detections measured on a split of a dataset."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    object: Literal["evaluation"] = "evaluation"
    status: JobStatus
    """That of its job; `succeeded`, `failed` and `cancelled` are final."""
    status_reason: str | None
    """Why it ended or waits, such as `results_invalid`, `user_cancelled`, `worker_lost`."""
    source: Literal["training", "model", "detections"]
    """Whose detections: a model's at the end of its `training`, a `model`'s as it is served, or uploaded
    `detections`."""
    job_id: str | None
    """The job that makes it, or the training that it was made by: progress, events and logs are there."""
    model_id: str | None
    """The model; null for detections."""
    dataset_id: str | None
    """The dataset; null once that is deleted."""
    split: str
    score_threshold: float | None
    """As it was asked for."""
    precision: float
    """As it was asked for."""
    voc_inclusive: bool
    """As it was asked for."""
    metrics: Numbers | None
    """The 12 COCO numbers, 0 to 1, null where the split has no such object; of masks also `segm_AP` and so
    on. Null before it has succeeded."""
    error: JobProblem | None
    """Why it failed; `errors` names each fault of uploaded detections by a JSON Pointer."""
    metadata: dict[str, str]
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: Evaluation, job: Job | None) -> Self:
        return cls.model_validate(fields(row, job))


class EvaluationList(ListView[EvaluationView]):
    """A page of evaluations."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [EXAMPLE],
                    "first_id": _EVALUATION_ID,
                    "last_id": _EVALUATION_ID,
                    "has_more": False,
                }
            ]
        }
    )


class ClassNumbers(Shape):
    """One class by COCO's metric, 0 to 1; null without objects."""

    id: int
    name: str
    AP: float | None
    AP50: float | None
    boxes: int
    """Its objects, crowds left out."""
    AP_by_iou: Numbers
    """AP at each IoU, `0.50` to `0.95`."""


class SliceView(Shape):
    """AP of one kind of objects: those with `lowest` <= value < `highest`."""

    group: str
    """`size`, `elongation`, `fill`, `overlap`, `crowd`, `occluded`, `truncated` or `difficult`."""
    name: str
    """Such as `small`, `above_3`, `yes`."""
    lowest: float
    highest: float | None
    objects: int
    AP: float | None
    AP50: float | None
    AP75: float | None
    AR100: float | None


class LimitsView(Shape):
    """What counts as a high and a low score and IoU."""

    high_score: float
    low_score: float
    high_iou: float
    low_iou: float


class ConsistencyView(Shape):
    """Whether the score tells how well a box is placed, on detections that match an object at IoU 0.5."""

    matched: int
    spearman: float | None
    """Correlation of the ranks of score and IoU."""
    pearson: float | None
    histogram: list[list[int]]
    """Rows score, columns IoU."""
    score_edges: list[float]
    iou_edges: list[float]
    high_score_low_iou: float | None
    """Share of the matched detections."""
    low_score_high_iou: float | None
    calibration_error: float | None
    """Expected, of score against IoU."""
    calibration_error_of_all: float | None
    """The same over all detections, those that match nothing with an IoU of 0."""
    ap: float | None
    ap_ranked_by_iou: float | None
    """AP of the same boxes, had each its IoU as its score."""
    headroom: float | None
    """What perfect ranking would add to AP."""
    limits: LimitsView


class CocoView(Shape):
    """COCO's metric, by boxes or by masks."""

    metrics: Numbers
    score_threshold: float
    """The score from which all detections together have the best F1 at IoU 0.5."""
    AP_by_iou: Numbers
    per_class: list[ClassNumbers]


class MaskView(CocoView):
    """COCO's metric by masks, with what else is told of them."""

    consistency: ConsistencyView
    slices: list[SliceView]


class VocClassView(Shape):
    """One class by VOC's metric."""

    id: int
    name: str
    AP: float | None
    objects: int
    """Difficult ones left out."""


class VocView(Shape):
    """VOC's average precision."""

    mAP: float | None  # noqa: N815  # as everybody calls it
    iou_threshold: float
    inclusive: bool
    per_class: list[VocClassView]


class SuppressionView(Shape):
    """What non-maximum suppression costs, in objects."""

    objects: int
    with_candidate: int
    kept_best: int
    lost_to_worse: int
    lost_otherwise: int
    mean_iou_lost: float | None
    fell_below: dict[str, int]


class OtherSplitView(Shape):
    """The split that a training's operating points are reported on."""

    name: str
    images: int
    images_of_split: int
    metrics: Numbers


_PER_CLASS: Example = {
    "id": 2,
    "name": "RBC",
    "AP": 0.44,
    "AP50": 0.76,
    "boxes": 967,
    "AP_by_iou": {"0.50": 0.76, "0.75": 0.43, "0.95": 0.02},
}
_CONSISTENCY: Example = {
    "matched": 4,
    "spearman": 0.8,
    "pearson": 0.77,
    "histogram": [[1, 0], [1, 2]],
    "score_edges": [0.0, 0.5, 1.0],
    "iou_edges": [0.5, 0.75, 1.0],
    "high_score_low_iou": 0.0,
    "low_score_high_iou": 0.0,
    "calibration_error": 0.11,
    "calibration_error_of_all": 0.14,
    "ap": 0.412,
    "ap_ranked_by_iou": 0.533,
    "headroom": 0.121,
    "limits": {"high_score": 0.7, "low_score": 0.3, "high_iou": 0.8, "low_iou": 0.6},
}
_VOC: Example = {
    "mAP": 0.72,
    "iou_threshold": 0.5,
    "inclusive": False,
    "per_class": [{"id": 2, "name": "RBC", "AP": 0.74, "objects": 967}],
}


class EvaluationDetailView(EvaluationView):
    """Every measure. What is below `finished_at` is null or empty before it has succeeded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                EXAMPLE
                | {
                    "images": 87,
                    "objects": 1137,
                    "crowds": 0,
                    "detections": 8700,
                    "classes": [{"id": 2, "name": "RBC"}],
                    "bbox": {
                        "metrics": _METRICS,
                        "score_threshold": 0.42,
                        "AP_by_iou": {"0.50": 0.731, "0.75": 0.401, "0.95": 0.02},
                        "per_class": [_PER_CLASS],
                    },
                    "segm": None,
                    "voc": {"11_points": _VOC, "area": _VOC},
                    "slices": [
                        {
                            "group": "elongation",
                            "name": "2_to_3",
                            "lowest": 2.0,
                            "highest": 3.0,
                            "objects": 41,
                            "AP": 0.31,
                            "AP50": 0.6,
                            "AP75": 0.29,
                            "AR100": 0.44,
                        }
                    ],
                    "consistency": _CONSISTENCY,
                    "suppression": None,
                    "other_split": None,
                    "warnings": [],
                }
            ]
        }
    )

    images: int | None
    """Images it is about. A training's own is about at most 1000; its `metrics` are about all."""
    objects: int | None
    crowds: int | None
    """Regions of many objects, which count neither way."""
    detections: int | None
    classes: list[ClassView]
    bbox: CocoView | None
    """COCO by boxes."""
    segm: MaskView | None
    """COCO by masks; null unless every detection and some object has one."""
    voc: dict[Literal["11_points", "area"], VocView] | None
    """VOC's average precision: of 2007 by `11_points`, of 2010 and later by `area`."""
    slices: list[SliceView]
    """By size, by shape, and by what hides an object."""
    consistency: ConsistencyView | None
    suppression: SuppressionView | None
    """Of a training's evaluation only."""
    other_split: OtherSplitView | None
    """Of a training's evaluation only."""
    warnings: list[str]
    """Such as that the dataset lacks a class of the model."""

    @classmethod
    def whole(cls, row: Evaluation, job: Job | None, report: dict[str, Any] | None) -> Self:
        measured = report or {}
        told = {name: measured.get(name) for name in _TOLD}
        lists = {name: measured.get(name) or [] for name in ("classes", "slices", "warnings")}
        return cls.model_validate(fields(row, job) | told | lists)


_TOLD = (
    *("images", "objects", "crowds", "detections", "bbox", "segm", "voc"),
    *("consistency", "suppression", "other_split"),
)


class ConfusionView(Shape):
    """Which class is taken for which."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "confusion_matrix",
                    "evaluation_id": _EVALUATION_ID,
                    "classes": [{"id": 2, "name": "RBC"}, {"id": 3, "name": "WBC"}],
                    "matrix": [[912, 1, 54], [0, 70, 3], [131, 4, 0]],
                    "score_threshold": 0.42,
                    "iou_threshold": 0.5,
                }
            ]
        }
    )

    object: Literal["confusion_matrix"] = "confusion_matrix"
    evaluation_id: str
    classes: list[ClassView]
    matrix: list[list[int]]
    """`matrix[i][j]` counts objects of class i met by detections of class j. The last row is of detections
    where no object is, the last column of objects that were missed."""
    score_threshold: float
    """Only detections of at least this score."""
    iou_threshold: float


class CurveView(Shape):
    """At each recall the best precision that is reached there or beyond, and the score that gives it."""

    precision: list[float]
    scores: list[float]


class ClassCurvesView(Shape):
    """The curves of one class."""

    id: int
    name: str
    by_iou: dict[str, CurveView]
    """At IoU `0.50`, `0.75` and `0.90`."""


class PrecisionRecallView(Shape):
    """Precision over recall, as pycocotools has it. A class without objects has no curve."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "pr_curves",
                    "evaluation_id": _EVALUATION_ID,
                    "region": "bbox",
                    "recall": [0.0, 0.5, 1.0],
                    "data": [
                        {
                            "id": 2,
                            "name": "RBC",
                            "by_iou": {"0.50": {"precision": [1.0, 0.9, 0.0], "scores": [0.98, 0.7, 0.0]}},
                        }
                    ],
                }
            ]
        }
    )

    object: Literal["pr_curves"] = "pr_curves"
    evaluation_id: str
    region: Literal["bbox", "segm"]
    recall: list[float]
    data: list[ClassCurvesView]


class SweepColumns(Shape):
    """A value per threshold; precision is null without detections, recall without objects."""

    precision: list[float | None]
    recall: list[float | None]
    f1: list[float | None]


class ClassSweepView(SweepColumns):
    """The same of one class."""

    id: int


class PointView(Shape):
    """What a threshold gives."""

    threshold: float
    detections: int
    hits: int
    objects: int
    precision: float | None
    recall: float | None
    f1: float | None


class OperatingPointView(Shape):
    """A threshold where it was chosen and where it is reported; null when there is none."""

    class_id: int
    """-1: all classes together."""
    chosen: PointView | None
    reported: PointView | None


class PointsView(Shape):
    """Operating points of one kind."""

    all: OperatingPointView
    per_class: list[OperatingPointView]


class PrecisePointsView(PointsView):
    """The lowest thresholds that reach a precision."""

    at_least: float


class OperatingPointsView(Shape):
    """Thresholds worth taking, such as in `score_threshold` of a prediction."""

    chosen_on: str
    """`the same images`, which flatters the numbers, or `other images`."""
    iou_threshold: float
    best_f1: PointsView
    precision: PrecisePointsView
    chosen_split: str | None = None
    """Of a training's evaluation."""
    reported_split: str | None = None
    """Of a training's evaluation."""


_POINT: Example = {
    "threshold": 0.42,
    "detections": 1102,
    "hits": 967,
    "objects": 1137,
    "precision": 0.878,
    "recall": 0.85,
    "f1": 0.864,
}
_SWEEP: Example = {"precision": [0.13, 0.9, None], "recall": [0.98, 0.8, 0.0], "f1": [0.2, 0.84, 0.0]}
_POINTS: Example = {
    "all": {"class_id": -1, "chosen": _POINT, "reported": _POINT},
    "per_class": [{"class_id": 2, "chosen": _POINT, "reported": _POINT}],
}


class ThresholdSweepView(Shape):
    """What a score threshold does, at 101 of them, and the ones worth taking."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "threshold_sweep",
                    "evaluation_id": _EVALUATION_ID,
                    "thresholds": [0.0, 0.5, 1.0],
                    "all": _SWEEP,
                    "per_class": [_SWEEP | {"id": 2}],
                    "operating_points": {
                        "chosen_on": "the same images",
                        "iou_threshold": 0.5,
                        "best_f1": _POINTS,
                        "precision": _POINTS | {"at_least": 0.9},
                        "chosen_split": None,
                        "reported_split": None,
                    },
                }
            ]
        }
    )

    object: Literal["threshold_sweep"] = "threshold_sweep"
    evaluation_id: str
    thresholds: list[float]
    all: SweepColumns
    per_class: list[ClassSweepView]
    operating_points: OperatingPointsView


class ObjectView(Shape):
    """An object of the dataset."""

    id: int
    """Id of the annotation in the split's ground truth."""
    box: tuple[float, float, float, float]
    """`[x1, y1, x2, y2]` in pixels of the upright image."""
    category_id: int
    category: str


class FoundView(Shape):
    """A detection."""

    box: tuple[float, float, float, float]
    """`[x1, y1, x2, y2]` in pixels of the upright image."""
    category_id: int
    category: str
    score: float


class HitView(FoundView):
    """A detection that is right: the one match of an object of its class."""

    iou: float
    """How well it covers the object."""
    object_id: int
    """Id of that object's annotation."""


class EvaluationImageView(Shape):
    """What was found on an image, and what was not."""

    id: int
    """Its place within the split, from 0."""
    object: Literal["evaluation_image"] = "evaluation_image"
    image_id: int
    """Its id in the annotations, as detections name it."""
    file_name: str | None
    width: int | None
    height: int | None
    true_positives: list[HitView]
    """The best score first, as in the other list."""
    false_positives: list[FoundView]
    """Detections where no free object of their class is."""
    misses: list[ObjectView]
    """Objects that no detection matches."""
    ignored: int
    """Detections on crowds, which are neither right nor wrong."""


class EvaluationImageList(NumberedListView[EvaluationImageView]):
    """A page of images in the order of the split."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "score_threshold": 0.42,
                    "data": [
                        {
                            "id": 17,
                            "object": "evaluation_image",
                            "image_id": 18,
                            "file_name": "JPEGImages/BloodImage_00017.jpg",
                            "width": 640,
                            "height": 480,
                            "true_positives": [
                                {
                                    "box": [75.2, 176.4, 190.0, 290.9],
                                    "category_id": 2,
                                    "category": "RBC",
                                    "score": 0.93,
                                    "iou": 0.97,
                                    "object_id": 231,
                                }
                            ],
                            "false_positives": [],
                            "misses": [
                                {
                                    "id": 232,
                                    "box": [5.0, 7.0, 90.0, 93.0],
                                    "category_id": 2,
                                    "category": "RBC",
                                }
                            ],
                            "ignored": 0,
                        }
                    ],
                    "first_id": 17,
                    "last_id": 17,
                    "has_more": True,
                }
            ]
        }
    )

    score_threshold: float
    """Only detections of at least this score."""


_DETECTION: Example = {
    "image_id": 18,
    "category_id": 2,
    "bbox": [75.2, 176.4, 114.8, 114.5],
    "score": 0.93,
}


class DetectionsFile(RootModel[list[dict[str, Any]]]):
    """COCO results: `{image_id, category_id, bbox: [x, y, width, height], score}`, with masks also
    `segmentation` as run lengths."""

    model_config = ConfigDict(json_schema_extra={"examples": [[_DETECTION]]})


class GroundTruthFile(Shape):
    """A split as a COCO dataset."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "images": [
                        {
                            "id": 18,
                            "file_name": "JPEGImages/BloodImage_00017.jpg",
                            "width": 640,
                            "height": 480,
                        }
                    ],
                    "categories": [{"id": 2, "name": "RBC", "supercategory": ""}],
                    "annotations": [
                        {
                            "id": 231,
                            "image_id": 18,
                            "category_id": 2,
                            "bbox": [75.0, 177.0, 115.0, 113.0],
                            "area": 12995.0,
                            "iscrowd": 0,
                        }
                    ],
                }
            ]
        }
    )

    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    annotations: list[dict[str, Any]]


def fields(row: Evaluation, job: Job | None) -> dict[str, Any]:
    """What every view of an evaluation begins with."""
    return {
        "id": row.id,
        "status": JobStatus.SUCCEEDED if job is None else job.status,
        "status_reason": None if job is None or job.kind is JobKind.TRAIN else job.status_reason,
        "source": _source(job),
        "job_id": row.job_id,
        "model_id": row.model_id,
        "dataset_id": row.dataset_id,
        "split": row.split,
        "score_threshold": row.options.get("score_threshold"),
        "precision": row.options.get("precision", 0.9),
        "voc_inclusive": row.options.get("voc_inclusive", False),
        "metrics": row.metrics or None,
        "error": None if job is None else job.error,
        "metadata": row.extra,
        "created_at": row.created_at,
        "finished_at": None if job is None else job.finished_at,
    }


def _source(job: Job | None) -> str:
    if job is None or job.kind is JobKind.TRAIN:
        return "training"
    return "model" if "model_id" in job.spec else "detections"
