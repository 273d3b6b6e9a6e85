"""A detector over a split of a dataset: COCO results, ready to be measured."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from detector.data.loading import EvaluationSet
from detector.data.records import ImageRecord
from detector.models import Detection, Detector, pixels_to_unit
from detector.pasting import paste, run_lengths
from detector.runtime import Found, to_own_pixels

CocoResults = list[dict[str, Any]]
Selection = Callable[[ImageRecord, Found], NDArray[np.int64]]
"""Which of an image's detections to keep: their places."""


class Runs(Protocol):
    """Something that detects on an image at its own size; `runtime.OnnxDetector` does."""

    def run(self, image: NDArray[np.uint8]) -> Found: ...


@torch.inference_mode()
def detect(
    detector: Detector,
    data: EvaluationSet,
    class_ids: Sequence[int],
    *,
    batch_size: int,
    between_batches: Callable[[], None] = lambda: None,
    select: Selection | None = None,
) -> CocoResults:
    """COCO results `{image_id, category_id, bbox: xywh, score}` of every image, in the split's order; of a
    detector with masks also `segmentation`, run lengths.

    Boxes are in pixels of the image itself, clipped to it. `between_batches` may raise to end it early. Takes
    no random numbers. Without `select` everything that was found is kept.
    """
    detector.eval()
    device = next(detector.parameters()).device
    per_image: dict[int, CocoResults] = {}
    for indexes in data.batches(batch_size):
        between_batches()
        images = [pixels_to_unit(torch.from_numpy(data.pixels(i)).to(device)) for i in indexes]
        for index, detection in zip(indexes, detector(images), strict=True):
            record = data.images[index]
            found = as_arrays(detection, data.shape(index), (record.height, record.width))
            if select is not None:
                kept = select(record, found)
                masks = None if found.masks is None else found.masks[kept]
                found = Found(found.boxes[kept], found.scores[kept], found.labels[kept], masks)
            per_image[index] = coco_results(record, found, class_ids)
    return [result for index in range(len(data)) for result in per_image[index]]


def detect_one_by_one(
    detector: Runs,
    data: EvaluationSet,
    class_ids: Sequence[int],
    *,
    after_image: Callable[[int], None] = lambda done: None,
) -> CocoResults:
    """The same through `run`, an image at a time; `after_image` is told how many are done."""
    found: CocoResults = []
    for index, record in enumerate(data.images):
        found += coco_results(record, detector.run(data.original(index)), class_ids)
        after_image(index + 1)
    return found


def as_arrays(detection: Detection, resized: tuple[int, int], own: tuple[int, int]) -> Found:
    """What the network has found on a `resized` image, in pixels of the image itself, of size `own`; sizes
    are (height, width)."""
    return Found(
        to_own_pixels(detection["boxes"].float().cpu().numpy(), resized, own),
        detection["scores"].float().cpu().numpy(),
        detection["labels"].cpu().numpy(),
        detection["masks"][:, 0].float().cpu().numpy() if "masks" in detection else None,
    )


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
