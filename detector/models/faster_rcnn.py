"""Faster R-CNN with a MobileNetV3-Large FPN backbone: torchvision's network, with either loss."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _mobilenet_extractor
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.mobilenetv3 import MobileNetV3, mobilenet_v3_large
from torchvision.ops import FrozenBatchNorm2d

from detector.config import InitialWeights
from detector.losses.baseline import smooth_l1, softmax_classification
from detector.losses.harmonic import HarmonicCriterion
from detector.models.detector import NormalizeAndBatch, keep_full_precision_between


def build_faster_rcnn(
    num_classes: int,
    initial_weights: InitialWeights,
    trainable_backbone_layers: int,
    criterion: HarmonicCriterion | None,
) -> nn.Module:
    """torchvision's `fasterrcnn_mobilenet_v3_large_320_fpn`, with random weights.

    Args:
        num_classes: without background.
        initial_weights: what will be loaded; decides whether batch norms are frozen (see `build_classifier`).
        trainable_backbone_layers: 0..6 stages of the backbone that learn, counted from its end.
        criterion: the harmonic loss; None for torchvision's own.
    """
    backbone = build_backbone(build_classifier(initial_weights), trainable_backbone_layers)
    sizes = ((32, 64, 128, 256, 512),) * 3
    network = FasterRCNN(
        backbone,
        num_classes + 1,
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 3),
        rpn_pre_nms_top_n_test=150,
        rpn_post_nms_top_n_test=150,
        rpn_score_thresh=0.05,
    )
    network.transform = NormalizeAndBatch(
        network.transform.image_mean, network.transform.image_std, network.transform.size_divisible
    )
    if criterion is not None:
        network.roi_heads = HarmonicRoIHeads(network.roi_heads, criterion)
    network.roi_heads.box_coder = _BoxCoder(network.roi_heads.box_coder.weights)
    _learn_strides(network)
    keep_full_precision_between(network.backbone, network.rpn.head, network.roi_heads.box_predictor)
    return network  # type: ignore[no-any-return]  # torchvision has no types


class HarmonicRoIHeads(RoIHeads):  # type: ignore[misc]  # torchvision has no types
    """Box head whose positive proposals are trained with the harmonic loss. All else is torchvision's:
    sampling, the negatives' loss, the normaliser (number of sampled proposals), and everything in
    evaluation."""

    def __init__(self, heads: RoIHeads, criterion: HarmonicCriterion) -> None:
        super().__init__(
            heads.box_roi_pool,
            heads.box_head,
            heads.box_predictor,
            heads.proposal_matcher.high_threshold,
            heads.proposal_matcher.low_threshold,
            heads.fg_bg_sampler.batch_size_per_image,
            heads.fg_bg_sampler.positive_fraction,
            heads.box_coder.weights,
            heads.score_thresh,
            heads.nms_thresh,
            heads.detections_per_img,
        )
        self.criterion = criterion

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        if not self.training:
            found: tuple[list[dict[str, Tensor]], dict[str, Tensor]] = super().forward(
                features, proposals, image_shapes
            )
            return found
        proposals, objects, labels, target_offsets = self.select_training_samples(proposals, targets)
        pooled = self.box_roi_pool(features, proposals, image_shapes)
        logits, offsets = self.box_predictor(self.box_head(pooled))
        matched = [
            target["boxes"][rows[known > 0]]
            for target, rows, known in zip(targets or [], objects, labels, strict=True)
        ]
        return [], self.compute_loss(
            logits,
            offsets,
            torch.cat(labels),
            torch.cat(proposals),
            torch.cat(target_offsets),
            torch.cat(matched),
        )

    def compute_loss(
        self,
        logits: Tensor,
        offsets: Tensor,
        labels: Tensor,
        proposals: Tensor,
        target_offsets: Tensor,
        target_boxes: Tensor,
    ) -> dict[str, Tensor]:
        """
        Args:
            logits: (R, K) of R sampled proposals, background first.
            offsets: (R, K * 4), for every class its own.
            labels: (R,), 0 for background.
            proposals, target_offsets: (R, 4).
            target_boxes: (P, 4) xyxy of the P proposals that are positive, in their order.
        """
        count = len(labels)
        positive = torch.where(labels > 0)[0]
        own_class = labels[positive]
        proposals = proposals[positive]
        predicted = offsets.reshape(count, -1, 4)[positive, own_class]
        classified = softmax_classification(logits[positive], own_class)
        terms = self.criterion(
            classified,
            smooth_l1(predicted, target_offsets[positive], beta=1 / 9),
            self.box_coder.decode_single(predicted, proposals),
            target_boxes,
        )
        # The mean over all samples already holds CE once.
        extra = (terms.classification - classified.loss).sum() / count
        losses = {
            "loss_classifier": nn.functional.cross_entropy(logits, labels) + extra,
            "loss_box_reg": terms.localization.sum() / count,
        }
        if terms.task_contrasting is not None:
            losses["task_contrasting"] = terms.task_contrasting.sum() / count
        return losses


class _BoxCoder(BoxCoder):  # type: ignore[misc]  # torchvision has no types
    """torchvision's box coder, whose exported graph also takes an image without any proposal: torchvision
    reshapes to (proposals, -1), which ONNX cannot do with no proposals."""

    def decode(self, rel_codes: Tensor, boxes: list[Tensor]) -> Tensor:
        """(R, K * 4) offsets of R proposals, those of each image (r, 4), to (R, K, 4) boxes."""
        decoded: Tensor = self.decode_single(rel_codes, torch.cat(boxes))
        return decoded.reshape(-1, rel_codes.shape[1] // 4, 4)


def build_classifier(initial_weights: InitialWeights) -> MobileNetV3:
    """MobileNetV3-Large with random weights. As in torchvision, batch norms are frozen where their statistics
    come from elsewhere, and learn where training starts from random weights."""
    norm_layer: Any = nn.BatchNorm2d if initial_weights == "random" else FrozenBatchNorm2d
    return mobilenet_v3_large(weights=None, norm_layer=norm_layer)


def build_backbone(classifier: MobileNetV3, trainable_layers: int) -> nn.Module:
    """The classifier's features under a feature pyramid."""
    backbone: nn.Module = _mobilenet_extractor(classifier, True, trainable_layers)
    return backbone


@torch.no_grad()
def _learn_strides(network: FasterRCNN) -> None:
    """Shows the box pooler one harmless image. torchvision's pooler infers the strides of the feature maps
    from the first batch it meets and keeps them; from a very wide image (a few pixels high, padded to 32) it
    infers wrong ones."""
    image = torch.zeros(1, 3, 64, 64)
    training = network.training
    features = network.eval().backbone(image)
    network.roi_heads.box_roi_pool(features, [torch.tensor([[0.0, 0.0, 64.0, 64.0]])], [(64, 64)])
    network.train(training)
