"""The best-placed box of every object before non-maximum suppression, from our own networks."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.data.loading import EvaluationSet
from detector.data.records import ImageRecord
from detector.evaluate.overlap import iou
from detector.evaluate.served import CocoResults
from detector.evaluate.split import detect
from detector.evaluate.suppression import COVERED
from detector.models import Detector
from detector.models.candidates import without_suppression
from detector.runtime import Found

MOST = 20_000  # boxes of an image before suppression: above what any of the networks lets through by default


def best_placed(
    detector: Detector,
    data: EvaluationSet,
    class_ids: Sequence[int],
    *,
    batch_size: int,
    between_batches: Callable[[], None] = lambda: None,
) -> CocoResults:
    """COCO results for `suppression.suppression`, which looks at nothing else: at most one box per object.

    Detectors look at thousands of boxes before suppression; of an object (not a crowd) only the box of its
    class with the greatest IoU is kept, if that is 0.5 or more.
    """

    def select(image: ImageRecord, found: Found) -> NDArray[np.int64]:
        boxes, labels = found.boxes, found.labels
        categories = np.asarray(class_ids)[labels]
        best: set[int] = set()
        objects = [one for one in image.annotations if not one.iscrowd]
        for category in {one.category_id for one in objects}:
            places = np.flatnonzero(categories == category)
            if not len(places):
                continue
            own = np.array([one.box for one in objects if one.category_id == category])
            overlap = iou(own, boxes[places].astype(np.float64))
            best.update(places[overlap.argmax(axis=1)[overlap.max(axis=1) >= COVERED]].tolist())
        return np.array(sorted(best), np.int64)

    with without_suppression(detector, MOST):
        return detect(
            detector,
            data,
            class_ids,
            batch_size=batch_size,
            between_batches=between_batches,
            select=select,
        )
