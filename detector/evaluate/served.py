"""A model as it is served, over a split of a dataset: COCO results. Imports without torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.data.materialise import read_pixels
from detector.data.records import ImageRecord
from detector.pasting import paste, run_lengths
from detector.runtime import Found

CocoResults = list[dict[str, Any]]


class Runs(Protocol):
    """Something that detects on an image at its own size; `runtime.OnnxDetector` does."""

    def run(self, image: NDArray[np.uint8]) -> Found: ...


def detect_one_by_one(
    detector: Runs,
    directory: Path,
    images: Sequence[ImageRecord],
    class_ids: Sequence[int],
    *,
    after_image: Callable[[int], None] = lambda done: None,
) -> CocoResults:
    """COCO results `{image_id, category_id, bbox: xywh, score}` of every image of a materialised dataset, in
    their order; of a detector with masks also `segmentation`, run lengths.

    Args:
        class_ids: by label.
        after_image: is told how many are done.
    """
    found: CocoResults = []
    for done, record in enumerate(images, start=1):
        found += coco_results(record, detector.run(read_pixels(directory, record)), class_ids)
        after_image(done)
    return found


def coco_results(image: ImageRecord, found: Found, class_ids: Sequence[int]) -> CocoResults:
    """What was found on one image, as COCO writes results."""
    boxes, scores, labels, masks = found
    results: CocoResults = [
        {
            "image_id": image.id,
            "category_id": class_ids[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for (x1, y1, x2, y2), score, label in zip(
            boxes.astype(np.float64).tolist(),
            scores.astype(np.float64).tolist(),
            labels.tolist(),
            strict=True,
        )
    ]
    if masks is not None:
        size = image.height, image.width
        for result, mask, box in zip(results, masks, boxes, strict=True):
            result["segmentation"] = run_lengths(paste(mask, box, size), size)
    return results
