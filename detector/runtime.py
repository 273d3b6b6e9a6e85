"""A trained model in ONNX Runtime: an image in, detections out. Imports without torch.

The HTTP process serves with it, the exporter proves it equal to torch, `python -m detector predict` uses it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

# Else ONNX Runtime, from 1.29 on, tells its makers of models and machines. Must be said before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from detector.errors import ModelInvalid
from detector.images import InputSpec, resize
from detector.pasting import Part, paste, polygons, run_lengths
from detector.run_lengths import RunLengths


class ModelClass(BaseModel):
    """A class of objects that a model knows; `id` is the dataset's own."""

    model_config = ConfigDict(frozen=True)

    id: int
    name: str


class OperatingPoint(BaseModel):
    """Thresholds that a measurement has chosen; null where no threshold does what it is for."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    overall: float | None
    """Of all classes together."""
    per_class: dict[int, float | None]
    """By the class's id."""

    def threshold(self, class_id: int) -> float | None:
        """Of this class; where none was chosen for it, that of all classes."""
        own = self.per_class.get(class_id)
        return self.overall if own is None else own


class ModelCard(BaseModel):
    """`model.json`: what a reader of `model.onnx` or `model.safetensors` has to know.

    The label `k` of the network is `classes[k]`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    format: Literal[1] = 1
    architecture: str
    """Name of the network, a key of `detector.config.ARCHITECTURES`."""
    loss: str
    """Kind of the loss it was trained with."""
    input: InputSpec
    """How an image is resized before the network sees it."""
    classes: list[ModelClass] = Field(min_length=1)
    """The classes in the order of the network's labels."""
    masks: bool = False
    """Whether it gives a mask of every object."""
    score_threshold: float = Field(0.5, ge=0.0, le=1.0)
    """Score from which a detection is shown unless the caller asks otherwise."""
    operating_points: dict[str, OperatingPoint] = {}
    """`max_f1`, and `precision`: the lowest thresholds from which nine of ten detections are right. As they
    were chosen on `split`, at IoU 0.5."""
    split: str | None = None
    """The split of the dataset that `metrics` was measured on."""
    metrics: dict[str, float | None] = {}
    """The 12 COCO numbers, 0 to 1; null where the split has no such object. With masks those of them too, as
    `segm_AP` and so on."""
    config: dict[str, Any] | None = None
    """The training config, from which torch can build the network; null where it was not trained here."""


class Found(NamedTuple):
    """What a network finds on one image, best first, as arrays."""

    boxes: NDArray[np.float32]  # (N, 4) xyxy in pixels of the image itself, clipped to it
    scores: NDArray[np.float32]  # (N,)
    labels: NDArray[np.int64]  # (N,), which index the card's classes
    masks: NDArray[np.float32] | None = None  # (N, 28, 28) 0..1 over each box, of a model that gives masks


@dataclass(frozen=True)
class Detections:
    """What was found on one image, best first; boxes are xyxy pixels of that image, clipped to it."""

    boxes: NDArray[np.float32]  # (N, 4)
    scores: NDArray[np.float32]  # (N,)
    class_ids: NDArray[np.int64]  # (N,), the dataset's own ids
    class_names: list[str]  # N
    size: tuple[int, int] = (0, 0)  # (height, width) of the image
    masks: NDArray[np.float32] | None = None  # (N, 28, 28) 0..1 over each box, of a model that gives masks

    def __len__(self) -> int:
        return len(self.scores)

    def select(
        self,
        *,
        score_threshold: float | NDArray[np.float32] = 0.0,
        max_detections: int | None = None,
        class_ids: set[int] | None = None,
    ) -> Self:
        """Those with at least this score, of these classes, and of those the `max_detections` best.

        `score_threshold` may be one for each detection (N,).
        """
        wanted = self.scores >= score_threshold
        if class_ids is not None:
            wanted &= np.isin(self.class_ids, list(class_ids))
        index = np.flatnonzero(wanted)
        index = index[np.argsort(-self.scores[index], kind="stable")][:max_detections]
        return type(self)(
            self.boxes[index],
            self.scores[index],
            self.class_ids[index],
            [self.class_names[i] for i in index],
            self.size,
            None if self.masks is None else self.masks[index],
        )

    def mask(self, i: int) -> Part:
        """The pixels of detection `i`, of a model that gives masks; made anew at each call."""
        if self.masks is None:
            raise ValueError("these detections have no masks")
        return paste(self.masks[i], self.boxes[i], self.size)

    def run_lengths(self, i: int) -> RunLengths:
        """The same as COCO's run lengths of the whole image."""
        return run_lengths(self.mask(i), self.size)

    def polygons(self, i: int) -> list[list[float]]:
        """The same as COCO's polygons [x, y, x, y, …]; holes are filled."""
        return polygons(self.mask(i))


