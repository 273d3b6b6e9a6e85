"""Detectors, a file per family, behind one vocabulary: `build` one, train it, export its `graph_module`."""

from torch import nn

from detector.config import (
    FCOS,
    SSD300,
    WITH_MASKS,
    Architecture,
    FasterRCNN,
    FasterRCNN320,
    FasterRCNNMobile,
    FasterRCNNV2,
    HarmonicLoss,
    Loss,
    MaskRCNN,
    MaskRCNNV2,
    RefineDet320,
    RefineDet512,
    RetinaNet,
    RetinaNetV2,
    SSDLite320,
    TrainConfig,
)
from detector.images import InputSpec
from detector.input_sizes import input_spec
from detector.losses.harmonic import HarmonicCriterion
from detector.models.detector import Detection, Detector, Losses, Target, graph_module, pixels_to_unit
from detector.models.faster_rcnn import build_faster_rcnn, build_faster_rcnn_mobile, build_faster_rcnn_v2
from detector.models.fcos import build_fcos
from detector.models.mask_rcnn import build_mask_rcnn, build_mask_rcnn_v2
from detector.models.refinedet import build_refinedet
from detector.models.retinanet import build_retinanet, build_retinanet_v2
from detector.models.ssd import build_ssd300, build_ssdlite

__all__ = [
    "Detection",
    "Detector",
    "Losses",
    "Target",
    "build",
    "graph_module",
    "input_spec",
    "input_specs",
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
    network = _network(architecture, num_classes, criterion)
    has_background = not isinstance(architecture, RetinaNet | RetinaNetV2 | FCOS)
    return Detector(
        network,
        input_spec(architecture),
        first_class=int(has_background),
        has_masks=architecture.kind in WITH_MASKS,
        one_normaliser=isinstance(architecture, SSDLite320 | SSD300 | RetinaNet | RetinaNetV2 | FCOS),
    )


def _network(architecture: Architecture, num_classes: int, criterion: HarmonicCriterion | None) -> nn.Module:
    if isinstance(architecture, SSDLite320):
        return build_ssdlite(
            architecture.image_size,
            num_classes,
            architecture.initial_weights,
            criterion,
            reduced_tail=architecture.tail_is_reduced,
        )
    if isinstance(architecture, SSD300):
        return build_ssd300(num_classes, architecture.trainable_backbone_layers, criterion)
    if isinstance(architecture, RefineDet320 | RefineDet512):
        return build_refinedet(
            num_classes,
            architecture.image_size,
            architecture.backbone,
            architecture.initial_weights,
            criterion,
        )
    trainable: int | None = architecture.trainable_backbone_layers
    start = architecture.initial_weights
    if isinstance(architecture, FasterRCNN320):
        return build_faster_rcnn_mobile(
            num_classes, "mobilenet_v3_large", start, trainable, criterion, low_resolution=True
        )
    backbone = architecture.backbone
    if isinstance(architecture, FasterRCNNMobile):
        return build_faster_rcnn_mobile(
            num_classes, backbone, start, trainable, criterion, low_resolution=False
        )
    if isinstance(architecture, FasterRCNN):
        return build_faster_rcnn(num_classes, backbone, start, trainable, criterion)
    if isinstance(architecture, FasterRCNNV2):
        return build_faster_rcnn_v2(num_classes, backbone, trainable, criterion)
    if isinstance(architecture, MaskRCNN):
        return build_mask_rcnn(num_classes, backbone, start, trainable, criterion)
    if isinstance(architecture, MaskRCNNV2):
        return build_mask_rcnn_v2(num_classes, backbone, trainable, criterion)
    if isinstance(architecture, RetinaNet):
        return build_retinanet(num_classes, backbone, start, trainable, criterion)
    if isinstance(architecture, RetinaNetV2):
        return build_retinanet_v2(num_classes, backbone, trainable, criterion)
    return build_fcos(num_classes, backbone, start, trainable, criterion)


def input_specs(config: TrainConfig) -> list[InputSpec]:
    """The sizes in which a training shows images: those of `multi_scale`, or the one of its architecture."""
    architecture, sizes = config.architecture, config.augmentation.multi_scale
    if sizes is None:
        return [input_spec(architecture)]
    return [input_spec(architecture.model_copy(update={"image_size": size})) for size in sizes]


def _criterion(loss: Loss) -> HarmonicCriterion | None:
    if not isinstance(loss, HarmonicLoss):
        return None
    return HarmonicCriterion(
        alpha=loss.alpha,
        gamma=loss.gamma,
        task_contrasting=loss.task_contrasting,
        margin=loss.margin,
        detach_factors=loss.detach_factors,
        detach_iou=loss.detach_iou,
        harmonic_factors=loss.harmonic_factors,
        iou_loss=loss.iou_loss,
    )
