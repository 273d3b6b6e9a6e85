"""What a training left, measured: its numbers, its resamples, what it began with and its losses."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.compare.resampling import Draws, resample
from detector.errors import ComparisonInvalid, ResultsInvalid
from detector.evaluate import coco, results
from detector.evaluate.curves import curves
from detector.evaluate.evaluation import RECALLS, Evaluation
from detector.evaluate.report import full_report, has_masks
from detector.events import EventReader, MetricEvent

Floats = NDArray[np.float64]

DIAGNOSTICS = (
    "spearman",
    "pearson",
    "calibration_error",
    "calibration_error_of_all",
    "high_score_low_iou",
    "low_score_high_iou",
    "ap_ranked_by_iou",
    "headroom",
    "lost_to_worse",
)
"""Numbers of a report's `consistency`; and of the objects that some box covered before suppression, the share
whose best-placed box gave way to a worse one."""
_DRAWN = ("histogram", "score_edges", "iou_edges")
SLICE_METRICS = ("AP", "AP50", "AP75", "AR100")
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
    consistency: dict[str, Any]
    slices: list[dict[str, Any]]
    reported_images: int
    """How many images consistency and slices are about."""
    manifest: dict[str, Any] | None
    history: list[dict[str, Any]]
    """Rows `{split, step, epoch, metrics}`."""
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
    report = _report(artifacts / "report.json", who) or full_report(truth, found)
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
        consistency=report["consistency"] | {"lost_to_worse": _lost_to_worse(report)},
        slices=report["slices"],
        reported_images=report["images"],
        manifest=_optional(artifacts / "manifest.json", who),
        history=list(_history(folder, who)),
        detections=len(found),
        detections_sha256=_hash_of_detections(by_box),
    )


def _report(path: Path, who: str) -> dict[str, Any] | None:
    report = _optional(path, who)
    if report is None:
        return None
    try:
        _ = [[one[name] for name in ("group", "name", "objects", *SLICE_METRICS)] for one in report["slices"]]
        _ = [report["consistency"][name] for name in (*DIAGNOSTICS[:-1], "matched", *_DRAWN)]
        _lost_to_worse(report)
        _ = report["images"]
    except (KeyError, TypeError) as error:
        raise ComparisonInvalid(
            f"{who}: {path.name} is no report of this program: it has no {error}."
        ) from error
    return report


def _lost_to_worse(report: dict[str, Any]) -> float | None:
    """None where the report is not of a model, so that nothing is known of boxes before suppression."""
    told = report["suppression"]
    return told["lost_to_worse"] / told["with_candidate"] if told and told["with_candidate"] else None


def _optional(path: Path, who: str) -> dict[str, Any] | None:
    """The object in a file; None without the file."""
    if not path.exists():
        return None
    try:
        value = results.read(path)
    except ResultsInvalid as error:
        raise ComparisonInvalid(f"{who}: {error.message}") from error
    if not isinstance(value, dict):
        raise ComparisonInvalid(f"{who}: {path.name} is no JSON object.")
    return value


class _Row(msgspec.Struct):
    split: str
    step: int
    epoch: float
    metrics: dict[str, float | None]


def _history(folder: Path, who: str) -> Iterator[dict[str, Any]]:
    """What the training told of losses and evaluations; of a step that was taken again, the last."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    try:
        if (folder / "metrics.jsonl").exists():
            lines = (folder / "metrics.jsonl").read_bytes().splitlines()
            told = [msgspec.json.decode(line, type=_Row) for line in lines if line.strip()]
        else:
            events = (one for one in EventReader(folder).read() if isinstance(one, MetricEvent))
            told = [_Row(one.split, one.step, one.epoch, one.values) for one in events]
    except (OSError, ValueError) as error:  # of msgspec and of pydantic
        raise ComparisonInvalid(f"{who}: What the training told cannot be read: {error}.") from error
    for row in told:
        rows.pop((row.split, row.step), None)
        rows[row.split, row.step] = msgspec.to_builtins(row)
    return iter(rows.values())


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
