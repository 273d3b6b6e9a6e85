"""COCO datasets and results in a few words; boxes are xyxy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Box = Sequence[float]
Truth = dict[str, Any]
Results = list[dict[str, Any]]


def thing(image: int, box: Box, category: int = 1, **more: Any) -> dict[str, Any]:
    """An object. `crowd=1` makes it one."""
    bbox = xywh(box)
    annotation = {"image_id": image, "category_id": category, "bbox": bbox, "area": bbox[2] * bbox[3]}
    return annotation | {"iscrowd": more.pop("crowd", 0)} | more


def dataset(*things: dict[str, Any], images: int = 3, categories: int = 2) -> Truth:
    """Images 0 to `images` - 1 of 640x480, categories 1 to `categories`."""
    return {
        "images": [{"id": i, "width": 640, "height": 480} for i in range(images)],
        "categories": [{"id": i + 1, "name": f"class {i + 1}"} for i in range(categories)],
        "annotations": [{"id": k + 1, **one} for k, one in enumerate(things)],
    }


def found(image: int, box: Box, score: float, category: int = 1) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": xywh(box), "score": score}


def xywh(box: Box) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def shifted(box: Box, iou: float) -> list[float]:
    """The box, moved to the right so far that it has this IoU with where it was."""
    step = (box[2] - box[0]) * (1 - iou) / (1 + iou)
    return [box[0] + step, box[1], box[2] + step, box[3]]


def random_case(seed: int, *, images: int = 12, ties: bool = True) -> tuple[Truth, Results]:
    """Objects of two classes, some difficult or crowds, and detections that are near, double or lost."""
    random = np.random.default_rng(seed)
    things, detections = [], []
    for image in range(images):
        for _ in range(random.integers(0, 6)):
            corner, size = random.uniform(0, 200, 2), random.uniform(10, 120, 2)
            box = [float(v) for v in (*corner, *(corner + size))]
            category = int(random.integers(1, 3))
            crowd, difficult = int(random.random() < 0.1), int(random.random() < 0.15)
            things.append(thing(image, box, category, crowd=crowd, difficult=difficult))
            for _ in range(random.integers(0, 3)):
                near = [float(v + random.normal(0, 7)) for v in box]
                near = [near[0], near[1], max(near[0] + 1, near[2]), max(near[1] + 1, near[3])]
                label = category if random.random() < 0.85 else 3 - category
                detections.append(found(image, near, _score(random, ties), label))
        for _ in range(random.integers(0, 3)):
            corner = random.uniform(0, 300, 2)
            box = [float(v) for v in (*corner, *(corner + 40))]
            detections.append(found(image, box, _score(random, ties), int(random.integers(1, 3))))
    return dataset(*things, images=images), detections


def _score(random: np.random.Generator, ties: bool) -> float:
    return float(random.integers(1, 20)) / 20 if ties else float(random.random())
