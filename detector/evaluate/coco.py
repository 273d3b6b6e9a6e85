"""COCO's detection metrics, to the last bit as pycocotools computes them, which is the record."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.data.records import Category, ImageRecord
from detector.evaluate import evaluators
from detector.evaluate.columns import Detections, IouType, Rows, problem
from detector.evaluate.evaluation import MOST, Comparison, Evaluation
from detector.evaluate.evaluators import DEFAULT, Evaluator
from detector.evaluate.matches import ClassMatches, matches, pooled

METRICS = (
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR1",
    "AR10",
    "AR100",
    "AR_small",
    "AR_medium",
    "AR_large",
)
"""COCO's 12 numbers, in pycocotools' order."""


@dataclass(frozen=True)
class ClassMetrics:
    """Average precision of one class, 0 to 1, null without objects; `boxes` counts objects, not crowds."""

    id: int
    name: str
    AP: float | None
    AP50: float | None
    boxes: int


@dataclass(frozen=True)
class MaskedClassMetrics(ClassMetrics):
    """The same of a detector with masks."""

    segm_AP: float | None  # noqa: N815  # as the metrics are called
    segm_AP50: float | None  # noqa: N815


@dataclass(frozen=True)
class CocoMetrics:
    """COCO's 12 numbers, 0 to 1, null where pycocotools says -1, and the classes' own.

    Of a detector with masks also the 12 of its masks, as `segm_AP` and so on."""

    metrics: dict[str, float | None]
    per_class: list[ClassMetrics]
    score_threshold: float
    """The score from which detections of all classes have the best F1 at IoU 0.5; 0.5 without any hit."""


def ground_truth(images: Iterable[ImageRecord], categories: Sequence[Category]) -> dict[str, Any]:
    """The images as a COCO dataset: image and category ids are the dataset's own, boxes are xywh.

    Annotations are numbered from 1, because pycocotools takes a match with annotation 0 for no match.
    `difficult` objects count like others: COCO knows only crowds as objects to ignore. That an object is
    difficult, truncated or occluded is noted where it is so, for VOC's metric and the slices.
    """
    images = list(images)
    annotations: list[dict[str, Any]] = []
    for image in images:
        for annotation in image.annotations:
            x1, y1, x2, y2 = annotation.box
            row = {
                "id": len(annotations) + 1,
                "image_id": image.id,
                "category_id": annotation.category_id,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": annotation.area,
                "iscrowd": int(annotation.iscrowd),
            }
            if annotation.segmentation is not None:
                row["segmentation"] = annotation.segmentation
            for flag in ("difficult", "truncated", "occluded"):
                if getattr(annotation, flag):
                    row[flag] = 1
            annotations.append(row)
    return {
        "images": [
            {"id": i.id, "file_name": i.file_name, "width": i.width, "height": i.height} for i in images
        ],
        "categories": [{"id": c.id, "name": c.name, "supercategory": c.supercategory} for c in categories],
        "annotations": annotations,
    }


def evaluate(
    ground_truth: dict[str, Any],
    detections: Rows | Detections,
    iou_type: IouType = "bbox",
    evaluator: Evaluator = DEFAULT,
) -> CocoMetrics:
    """Measures COCO results against a COCO dataset.

    Args:
        ground_truth: `{images, categories, annotations}`, boxes xywh. For "segm" an object's `segmentation`
            (polygons or run lengths) is its region; an object without one is ignored there: what is found on
            its box is neither right nor wrong.
        detections: `{image_id, category_id, score}` with `bbox` xywh or, for "segm", `segmentation` as COCO
            RLE; or the same as columns. Small, medium and large go by the area of what is compared: boxes or
            masks.

    Raises ValueError for a detection on an image that the dataset lacks, or without the region to compare.
    """
    return summarise(evaluation(ground_truth, detections, iou_type, evaluator), ground_truth)


def evaluate_with_masks(ground_truth: dict[str, Any], detections: Rows) -> CocoMetrics:
    """Measures boxes and masks; the arguments are those of `evaluate`, detections have both regions.

    The threshold is that of the boxes.
    """
    boxes, masks = evaluate(ground_truth, detections), evaluate(ground_truth, detections, "segm")
    return CocoMetrics(
        metrics=boxes.metrics | {f"segm_{name}": value for name, value in masks.metrics.items()},
        per_class=[
            MaskedClassMetrics(**vars(box), segm_AP=mask.AP, segm_AP50=mask.AP50)
            for box, mask in zip(boxes.per_class, masks.per_class, strict=True)
        ],
        score_threshold=boxes.score_threshold,
    )


def evaluation(
    ground_truth: dict[str, Any],
    detections: Rows | Detections,
    iou_type: IouType = "bbox",
    evaluator: Evaluator = DEFAULT,
) -> Evaluation:
    """COCO's arrays, and who matched whom; the arguments are those of `evaluate`."""
    comparison = Comparison(problem(ground_truth, detections, iou_type))
    return evaluators.evaluate(comparison, evaluator=evaluator)


def summarise(evaluation: Evaluation, ground_truth: dict[str, Any]) -> CocoMetrics:
    """COCO's 12 numbers of an evaluation with COCO's own areas, and the classes' own."""
    return CocoMetrics(
        metrics={name: _metric(evaluation, name) for name in METRICS},
        per_class=_per_class(ground_truth, evaluation),
        score_threshold=_best_threshold(pooled(matches(evaluation))),
    )


def mean_precision(precision: Any) -> float | None:
    """The mean over what is defined: pycocotools writes -1 where there is no object."""
    valid = precision[precision > -1]
    return float(np.mean(valid)) if valid.size else None


def _metric(evaluation: Evaluation, name: str) -> float | None:
    """By its name: AP75 is at an IoU of 0.75, AR10 of 10 detections, AP_small of small objects."""
    kind, which, area = name[:2], name[2:].split("_")[0], name.partition("_")[2] or "all"
    a = evaluation.ranges.index(area)
    if kind == "AR":
        return mean_precision(evaluation.arrays.recall[:, :, a, MOST.index(int(which or MOST[-1]))])
    levels = slice(None) if not which else {"50": 0, "75": 5}[which]
    return mean_precision(evaluation.arrays.precision[levels, :, :, a, -1])


def _per_class(ground_truth: dict[str, Any], evaluation: Evaluation) -> list[ClassMetrics]:
    objects = evaluation.comparison.problem.objects
    boxes = Counter(objects.category_ids[~objects.crowds].tolist())
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    # (IoU, recall, class) at all areas, 100 detections
    precision = evaluation.arrays.precision[:, :, :, 0, -1]
    return [
        ClassMetrics(
            id=class_id,
            name=names[class_id],
            AP=mean_precision(precision[:, :, k]),
            AP50=mean_precision(precision[0, :, k]),
            boxes=boxes[class_id],
        )
        for k, class_id in enumerate(evaluation.class_ids.tolist())
    ]


def _best_threshold(found: ClassMatches) -> float:
    """From the matches at IoU 0.5, objects of every size, 100 detections per class and image."""
    if not found.hits.any():
        return 0.5
    order = np.argsort(-found.scores, kind="stable")
    f1 = 2 * np.cumsum(found.hits[order]) / (np.arange(1, len(order) + 1) + found.objects)
    return float(np.clip(np.floor(found.scores[order][np.argmax(f1)] * 100) / 100, 0.01, 0.99))
