"""RetinaNet with a feature pyramid: torchvision's networks of both versions, with either loss."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead, _default_anchorgen
from torchvision.ops import sigmoid_focal_loss
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from detector.config import Backbone, InitialWeights
from detector.losses.baseline import one_hot_or_nothing, sigmoid_classification, smooth_l1
from detector.losses.harmonic import HarmonicCriterion
from detector.models.backbones import CHANNELS, build_classifier, build_pyramid, deepest_channels, norm_layer
from detector.models.box_coder import ResidentBoxCoder
from detector.models.detector import NormalizeAndBatch, keep_full_precision_between
from detector.models.positives import Positives, labels_of_anchors


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
        positives = Positives.of(matched_idxs)
        own_anchors = positives.of_anchors(anchors)
        boxes = positives.boxes(targets, own_anchors)
        offsets = positives.of_anchors(head_outputs["bbox_regression"])
        logits = head_outputs["cls_logits"]
        classified = sigmoid_classification(positives.of_anchors(logits), positives.labels(targets))
        coder = ResidentBoxCoder(self.regression_head.box_coder.weights)
        terms = self.criterion(
            classified,
            smooth_l1(offsets, coder.encode_single(boxes, own_anchors), beta=1 / 9),
            coder.decode_single(offsets, own_anchors),
            boxes,
        )
        shares = positives.shares()
        plain = self._plain_classification(logits, targets, matched_idxs, positives.images)
        # The sum over all anchors already holds CE once.
        extra = positives.sum((terms.classification - classified.loss) * shares)
        losses = {
            "classification": plain + extra,
            "bbox_regression": positives.sum(terms.localization * shares),
        }
        if terms.task_contrasting is not None:
            losses["task_contrasting"] = positives.sum(terms.task_contrasting * shares)
        return losses

    def _plain_classification(
        self,
        logits: Tensor,
        targets: list[dict[str, Tensor]],
        matched_idxs: list[Tensor],
        counts: list[Tensor],
    ) -> Tensor:
        """torchvision's focal loss of all anchors but those between the two thresholds of matching: the mean
        over images of their sums (B, A, K) by their numbers of positives."""
        labels = labels_of_anchors(matched_idxs, targets, otherwise=-1)
        losses = []
        for own, label, matched, count in zip(logits, labels, matched_idxs, counts, strict=True):
            goal = one_hot_or_nothing(label, own.shape[1], own.dtype)
            loss = sigmoid_focal_loss(own, goal)
            ignored = matched == self.classification_head.BETWEEN_THRESHOLDS
            losses.append(torch.where(ignored, 0, loss.sum(1)).sum() / count)
        return torch.stack(losses).sum() / len(targets)


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
