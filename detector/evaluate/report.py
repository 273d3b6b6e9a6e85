"""Everything there is to say about detections, as one JSON object."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from detector.evaluate import coco, evaluators, results, thresholds, voc
from detector.evaluate.confusion import confusion
from detector.evaluate.consistency import Limits, consistency
from detector.evaluate.curves import Curves, curves
from detector.evaluate.evaluators import DEFAULT, Evaluator
from detector.evaluate.matches import ClassMatches, matches, pooled
from detector.evaluate.slices import slices
from detector.evaluate.suppression import suppression

Truth = dict[str, Any]
Results = list[dict[str, Any]]

_DIGITS = 6  # of what is drawn, not of what is compared


def full_report(
    ground_truth: Truth,
    detections: Results,
    *,
    choose_on: tuple[Truth, Results] | None = None,
    report_on: tuple[Truth, Results] | None = None,
    candidates: Results | None = None,
    score_threshold: float | None = None,
    iou_threshold: float = 0.5,
    precision: float = 0.9,
    voc_inclusive: bool = False,
    curve_ious: Sequence[float] = (0.5, 0.75, 0.9),
    limits: Limits | None = None,
    nms_iou: float = 0.5,
    evaluator: Evaluator = DEFAULT,
    between_parts: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measures COCO results against a COCO dataset, in every way of this package.

    Args:
        choose_on: dataset and results of another split, on which operating points are chosen.
        report_on: those of another split, on which operating points that are chosen here are reported.
            Without either they are chosen where they are reported, which flatters them; the report says so.
        candidates: results before non-maximum suppression, for `suppression`.
        score_threshold: of the confusion matrix; by default the one with the best F1 over all classes.
        iou_threshold: of VOC's metric and the confusion matrix, and one of 0.50 to 0.95 by 0.05 for
            operating points.
        precision: what the second kind of operating point must reach.
        voc_inclusive: VOC boxes with inclusive corners, see `voc.evaluate`.
        curve_ious: IoU thresholds whose precision-recall curves are listed.
        limits: what counts as a high and a low score and IoU.
        nms_iou: see `suppression`.
        evaluator: who measures; the numbers are the same.
        between_parts: called now and then, so that somebody hears that it goes on.

    Numbers are 0 to 1, or null where nothing is there to measure. Raises ResultsInvalid, with all findings,
    when the arguments are not what they should be, and ValueError for both `choose_on` and `report_on`.
    """
    if choose_on is not None and report_on is not None:
        raise ValueError("choose_on and report_on exclude each other")
    ground_truth, detections = results.check(ground_truth, detections)
    between_parts()
    by_box = coco.evaluation(ground_truth, detections, "bbox", evaluator)
    between_parts()
    box_metrics = coco.summarise(by_box, ground_truth)
    found = matches(by_box, iou_threshold)
    if score_threshold is None:
        score_threshold = box_metrics.score_threshold
    crowds = sum(1 for one in ground_truth["annotations"] if one["iscrowd"])
    between_parts()
    report: dict[str, Any] = {
        "format": 1,
        "evaluator": evaluators.provenance(evaluator),
        "images": len(ground_truth["images"]),
        "objects": len(ground_truth["annotations"]) - crowds,
        "crowds": crowds,
        "detections": len(detections),
        "classes": [{"id": one["id"], "name": one["name"]} for one in ground_truth["categories"]],
        "bbox": _coco(box_metrics, curves(by_box, ground_truth), curve_ious),
        "segm": None,
        "voc": {
            interpolation: _voc(ground_truth, detections, interpolation, iou_threshold, voc_inclusive)
            for interpolation in voc.INTERPOLATIONS
        },
        "confusion": asdict(
            confusion(ground_truth, detections, score_threshold=score_threshold, iou_threshold=iou_threshold)
        ),
        "thresholds": _sweep(found),
        "operating_points": {
            "chosen_on": "the same images" if choose_on is report_on is None else "other images",
            "iou_threshold": iou_threshold,
            **_operating_points(
                _matches(choose_on, iou_threshold, evaluator) or found,
                _matches(report_on, iou_threshold, evaluator) or found,
                precision,
            ),
        },
        "consistency": asdict(consistency(by_box, limits=limits, evaluator=evaluator)),
        "suppression": None,
        "slices": [asdict(one) for one in slices(by_box.comparison, ground_truth, between_parts, evaluator)],
    }
    if has_masks(ground_truth, detections):
        between_parts()
        by_mask = coco.evaluation(ground_truth, detections, "segm", evaluator)
        between_parts()
        report["segm"] = _coco(
            coco.summarise(by_mask, ground_truth), curves(by_mask, ground_truth), curve_ious
        ) | {
            "consistency": asdict(consistency(by_mask, limits=limits, evaluator=evaluator)),
            "slices": [
                asdict(one) for one in slices(by_mask.comparison, ground_truth, between_parts, evaluator)
            ],
        }
    if candidates is not None:
        _, candidates = results.check(ground_truth, candidates)
        report["suppression"] = asdict(suppression(ground_truth, candidates, detections, nms_iou=nms_iou))
    plain: dict[str, Any] = _plain(report)
    return plain


