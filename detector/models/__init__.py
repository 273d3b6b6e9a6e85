"""Detectors, a file per family, behind one vocabulary: `build` one, train it, export its `graph_module`."""

from detector.config import SSD300, Architecture, HarmonicLoss, Loss, SSDLite320
from detector.images import InputSpec
from detector.losses.harmonic import HarmonicCriterion
from detector.models.detector import Detection, Detector, Losses, Target, graph_module, pixels_to_unit
from detector.models.faster_rcnn import build_faster_rcnn
from detector.models.ssd import SSD300_SIZE, build_ssd300, build_ssdlite

__all__ = [
    "Detection",
    "Detector",
    "Losses",
    "Target",
    "build",
    "graph_module",
    "input_spec",
    "pixels_to_unit",
]


def build(architecture: Architecture, loss: Loss, num_classes: int) -> Detector:
    """The detector with random weights from torch's global generator; `weights.load_initial` loads others.

    Args:
        num_classes: without background, at least 1.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, not {num_classes}")
    criterion = _criterion(loss)
    if isinstance(architecture, SSDLite320):
        network = build_ssdlite(architecture.image_size, num_classes, architecture.initial_weights, criterion)
    elif isinstance(architecture, SSD300):
        network = build_ssd300(num_classes, architecture.trainable_backbone_layers, criterion)
    else:
        network = build_faster_rcnn(
            num_classes, architecture.initial_weights, architecture.trainable_backbone_layers, criterion
        )
    return Detector(network, input_spec(architecture))


def input_spec(architecture: Architecture) -> InputSpec:
    """How images are resized before they reach the detector."""
    if isinstance(architecture, SSDLite320):
        return InputSpec(kind="square", size=architecture.image_size, max_size=None, divisor=1)
    if isinstance(architecture, SSD300):
        return InputSpec(kind="square", size=SSD300_SIZE, max_size=None, divisor=1)
    size = architecture.image_size
    return InputSpec(kind="shorter_side", size=size, max_size=2 * size, divisor=1)


def _criterion(loss: Loss) -> HarmonicCriterion | None:
    if not isinstance(loss, HarmonicLoss):
        return None
    return HarmonicCriterion(
        alpha=loss.alpha,
        gamma=loss.gamma,
        task_contrasting=loss.task_contrasting,
        margin=loss.margin,
        detach_factors=loss.detach_factors,
        harmonic_factors=loss.harmonic_factors,
        iou_loss=loss.iou_loss,
    )
