"""The whole report of a model that has just been trained: `report.json`."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from detector.data.loading import EvaluationSet
from detector.data.records import DatasetIndex
from detector.evaluate import coco
from detector.evaluate.candidates import best_placed
from detector.evaluate.report import Results, full_report
from detector.evaluate.split import detect
from detector.images import InputSpec
from detector.models import Detector
from detector.models.candidates import suppression_overlap

MOST_IMAGES = 1000
"""Of a split: its numbers cost 3 to 4 ms an image of 100 detections, and the network sees each once more."""


@dataclass(frozen=True)
class Split:
    """Some images of a dataset."""

    name: str
    data: EvaluationSet

    def bounded(self, spec: InputSpec) -> "Split":
        """At most 1000 images, evenly from the whole split."""
        images = self.data.images
        if len(images) <= MOST_IMAGES:
            return self
        some = [images[i * len(images) // MOST_IMAGES] for i in range(MOST_IMAGES)]
        return Split(self.name, EvaluationSet(self.data.directory, some, spec))


def model_report(
    detector: Detector,
    index: DatasetIndex,
    evaluated: Split,
    results: Results,
    other: Split | None,
    *,
    batch_size: int,
    between_batches: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """`full_report` of the evaluated split, with what only the network can tell.

    That is what suppression costs, and, where there is an `other` split, how the operating points that were
    chosen on the evaluated one do there: each point is `chosen` on the one and `reported` on the other, and
    `other_split` has COCO's numbers of the other.

    Of a split with more images the report is about 1000; `images` is how many it is about, `images_of_split`
    how many there are.

    Args:
        results: COCO results of the detector on the evaluated split.
        between_batches: called now and then; may raise to end it early.
    """
    ids = [category.id for category in index.categories]
    pace: dict[str, Any] = {"batch_size": batch_size, "between_batches": between_batches}
    images_of_split = len(evaluated.data)
    evaluated = evaluated.bounded(detector.input_spec)
    about = {image.id for image in evaluated.data.images}

    elsewhere, other_split = None, None
    if other is not None:
        seen = other.bounded(detector.input_spec).data
        elsewhere = coco.ground_truth(seen.images, index.categories), detect(detector, seen, ids, **pace)
        other_split = {
            "name": other.name,
            "images": len(seen),
            "images_of_split": len(other.data),
            "metrics": coco.evaluate(*elsewhere).metrics,
        }
    report = full_report(
        coco.ground_truth(evaluated.data.images, index.categories),
        [one for one in results if one["image_id"] in about],
        report_on=elsewhere,
        candidates=best_placed(detector, evaluated.data, ids, **pace),
        nms_iou=suppression_overlap(detector),
    )
    report["operating_points"] |= {
        "chosen_split": evaluated.name,
        "reported_split": evaluated.name if other is None else other.name,
    }
    return {
        "split": evaluated.name,
        "images_of_split": images_of_split,
        **report,
        "other_split": other_split,
    }


def other_split(index: DatasetIndex, taken: Collection[str]) -> str | None:
    """A split with objects that is none of those taken: `test`, else `val`, else the first by name."""
    free = {
        image.split
        for image in index.images
        if image.split not in taken and any(not one.iscrowd for one in image.annotations)
    }
    return min(free, key=lambda name: (name != "test", name != "val", name), default=None)