def has_masks(ground_truth: Truth, detections: Results) -> bool:
    """Whether masks can be compared: some object has one, and every detection."""
    return (
        bool(detections)
        and all(one.get("segmentation") for one in detections)
        and any(one.get("segmentation") for one in ground_truth["annotations"])
    )


def _coco(metrics: coco.CocoMetrics, curves: Curves, curve_ious: Sequence[float]) -> dict[str, Any]:
    names = [f"{iou:.2f}" for iou in curves.ious]
    drawn = [t for t, iou in enumerate(curves.ious) if any(math.isclose(iou, one) for one in curve_ious)]
    return {
        "metrics": metrics.metrics,
        "score_threshold": metrics.score_threshold,
        "AP_by_iou": dict(zip(names, curves.AP, strict=True)),
        "per_class": [
            asdict(one) | {"AP_by_iou": dict(zip(names, curve.AP, strict=True))}
            for one, curve in zip(metrics.per_class, curves.per_class, strict=True)
        ],
        "curves": {
            "recall": curves.recall.round(_DIGITS),
            "per_class": [
                {
                    "id": one.id,
                    "name": one.name,
                    "by_iou": {
                        names[t]: {
                            "precision": one.precision[t].round(_DIGITS),
                            "scores": one.scores[t].round(_DIGITS),
                        }
                        for t in drawn
                    },
                }
                for one in curves.per_class
                if one.precision is not None and one.scores is not None
            ],
        },
    }


def _voc(
    ground_truth: Truth,
    detections: Results,
    interpolation: voc.Interpolation,
    iou_threshold: float,
    inclusive: bool,
) -> dict[str, Any]:
    measured = voc.evaluate(
        ground_truth,
        detections,
        interpolation=interpolation,
        iou_threshold=iou_threshold,
        inclusive=inclusive,
    )
    return {
        "mAP": measured.mean,
        "iou_threshold": iou_threshold,
        "inclusive": inclusive,
        "per_class": [
            {"id": one.id, "name": one.name, "AP": one.AP, "objects": one.objects}
            for one in measured.per_class
        ],
    }


def _sweep(found: Sequence[ClassMatches]) -> dict[str, Any]:
    everything = pooled(found)
    scores = everything.scores
    low, high = min(0.0, scores.min(initial=0.0)), max(1.0, scores.max(initial=1.0))
    at = np.linspace(low, high, 101)

    def columns(one: ClassMatches) -> dict[str, Any]:
        points = thresholds.sweep(one, at)
        return {
            key: [
                None if (value := getattr(point, key)) is None else round(value, _DIGITS) for point in points
            ]
            for key in ("precision", "recall", "f1")
        }

    return {
        "thresholds": at.round(_DIGITS),
        "all": columns(everything),
        "per_class": [{"id": one.class_id, **columns(one)} for one in found],
    }


def _matches(
    split: tuple[Truth, Results] | None, iou_threshold: float, evaluator: Evaluator
) -> list[ClassMatches] | None:
    if split is None:
        return None
    return matches(coco.evaluation(*results.check(*split), evaluator=evaluator), iou_threshold)


def _operating_points(
    chosen_on: Sequence[ClassMatches], reported_on: Sequence[ClassMatches], precision: float
) -> dict[str, Any]:
    def points(precision: float | None) -> dict[str, Any]:
        everything = [pooled(chosen_on)], [pooled(reported_on)]
        per_class = thresholds.operating_points(chosen_on, reported_on, precision=precision)
        return {
            "all": asdict(thresholds.operating_points(*everything, precision=precision)[0]),
            "per_class": [asdict(one) for one in per_class],
        }

    return {"best_f1": points(None), "precision": {"at_least": precision, **points(precision)}}


def _plain(value: Any) -> Any:
    """The same in what JSON knows."""
    match value:
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case np.ndarray():
            return value.tolist()
        case np.generic():
            return value.item()
        case _:
            return value
