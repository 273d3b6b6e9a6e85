"""An evaluation as a run: what `python -m detector evaluate --run` leaves in its run directory.

artifacts/report.json         every measure
artifacts/ground_truth.json   the split as a COCO dataset
artifacts/detections.json     what the model has found, as COCO results; not where results were given
artifacts/images.jsonl        what was found and missed on each image
result.json                   the head of it, written last
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.data.records import Category
from detector.errors import DatasetInvalid, EvaluationTooLarge
from detector.evaluate import coco, results
from detector.evaluate.by_image import by_image
from detector.evaluate.evaluators import DEFAULT, Evaluator
from detector.evaluate.report import full_report
from detector.events import EventWriter, PhaseEvent, ProgressEvent
from detector.files import described, write_json, write_json_lines

MOST_CLASSES = 2000
"""COCO's arrays are 0.2 MB of a class, and a confusion matrix grows with their square."""

_PROGRESS_SECONDS = 0.25


@dataclass(frozen=True)
class Wishes:
    """What may be asked of a report."""

    score_threshold: float | None = None
    """Of the confusion matrix; None: the one with the best F1."""
    precision: float = 0.9
    """What the second kind of operating point must reach."""
    voc_inclusive: bool = False
    """See `voc.evaluate`."""
    evaluator: Evaluator = DEFAULT
    """Who measures."""


class Course:
    """Tells how far an evaluation is, at most four times a second; its steps are images."""

    def __init__(
        self, writer: EventWriter | None, images: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._writer = writer
        self._images = images
        self._clock = clock
        self._begun = clock()
        self._told = float("-inf")
        self._done = 0

    def phase(self) -> None:
        """It has begun."""
        if self._writer is not None:
            self._writer.write(PhaseEvent(phase="evaluating"))

    def image(self, done: int) -> None:
        """The model has looked at so many images."""
        self._done = done
        if done == self._images or self._clock() - self._told >= _PROGRESS_SECONDS:
            self.alive()

    def alive(self) -> None:
        """It goes on, though no further image was looked at."""
        if self._writer is None:
            return
        self._told = self._clock()
        pace = (self._told - self._begun) / self._done if self._done else None
        self._writer.write(
            ProgressEvent(
                step=self._done,
                steps=self._images,
                fraction=round(self._done / self._images, 6) if self._images else 0.0,
                eta_seconds=None if pace is None else round(pace * (self._images - self._done), 1),
            )
        )


def check_classes(categories: Sequence[Category]) -> None:
    """Raises EvaluationTooLarge for more classes than can be compared."""
    if len(categories) > MOST_CLASSES:
        raise EvaluationTooLarge(
            f"The dataset has {len(categories)} classes; at most {MOST_CLASSES} are compared at once."
        )


def require_images(images: Sequence[object], split: str, splits: dict[str, int]) -> None:
    """Raises DatasetInvalid for a split without images."""
    if not images:
        raise DatasetInvalid(
            f"The dataset has no split {split!r}; it has {', '.join(sorted(splits)) or 'none'}."
        )


def write_run(
    run: Path,
    ground_truth: dict[str, Any],
    detections: list[dict[str, Any]],
    wishes: Wishes,
    *,
    split: str,
    warnings: Sequence[str] = (),
    keep_detections: bool,
    alive: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measures COCO results against a COCO dataset and writes all of the run; what `result.json` says.

    Args:
        warnings: sentences for the report.
        alive: called now and then.
    """
    folder = run / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    (run / "result.json").unlink(missing_ok=True)
    report = {"split": split} | full_report(
        ground_truth,
        detections,
        score_threshold=wishes.score_threshold,
        precision=wishes.precision,
        voc_inclusive=wishes.voc_inclusive,
        evaluator=wishes.evaluator,
        between_parts=alive,
    )
    report["warnings"] = list(warnings)
    alive()
    truth, found = results.check(ground_truth, detections)
    write_json(folder / "report.json", report)
    write_json(folder / "ground_truth.json", ground_truth)
    if keep_detections:
        write_json(folder / "detections.json", detections)
    matched = coco.evaluation(truth, found, evaluator=wishes.evaluator)
    write_json_lines(folder / "images.jsonl", by_image(matched, truth, found))
    alive()
    result = {
        "split": split,
        "metrics": _metrics(report),
        "per_class": _per_class(report),
        "artifacts": [
            described(folder / name, media_type)
            for name, media_type in (
                ("report.json", "application/json"),
                ("ground_truth.json", "application/json"),
                ("detections.json", "application/json"),
                ("images.jsonl", "application/jsonl"),
            )
            if (folder / name).exists()
        ],
    }
    write_json(run / "result.json", result)
    return result


def _metrics(report: dict[str, Any]) -> dict[str, Any]:
    """As a training has them: the masks' numbers, where there are any, beside those of the boxes."""
    masks = report["segm"]["metrics"] if report["segm"] is not None else {}
    return {**report["bbox"]["metrics"], **{f"segm_{name}": value for name, value in masks.items()}}


def _per_class(report: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [
        {name: value for name, value in one.items() if name != "AP_by_iou"}
        for one in report["bbox"]["per_class"]
    ]
    if report["segm"] is not None:
        for row, masks in zip(rows, report["segm"]["per_class"], strict=True):
            row |= {"segm_AP": masks["AP"], "segm_AP50": masks["AP50"]}
    return rows
