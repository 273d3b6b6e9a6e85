"""What a training left, measured: its numbers, its resamples, what it began with and its losses."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.compare.resampling import Draws, resample
from detector.compare.told import Manifest, Report, Row, read_history, read_manifest, read_report, report_of
from detector.errors import ComparisonInvalid, ResultsInvalid
from detector.evaluate import coco, results
from detector.evaluate.curves import curves
from detector.evaluate.evaluation import RECALLS, Evaluation
from detector.evaluate.report import full_report, has_masks

Floats = NDArray[np.float64]

CURVE_LEVELS = (0, 5, 8)
"""COCO's thresholds whose curves are kept: IoU 0.50, 0.75 and 0.90."""


@dataclass(frozen=True)
class Truth:
    """What a run was measured on."""

    sha256: str
    """Of its images, classes and objects, however the file is written."""
    images: int
    objects: int
    classes: list[dict[str, Any]]


@dataclass(frozen=True)
class Measured:
    """One training. Metrics of masks, where there are any, are called `segm_AP` and so on."""

    truth: Truth
    metrics: dict[str, float | None]
    per_class: list[coco.ClassMetrics]
    resampled: dict[str, Floats]
    """By metric (R,), NaN where a resample has nothing to measure."""
    resampled_classes: Floats
    """AP of each class (K, R)."""
    ap_by_iou: list[float | None]
    """(T,)"""
    precision: Floats
    """Over COCO's recalls, at the `CURVE_LEVELS` (3, 101): mean over the classes."""
    report: Report
    """About `report.images` images, which may be fewer."""
    manifest: Manifest | None
    history: list[Row]
    detections: int
    detections_sha256: str


def measure(folder: Path, who: str, draws: Draws) -> Measured:
    """Measures a run directory of a training, or the artifacts of one.

    `ground_truth.json` and `detections.json` must be there. What is missing of `report.json` is measured
    here; `manifest.json` and the losses (`metrics.jsonl` or `events.jsonl`) may be missing.

    Raises ComparisonInvalid, whose message begins with `who`.
    """
    artifacts = folder / "artifacts" if (folder / "artifacts").is_dir() else folder
    try:
        truth, found = results.check(
            results.read(artifacts / "ground_truth.json"),
            results.read_detections(artifacts / "detections.json"),
        )
    except ResultsInvalid as error:
        raise ComparisonInvalid(f"{who}: {error.message}", hint=error.hint) from error
    if not truth["images"]:
        raise ComparisonInvalid(f"{who}: The ground truth has no images.")
    counts = draws.of(len(truth["images"]))
    by_box = coco.evaluation(truth, found)
    summary = coco.summarise(by_box, truth)
    metrics, boxes = dict(summary.metrics), resample(by_box.comparison, counts)
    resampled = dict(boxes.metrics)
    if has_masks(truth, found):
        by_mask = coco.evaluation(truth, found, "segm")
        masks = coco.summarise(by_mask, truth).metrics
        metrics |= {f"segm_{name}": value for name, value in masks.items()}
        again = resample(by_mask.comparison, counts).metrics
        resampled |= {f"segm_{name}": values for name, values in again.items()}
    drawn = curves(by_box, truth)
    precision = [one.precision for one in drawn.per_class if one.precision is not None]
    try:
        report = read_report(artifacts / "report.json") or report_of(full_report(truth, found))
        manifest, history = read_manifest(artifacts / "manifest.json"), read_history(folder)
    except ComparisonInvalid as error:
        raise ComparisonInvalid(f"{who}: {error.message}") from error
    return Measured(
        truth=Truth(
            _hash_of_truth(truth, by_box), len(truth["images"]), int(by_box.objects.sum()), _classes(truth)
        ),
        metrics=metrics,
        per_class=summary.per_class,
        resampled=resampled,
        resampled_classes=boxes.per_class,
        ap_by_iou=drawn.AP,
        precision=np.mean(precision or [np.zeros((10, len(RECALLS)))], axis=0)[list(CURVE_LEVELS)],
        report=report,
        manifest=manifest,
        history=history,
        detections=len(found),
        detections_sha256=_hash_of_detections(by_box),
    )


def _classes(truth: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"id": one["id"], "name": one["name"]} for one in truth["categories"]]


def _hash_of_truth(truth: dict[str, Any], evaluation: Evaluation) -> str:
    problem = evaluation.comparison.problem
    things = problem.objects
    digest = hashlib.sha256(json.dumps(_classes(truth), sort_keys=True).encode())
    boxes = np.array([one["bbox"] for one in truth["annotations"]], np.float64)
    for column in (
        problem.image_ids,
        things.image_ids,
        things.category_ids,
        boxes,
        things.areas,
        things.crowds,
    ):
        digest.update(column.tobytes())
    return digest.hexdigest()


def _hash_of_detections(evaluation: Evaluation) -> str:
    found = evaluation.comparison.problem.detections
    digest = hashlib.sha256()
    for column in (found.image_ids, found.category_ids, np.asarray(found.regions), found.scores):
        digest.update(column.tobytes())
    return digest.hexdigest()
