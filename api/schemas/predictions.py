"""Predictions on the wire. The answer itself is written by `api.inference.answer`; these describe it."""

from typing import Literal

from pydantic import ConfigDict

from api.schemas.common import Example, Shape

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]

EXAMPLE: Example = {
    "object": "prediction",
    "model": "mdl_01jz4mp2q7r9s1t3v5w7x9y1z3",
    "image": {"width": 640, "height": 480, "file_name": None},
    "box_format": "xyxy",
    "detections": [{"box": [77.1, 51.6, 183.2, 160.9], "score": 0.93, "class_id": 2, "class_name": "RBC"}],
    "timing_ms": {"queue": 0.1, "decode": 2.4, "detect": 15.2, "total": 17.9},
}


class DetectionView(Shape):
    """One object found."""

    box: list[float]
    """Four numbers in pixels of the upright image, as `box_format` says."""
    score: float
    """0 to 1; how sure the model is of class and place together."""
    class_id: int
    """The dataset's own id."""
    class_name: str


class ImageView(Shape):
    """The image that was looked at, turned upright as its EXIF says."""

    width: int
    height: int
    file_name: str | None
    """The name it had in a multipart body."""


class TimingView(Shape):
    """Milliseconds spent on this image."""

    queue: float
    """Waiting for a free thread."""
    decode: float
    """From bytes to pixels."""
    detect: float
    """Resizing and the network."""
    total: float


class PredictionView(Shape):
    """What a model finds on one image, best first."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    object: Literal["prediction"] = "prediction"
    model: str
    image: ImageView
    box_format: BoxFormat
    """`xyxy`: corners; `xywh`: corner and size; `cxcywh`: centre and size."""
    detections: list[DetectionView]
    timing_ms: TimingView


class PredictionList(Shape):
    """The predictions of a multipart body, in the order of its images."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [EXAMPLE | {"image": {"width": 640, "height": 480, "file_name": "a.jpg"}}],
                }
            ]
        }
    )

    object: Literal["list"] = "list"
    data: list[PredictionView]
