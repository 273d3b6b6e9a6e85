"""RetinaNet with a feature pyramid: torchvision's networks of both versions, with either loss."""

from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead, _default_anchorgen
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from detector.config import Backbone, InitialWeights
from detector.losses.baseline import sigmoid_classification, smooth_l1
from detector.losses.harmonic import HarmonicCriterion
from detector.models.backbones import CHANNELS, build_classifier, build_pyramid, deepest_channels, norm_layer
from detector.models.detector import NormalizeAndBatch, keep_full_precision_between
from detector.models.positives import Positives


def build_retinanet(
    num_classes: int,
    backbone: Backbone,
    initial_weights: InitialWeights,
    trainable_backbone_layers: int | None,
    criterion: HarmonicCriterion | None,
) -> nn.Module:
    """torchvision's `retinanet_resnet50_fpn`, over any backbone, with random weights.

    Args:
        num_classes: there is no background among them.
        initial_weights: what will be loaded; decides whether batch norms are frozen.
        trainable_backbone_layers: stages of the backbone that learn, counted from its end; None for all.
        criterion: the harmonic loss; None for torchvision's own (focal loss and L1 loss of the offsets).
    """
    # The batch norms of the published COCO detector have no eps (`overwrite_eps` in torchvision).
    classifier = build_classifier(backbone, norm_layer(initial_weights, coco_eps=0.0))
    pyramid = build_pyramid(
        classifier, trainable_backbone_layers, finest_stride=8, extra_blocks=LastLevelP6P7(CHANNELS, CHANNELS)
    )
    return _assemble(pyramid, num_classes, criterion, "l1", None)


def build_retinanet_v2(
    num_classes: int,
    backbone: Backbone,
    trainable_backbone_layers: int | None,
    criterion: HarmonicCriterion | None,
) -> nn.Module:
    """torchvision's `retinanet_resnet50_fpn_v2`: batch norms always learn, the heads have group norm, and its
    own box loss is the generalised IoU loss."""
    classifier = build_classifier(backbone, nn.BatchNorm2d)
    coarser = LastLevelP6P7(deepest_channels(classifier), CHANNELS)
    pyramid = build_pyramid(classifier, trainable_backbone_layers, finest_stride=8, extra_blocks=coarser)
    return _assemble(pyramid, num_classes, criterion, "giou", partial(nn.GroupNorm, 32))


class HarmonicRetinaNetHead(RetinaNetHead):  # type: ignore[misc]  # torchvision has no types
    """RetinaNet's head whose positive anchors are trained with the harmonic loss. All else is torchvision's:
    matching, the negatives' focal loss, and the normaliser (each image by its number of positives, then the
    mean over images).

    CE is the focal loss of the anchor, summed over all classes; p the sigmoid score of its class; L is smooth
    L1 (beta 1/9, as in Detectron's RetinaNet) of the offsets plus alpha * HIoU, in both versions, in place of
    torchvision's L1 or generalised IoU loss.
    """

    def __init__(self, *args: Any, criterion: HarmonicCriterion, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.criterion = criterion

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """
        Args:
            targets: per image, labels 0-based.
            head_outputs: `cls_logits` (B, A, K), `bbox_regression` (B, A, 4).
            anchors: per image (A, 4) xyxy in pixels.
            matched_idxs: per image (A,), the row of the matched object, negative for none.
        """
        plain = self.classification_head.compute_loss(targets, head_outputs, matched_idxs)
        positives = Positives.of(matched_idxs)
        boxes, own_anchors = positives.of_objects(targets, "boxes"), positives.of_anchors(anchors)
        offsets = positives.of_anchors(head_outputs["bbox_regression"])
        classified = sigmoid_classification(
            positives.of_anchors(head_outputs["cls_logits"]), positives.of_objects(targets, "labels")
        )
        coder = self.regression_head.box_coder
        terms = self.criterion(
            classified,
            smooth_l1(offsets, coder.encode_single(boxes, own_anchors), beta=1 / 9),
            coder.decode_single(offsets, own_anchors),
            boxes,
        )
        shares = positives.shares()
        # torchvision's sum over all anchors already holds CE once.
        extra = ((terms.classification - classified.loss) * shares).sum()
        losses = {
            "classification": plain + extra,
            "bbox_regression": (terms.localization * shares).sum(),
        }
        if terms.task_contrasting is not None:
            losses["task_contrasting"] = (terms.task_contrasting * shares).sum()
        return losses


def _assemble(
    pyramid: nn.Module,
    num_classes: int,
    criterion: HarmonicCriterion | None,
    own_box_loss: str,
    head_norm: Any,
) -> nn.Module:
    anchors = _default_anchorgen()
    shape = (CHANNELS, anchors.num_anchors_per_location()[0], num_classes)
    if criterion is None:
        head = RetinaNetHead(*shape, norm_layer=head_norm)
    else:
        head = HarmonicRetinaNetHead(*shape, norm_layer=head_norm, criterion=criterion)
    head.regression_head._loss_type = own_box_loss
    network = RetinaNet(pyramid, num_classes, anchor_generator=anchors, head=head)
    network.transform = NormalizeAndBatch(
        network.transform.image_mean, network.transform.image_std, network.transform.size_divisible
    )
    keep_full_precision_between(network.backbone, network.head)
    return network  # type: ignore[no-any-return]  # torchvision has no types
