"""One image, one answer: decode, detect, and write it as JSON or draw it. Runs in a thread of the pool."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import orjson
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from api.instruments import PHASES, prediction_seconds
from api.schemas.predictions import BoxFormat, MaskFormat
from detector.draw import draw
from detector.images import decode
from detector.runtime import Detections, OnnxDetector

_PHASES = {phase: prediction_seconds.labels(phase) for phase in PHASES}


@dataclass(frozen=True)
class Wanted:
    """What is asked of a prediction."""

    thresholds: Mapping[int, float]
    """Least score of a detection, by class id; a class without one is not wanted."""
    max_detections: int
    box_format: BoxFormat
    masks: MaskFormat
    pixel_limit: int


def as_json(
    detector: OnnxDetector, model_id: str, data: bytes, file_name: str | None, wanted: Wanted, asked_at: float
) -> bytes:
    """A `PredictionView` as JSON. `asked_at` is on the clock of `time.perf_counter`. Raises ImageInvalid."""
    began = time.perf_counter()
    pixels = decode(data, max_pixels=wanted.pixel_limit)
    decoded = time.perf_counter()
    detections = _detect(detector, pixels, wanted)
    masks = [_mask(detections, i, wanted.masks) for i in range(len(detections))]
    detected = time.perf_counter()
    _observe(
        queue=began - asked_at, decode=decoded - began, detect=detected - decoded, total=detected - asked_at
    )
    boxes = in_format(detections.boxes, wanted.box_format)
    body: dict[str, Any] = {
        "object": "prediction",
        "model": model_id,
        "image": {"width": pixels.shape[1], "height": pixels.shape[0], "file_name": file_name},
        "box_format": wanted.box_format,
        "detections": [
            {"box": box, "score": score, "class_id": class_id, "class_name": class_name, **mask}
            for box, score, class_id, class_name, mask in zip(
                boxes,
                detections.scores,
                detections.class_ids.tolist(),
                detections.class_names,
                masks,
                strict=True,
            )
        ],
        "timing_ms": {
            "queue": _ms(began - asked_at),
            "decode": _ms(decoded - began),
            "detect": _ms(detected - decoded),
            "total": _ms(detected - asked_at),
        },
    }
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)  # float32 in its shortest form


def as_picture(detector: OnnxDetector, data: bytes, wanted: Wanted, media_type: str) -> bytes:
    """The upright image with its detections drawn, as `image/jpeg` or `image/png`. Raises `ImageInvalid`."""
    began = time.perf_counter()
    pixels = decode(data, max_pixels=wanted.pixel_limit)
    decoded = time.perf_counter()
    found = _detect(detector, pixels, wanted)
    detected = time.perf_counter()
    drawn = np.ascontiguousarray(draw(pixels, found))
    picture = _encoded(drawn, media_type)
    ended = time.perf_counter()
    _observe(decode=decoded - began, detect=detected - decoded, draw=ended - detected, total=ended - began)
    return picture


def _encoded(drawn: NDArray[np.uint8], media_type: str) -> bytes:
    if media_type == "image/png":
        buffer = BytesIO()
        Image.fromarray(drawn).save(buffer, "PNG", compress_level=3)
        return buffer.getvalue()
    encoded: bytes = simplejpeg.encode_jpeg(drawn, quality=92, colorspace="RGB")
    return encoded


def in_format(boxes: NDArray[np.float32], box_format: BoxFormat) -> NDArray[np.float32]:
    """xyxy boxes (N, 4) as `box_format`."""
    if box_format == "xyxy":
        return boxes
    corner, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([corner + size / 2 if box_format == "cxcywh" else corner, size], axis=1)


def _detect(detector: OnnxDetector, pixels: NDArray[np.uint8], wanted: Wanted) -> Detections:
    found = detector.detect(pixels)
    least = [wanted.thresholds.get(class_id, math.inf) for class_id in found.class_ids.tolist()]
    return found.select(score_threshold=np.array(least, np.float32), max_detections=wanted.max_detections)


def _mask(detections: Detections, i: int, masks: MaskFormat) -> dict[str, Any]:
    """The `mask` of a `DetectionView`; nothing where none is wanted."""
    if masks == "none":
        return {}
    form = detections.run_lengths(i) if masks == "rle" else detections.polygons(i)
    return {"mask": {masks: form}}


def _observe(**phases: float) -> None:
    """Seconds of each phase of one image."""
    for phase, seconds in phases.items():
        _PHASES[phase].observe(seconds)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
