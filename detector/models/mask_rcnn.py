"""Mask R-CNN with a feature pyramid: torchvision's networks, with either loss of the boxes and the mask
head's own."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, _default_anchorgen
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNHeads
from torchvision.models.detection.roi_heads import RoIHeads, project_masks_on_boxes
from torchvision.models.detection.rpn import RPNHead

from detector.config import Backbone, InitialWeights
from detector.losses.harmonic import HarmonicCriterion
from detector.models.backbones import CHANNELS, build_classifier, build_pyramid, norm_layer
from detector.models.detector import keep_full_precision_between
from detector.models.faster_rcnn import HarmonicRoIHeads, Samples, adapt
from detector.models.normalisers import divided_by
from detector.models.positives import with_nothing


def build_mask_rcnn(
    num_classes: int,
    backbone: Backbone,
    initial_weights: InitialWeights,
    trainable_backbone_layers: int | None,
    criterion: HarmonicCriterion | None,
) -> nn.Module:
    """torchvision's `maskrcnn_resnet50_fpn` (arXiv 1703.06870), over any backbone, with random weights.

    The arguments are those of `faster_rcnn.build_faster_rcnn`.
    """
    # The batch norms of the published COCO detector have no eps (`overwrite_eps` in torchvision).
    classifier = build_classifier(backbone, norm_layer(initial_weights, coco_eps=0.0))
    pyramid = build_pyramid(classifier, trainable_backbone_layers, finest_stride=4)
    return _assemble(pyramid, num_classes, criterion)


def build_mask_rcnn_v2(
    num_classes: int,
    backbone: Backbone,
    trainable_backbone_layers: int | None,
    criterion: HarmonicCriterion | None,
) -> nn.Module:
    """torchvision's `maskrcnn_resnet50_fpn_v2` (arXiv 2111.11429): batch norms everywhere, which always
    learn, and deeper heads."""
    classifier = build_classifier(backbone, nn.BatchNorm2d)
    pyramid = build_pyramid(classifier, trainable_backbone_layers, finest_stride=4, norm_layer=nn.BatchNorm2d)
    anchors = _default_anchorgen()
    return _assemble(
        pyramid,
        num_classes,
        criterion,
        rpn_anchor_generator=anchors,
        rpn_head=RPNHead(CHANNELS, anchors.num_anchors_per_location()[0], conv_depth=2),
        box_head=FastRCNNConvFCHead((CHANNELS, 7, 7), [CHANNELS] * 4, [1024], norm_layer=nn.BatchNorm2d),
        mask_head=_MaskHead(CHANNELS, [CHANNELS] * 4, 1, norm_layer=nn.BatchNorm2d),
    )


class MaskRoIHeads(HarmonicRoIHeads):
    """Box and mask heads. The loss of the boxes is the harmonic one, or without a criterion torchvision's;
    that of the masks is torchvision's, but for objects whose mask nobody knows: these train the box head, and
    the mask head skips them. Evaluation is torchvision's."""

    def __init__(self, heads: RoIHeads, criterion: HarmonicCriterion | None) -> None:
        super().__init__(heads, criterion)
        self.mask_roi_pool = heads.mask_roi_pool
        self.mask_head = heads.mask_head
        self.mask_predictor = heads.mask_predictor

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        if not self.training:
            return super().forward(features, proposals, image_shapes)
        samples = Samples(*self.select_training_samples(proposals, targets))
        losses = self.box_losses(features, image_shapes, samples, targets or [])
        losses["loss_mask"] = self.mask_loss(features, image_shapes, samples, targets or [])
        return [], losses

    def mask_loss(
        self,
        features: dict[str, Tensor],
        image_shapes: list[tuple[int, int]],
        samples: Samples,
        targets: list[dict[str, Tensor]],
    ) -> Tensor:
        """Binary cross entropy of the true class's mask over the pixels of all positive proposals whose
        object has a mask; without any a zero that still carries gradient."""
        proposals, objects, classes = [], [], []
        for boxes, rows, known, target in zip(
            samples.proposals, samples.objects, samples.labels, targets, strict=True
        ):
            has_mask = with_nothing(target["masks"].flatten(1).any(dim=1).bool())
            # How many there are must be known here: the mask head computes those alone.
            positive = torch.where((known > 0) & has_mask[rows])[0]
            proposals.append(boxes[positive])
            objects.append(rows[positive])
            classes.append(known[positive])
        own_class = torch.cat(classes)
        divided_by(len(own_class), "mask")
        if not len(own_class):  # batch norm has no statistics of nothing
            learning = [*self.mask_head.parameters(), *self.mask_predictor.parameters()]
            return torch.stack([parameter.sum() for parameter in learning]).sum() * 0.0
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, proposals, image_shapes)))
        goals = [
            project_masks_on_boxes(target["masks"], boxes, rows, logits.shape[-1])
            for target, boxes, rows in zip(targets, proposals, objects, strict=True)
            if len(boxes)
        ]
        each = torch.arange(len(own_class), device=own_class.device)
        loss: Tensor = binary_cross_entropy_with_logits(logits[each, own_class], torch.cat(goals))
        return loss


class _MaskHead(MaskRCNNHeads):  # type: ignore[misc]  # torchvision has no types
    """torchvision's mask head, which leaves the statistics of batch norm alone where there is no box."""

    def forward(self, features: Tensor) -> Tensor:
        """(R, 256, 14, 14) to the same."""
        if not len(features) and not torch.onnx.is_in_onnx_export():
            return features
        mapped: Tensor = super().forward(features)
        return mapped


def _assemble(
    pyramid: nn.Module, num_classes: int, criterion: HarmonicCriterion | None, **options: Any
) -> nn.Module:
    network = MaskRCNN(pyramid, num_classes + 1, **options)
    network.roi_heads = MaskRoIHeads(network.roi_heads, criterion)
    keep_full_precision_between(network.roi_heads.mask_predictor)
    return adapt(network)
