"""COCO's detection metrics as pycocotools computes them, which is the record."""

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.data.records import Category, ImageRecord

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
class CocoMetrics:
    """COCO's 12 numbers, 0 to 1, null where pycocotools says -1, and the classes' own."""

    metrics: dict[str, float | None]
    per_class: list[ClassMetrics]
    score_threshold: float
    """The score from which detections of all classes have the best F1 at IoU 0.5; 0.5 without any hit."""


def ground_truth(images: Iterable[ImageRecord], categories: Sequence[Category]) -> dict[str, Any]:
    """The images as a COCO dataset: image and category ids are the dataset's own, boxes are xywh.

    Annotations are numbered from 1, because pycocotools takes a match with annotation 0 for no match.
    `difficult` objects count like others: COCO knows only crowds as objects to ignore.
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
            annotations.append(row)
    return {
        "images": [
            {"id": i.id, "file_name": i.file_name, "width": i.width, "height": i.height} for i in images
        ],
        "categories": [{"id": c.id, "name": c.name, "supercategory": c.supercategory} for c in categories],
        "annotations": annotations,
    }


def evaluate(ground_truth: dict[str, Any], detections: list[dict[str, Any]]) -> CocoMetrics:
    """Measures COCO results `{image_id, category_id, bbox: xywh, score}` against a COCO dataset, boxes only.

    Raises ValueError for a detection on an image that the dataset lacks.
    """
    truth = _coco(ground_truth, ground_truth["annotations"])
    known = {image["id"] for image in ground_truth["images"]}
    for detection in detections:
        if detection["image_id"] not in known:
            raise ValueError(f"detection on image {detection['image_id']}, which the ground truth lacks")
    # COCO.loadRes refuses an empty list; this is what it makes of a full one.
    found = _coco(
        ground_truth,
        [
            {**detection, "area": detection["bbox"][2] * detection["bbox"][3], "iscrowd": 0}
            for detection in detections
        ],
    )
    evaluation = COCOeval(truth, found, iouType="bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return CocoMetrics(
        metrics={name: _or_null(value) for name, value in zip(METRICS, evaluation.stats, strict=True)},
        per_class=_per_class(ground_truth, evaluation),
        score_threshold=_best_threshold(evaluation),
    )


def _coco(ground_truth: dict[str, Any], annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": ground_truth["images"],
        "categories": ground_truth["categories"],
        # pycocotools writes into the annotations, and an id of 0 would never match: both stay in here.
        "annotations": [{**annotation, "id": i} for i, annotation in enumerate(annotations, start=1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _per_class(ground_truth: dict[str, Any], evaluation: COCOeval) -> list[ClassMetrics]:
    boxes: dict[int, int] = {}
    for annotation in ground_truth["annotations"]:
        if not annotation.get("iscrowd", 0):
            boxes[annotation["category_id"]] = boxes.get(annotation["category_id"], 0) + 1
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    precision = evaluation.eval["precision"][
        :, :, :, 0, -1
    ]  # (IoU, recall, class) at all areas, 100 detections
    return [
        ClassMetrics(
            id=int(class_id),
            name=names[class_id],
            AP=_mean(precision[:, :, k]),
            AP50=_mean(precision[0, :, k]),
            boxes=boxes.get(class_id, 0),
        )
        for k, class_id in enumerate(evaluation.params.catIds)
    ]


def _best_threshold(evaluation: COCOeval) -> float:
    """From pycocotools' own matches at IoU 0.5, objects of every size, 100 detections per class and image."""
    matches = [
        image for image in evaluation.evalImgs if image and image["aRng"] == evaluation.params.areaRng[0]
    ]
    objects = sum(int(np.sum(np.logical_not(image["gtIgnore"]))) for image in matches)
    scores = np.concatenate([np.asarray(image["dtScores"], float) for image in matches] or [np.zeros(0)])
    hits = np.concatenate([image["dtMatches"][0] > 0 for image in matches] or [np.zeros(0, bool)])
    counted = np.concatenate(
        [np.logical_not(image["dtIgnore"][0]) for image in matches] or [np.zeros(0, bool)]
    )
    scores, hits = scores[counted], hits[counted]
    if not hits.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    f1 = 2 * np.cumsum(hits[order]) / (np.arange(1, len(order) + 1) + objects)
    return float(np.clip(np.floor(scores[order][np.argmax(f1)] * 100) / 100, 0.01, 0.99))


def _mean(precision: Any) -> float | None:
    valid = precision[precision > -1]
    return float(np.mean(valid)) if valid.size else None


def _or_null(value: float) -> float | None:
    return None if value < 0 else float(value)