# Best first. As exact as a CPU: TF32 would round what evaluation has measured. The exhaustive search for the
# fastest convolution, ONNX Runtime's default, is done anew for every shape of an image.
_PROVIDERS: dict[str, dict[str, str]] = {
    "CUDAExecutionProvider": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
    "CPUExecutionProvider": {},
}


def providers() -> list[tuple[str, dict[str, str]]]:
    """Where graphs run, with options: on the GPU where this ONNX Runtime has one (the package
    `onnxruntime-gpu`), and on the CPU."""
    available = onnxruntime.get_available_providers()
    return [(name, options) for name, options in _PROVIDERS.items() if name in available]


class OnnxDetector:
    """A model ready to detect. `detect` may be called from several threads at once."""

    def __init__(self, onnx: Path | bytes, card: ModelCard, threads: int = 1) -> None:
        """Loads the graph, from a file or from its bytes. Raises ModelInvalid when it is no graph of ours.

        `threads` is the number of threads that one call may use; for throughput take 1 and call in parallel.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning pool burns the cores that the next request needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(onnx) if isinstance(onnx, Path) else onnx, options, providers=providers()
            )
        except Exception as error:  # ONNX Runtime has no public base class for its errors
            raise ModelInvalid(f"The ONNX graph cannot be loaded: {_first_line(error)}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        wanted = 4 if card.masks else 3
        if [i.type for i in inputs] != ["tensor(uint8)"] or len(outputs) != wanted:
            raise ModelInvalid(
                "The ONNX graph is not the detector of its card: it must take one uint8 image and give "
                f"{wanted} outputs."
            )
        self.card = card
        self._input = inputs[0].name
        self._class_ids = np.array([c.id for c in card.classes], np.int64)
        self._class_names = [c.name for c in card.classes]

    @property
    def provider(self) -> str:
        """Where it runs: `CUDAExecutionProvider` or `CPUExecutionProvider`."""
        return str(self._session.get_providers()[0])

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """What the model finds on an upright RGB image (H, W, 3), down to the network's own score threshold.

        Raises ModelInvalid when the graph names a class that the card lacks.
        """
        boxes, scores, labels, masks = self.run(image)
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self._class_names):
            raise ModelInvalid(
                f"The ONNX graph gives label {labels.max()}, the card has {len(self._class_names)}."
            )
        names = [self._class_names[k] for k in labels.tolist()]
        size = image.shape[0], image.shape[1]
        return Detections(boxes, scores, self._class_ids[labels], names, size, masks)

    def run(self, image: NDArray[np.uint8]) -> Found:
        """What the network finds on the image (H, W, 3)."""
        height, width = image.shape[:2]
        shape = self.card.input.shape_for(height, width)
        boxes, scores, labels, *masks = self._session.run(None, {self._input: resize(image, shape)})
        return Found(
            to_own_pixels(boxes, shape, (height, width)),
            scores.astype(np.float32, copy=False),
            labels.astype(np.int64, copy=False),
            masks[0].astype(np.float32, copy=False) if masks else None,
        )


def to_own_pixels(
    boxes: NDArray[np.float32], resized: tuple[int, int], own: tuple[int, int]
) -> NDArray[np.float32]:
    """Boxes (N, 4) xyxy of a resized image, in pixels of the image itself and clipped to it.

    Shapes are (height, width). Evaluation and serving share this: what is measured is what is served.
    """
    scale = np.array([own[1] / resized[1], own[0] / resized[0]] * 2, np.float32)
    limit = np.array([own[1], own[0]] * 2, np.float32)
    clipped: NDArray[np.float32] = np.clip(boxes.astype(np.float32).reshape(-1, 4) * scale, 0, limit)
    return clipped


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
