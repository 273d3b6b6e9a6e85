"""A detector over a split of a dataset: COCO results, ready to be measured."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from detector.data.loading import EvaluationSet
from detector.data.records import ImageRecord
from detector.evaluate.served import CocoResults, coco_results
from detector.models import Detection, Detector, pixels_to_unit
from detector.runtime import Found, to_own_pixels

Selection = Callable[[ImageRecord, Found], NDArray[np.int64]]
"""Which of an image's detections to keep: their places."""


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


def as_arrays(detection: Detection, resized: tuple[int, int], own: tuple[int, int]) -> Found:
    """What the network has found on a `resized` image, in pixels of the image itself, of size `own`; sizes
    are (height, width)."""
    return Found(
        to_own_pixels(detection["boxes"].float().cpu().numpy(), resized, own),
        detection["scores"].float().cpu().numpy(),
        detection["labels"].cpu().numpy(),
        detection["masks"][:, 0].float().cpu().numpy() if "masks" in detection else None,
    )
