"""Faster R-CNN with a feature pyramid: torchvision's networks, with either loss."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNConvFCHead, _default_anchorgen
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes

from detector.config import Backbone, InitialWeights
from detector.losses.baseline import smooth_l1, softmax_classification
from detector.losses.harmonic import HarmonicCriterion
from detector.models.backbones import CHANNELS, build_classifier, build_pyramid, norm_layer
from detector.models.box_coder import ResidentBoxCoder
from detector.models.detector import NormalizeAndBatch, keep_full_precision_between
from detector.models.normalisers import divided_by
from detector.models.positives import with_nothing
from detector.models.roi_align import SeparableRoIAlign


def build_faster_rcnn(
    num_classes: int,
    backbone: Backbone,
    initial_weights: InitialWeights,
    trainable_backbone_layers: int | None,
    criterion: HarmonicCriterion | None,
) -> nn.Module:
    """torchvision's `fasterrcnn_resnet50_fpn`, over any backbone, with random weights.

    Args:
        num_classes: without background.
        initial_weights: what will be loaded; decides whether batch norms are frozen.
        trainable_backbone_layers: stages of the backbone that learn, counted from its end; None for all.
        criterion: the harmonic loss; None for torchvision's own.
    """
    # The batch norms of the published COCO detector have no eps (`overwrite_eps` in torchvision).
    classifier = build_classifier(backbone, norm_layer(initial_weights, coco_eps=0.0))
    pyramid = build_pyramid(classifier, trainable_backbone_layers, finest_stride=4)
    return _assemble(pyramid, num_classes, criterion)


def build_faster_rcnn_v2(
    num_classes: int,
    backbone: Backbone,
    trainable_backbone_layers: int | None,
    criterion: HarmonicCriterion | None,
) -> nn.Module:
    """torchvision's `fasterrcnn_resnet50_fpn_v2` (arXiv 2111.11429): batch norms everywhere, which always
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
    )


def build_faster_rcnn_mobile(
    num_classes: int,
    backbone: Backbone,
    initial_weights: InitialWeights,
    trainable_backbone_layers: int | None,
    criterion: HarmonicCriterion | None,
    *,
    low_resolution: bool,
) -> nn.Module:
    """torchvision's `fasterrcnn_mobilenet_v3_large_fpn`: a pyramid of two coarse maps; with `low_resolution`
    its `fasterrcnn_mobilenet_v3_large_320_fpn`, which keeps fewer proposals."""
    classifier = build_classifier(backbone, norm_layer(initial_weights))
    pyramid = build_pyramid(classifier, trainable_backbone_layers, finest_stride=32)
    options: dict[str, Any] = {"rpn_score_thresh": 0.05}
    if low_resolution:
        options |= {"rpn_pre_nms_top_n_test": 150, "rpn_post_nms_top_n_test": 150}
    sizes = ((32, 64, 128, 256, 512),) * 3
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 3)
    return _assemble(pyramid, num_classes, criterion, rpn_anchor_generator=anchors, **options)


class Samples(NamedTuple):
    """The proposals that a step learns from, per image."""

    proposals: list[Tensor]  # (r, 4)
    objects: list[Tensor]  # (r,), rows of the matched objects; 0 where there is none
    labels: list[Tensor]  # (r,), 0 for background
    target_offsets: list[Tensor]  # (r, 4)


class HarmonicRoIHeads(RoIHeads):  # type: ignore[misc]  # torchvision has no types
    """Box head whose positive proposals are trained with the harmonic loss, or without a criterion with
    torchvision's. All else is torchvision's: sampling, the negatives' loss, the normaliser (number of sampled
    proposals), and everything in evaluation."""

    def __init__(self, heads: RoIHeads, criterion: HarmonicCriterion | None) -> None:
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
        samples = Samples(*self.select_training_samples(proposals, targets))
        return [], self.box_losses(features, image_shapes, samples, targets or [])

    def box_losses(
        self,
        features: dict[str, Tensor],
        image_shapes: list[tuple[int, int]],
        samples: "Samples",
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """The losses of the box head over the sampled proposals."""
        pooled = self.box_roi_pool(features, samples.proposals, image_shapes)
        logits, offsets = self.box_predictor(self.box_head(pooled))
        matched = [
            with_nothing(target["boxes"])[rows] for target, rows in zip(targets, samples.objects, strict=True)
        ]
        return self.compute_loss(
            logits,
            offsets,
            torch.cat(samples.labels),
            torch.cat(samples.proposals),
            torch.cat(samples.target_offsets),
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
            target_boxes: (R, 4) xyxy of the matched objects, anything for background.

        All proposals are computed and background is masked, so that a GPU need not be asked how many are
        positive; of 512 to an image that costs nothing.
        """
        if self.criterion is None:
            classification, localization = fastrcnn_loss(logits, offsets, [labels], [target_offsets])
            return {"loss_classifier": classification, "loss_box_reg": localization}
        count = len(labels)
        positive = labels > 0
        each = torch.arange(count, device=labels.device)
        predicted = offsets.reshape(count, -1, 4)[each, labels]
        classified = softmax_classification(logits, labels)
        # Those of background may be infinite, and a mask behind the loss would make NaN of their gradient.
        target_offsets = torch.where(positive[:, None], target_offsets, 0)
        terms = self.criterion(
            classified,
            smooth_l1(predicted, target_offsets, beta=1 / 9),
            ResidentBoxCoder(self.box_coder.weights).decode_single(predicted, proposals),
            torch.where(positive[:, None], target_boxes, proposals),
        )

        def mean(values: Tensor, others: Tensor | float = 0.0) -> Tensor:
            return torch.where(positive, values, others).sum() / count

        losses = {
            "loss_classifier": mean(terms.classification, classified.loss),
            "loss_box_reg": mean(terms.localization),
        }
        if terms.task_contrasting is not None:
            losses["task_contrasting"] = mean(terms.task_contrasting)
        return losses


class _CountingSampler(BalancedPositiveNegativeSampler):  # type: ignore[misc]  # torchvision has no types
    """torchvision's sampler of anchors or proposals, which says that losses are divided by its samples."""

    def __init__(self, sampler: BalancedPositiveNegativeSampler, *losses: str) -> None:
        super().__init__(sampler.batch_size_per_image, sampler.positive_fraction)
        self._losses = losses

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        positives, negatives = super().__call__(matched_idxs)
        divided_by(torch.cat([*positives, *negatives]).sum(), *self._losses)
        return positives, negatives


class _StableProposals(RegionProposalNetwork):  # type: ignore[misc]  # torchvision has no types
    """torchvision's proposals, which in evaluation take the first of anchors with equal scores.

    Where the features are flat (a border, a plain background, units that died), thousands of anchors have one
    score. Which of them `topk` takes before non-maximum suppression, and which of the survivors come first
    after it, is anybody's guess in torch, and may change with the device; ONNX's operators take those with
    the lower index. So does this, and a network is served as it was evaluated.
    """

    def __init__(self, rpn: RegionProposalNetwork) -> None:
        super().__init__(
            rpn.anchor_generator,
            rpn.head,
            rpn.proposal_matcher.high_threshold,
            rpn.proposal_matcher.low_threshold,
            rpn.fg_bg_sampler.batch_size_per_image,
            rpn.fg_bg_sampler.positive_fraction,
            rpn._pre_nms_top_n,
            rpn._post_nms_top_n,
            rpn.nms_thresh,
            rpn.score_thresh,
        )

    def _get_top_n_idx(self, objectness: Tensor, num_anchors_per_level: list[int]) -> Tensor:
        """(N, sum of A_l) scores of levels with A_l anchors to (N, k) columns, the best of each level."""
        if self.training or torch.onnx.is_in_onnx_export():
            columns: Tensor = super()._get_top_n_idx(objectness, num_anchors_per_level)
            return columns
        best, begin = [], 0
        for scores in torch.split(objectness, num_anchors_per_level, dim=1):
            order = scores.sort(dim=1, descending=True, stable=True).indices
            best.append(order[:, : self.pre_nms_top_n()] + begin)
            begin += scores.shape[1]
        return torch.cat(best, dim=1)

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The proposals of each image (r, 4) and their scores (r,), best first.

        Args:
            proposals: (N, A, 4) xyxy of the A anchors of N images, level after level.
            objectness: their logits, N * A of them.
        """
        if self.training or torch.onnx.is_in_onnx_export():
            found: tuple[list[Tensor], list[Tensor]] = super().filter_proposals(
                proposals, objectness, image_shapes, num_anchors_per_level
            )
            return found
        objectness = objectness.detach().reshape(len(proposals), -1)
        columns = self._get_top_n_idx(objectness, num_anchors_per_level)
        levels = torch.repeat_interleave(torch.tensor(num_anchors_per_level, device=objectness.device))
        kept = [
            self._suppressed(proposals[n, best], objectness[n, best].sigmoid(), levels[best], shape)
            for n, (best, shape) in enumerate(zip(columns, image_shapes, strict=True))
        ]
        return [boxes for boxes, _ in kept], [scores for _, scores in kept]

    def _suppressed(
        self, boxes: Tensor, scores: Tensor, levels: Tensor, shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Those of one image's proposals (r, 4) that survive, each level by itself, the best of all first."""
        boxes = clip_boxes_to_image(boxes, shape)
        large = remove_small_boxes(boxes, self.min_size)
        rows = large[scores[large] >= self.score_thresh]
        survives = torch.zeros_like(scores, dtype=torch.bool)
        for level in levels[rows].unique():  # type: ignore[no-untyped-call]
            here = rows[levels[rows] == level]
            survives[here[nms(boxes[here], scores[here], self.nms_thresh)]] = True
        rows = torch.where(survives)[0]
        rows = rows[scores[rows].sort(descending=True, stable=True).indices[: self.post_nms_top_n()]]
        return boxes[rows], scores[rows]


class _BoxCoder(BoxCoder):  # type: ignore[misc]  # torchvision has no types
    """torchvision's box coder, whose exported graph also takes an image without any proposal: torchvision
    reshapes to (proposals, -1), which ONNX cannot do with no proposals."""

    def decode(self, rel_codes: Tensor, boxes: list[Tensor]) -> Tensor:
        """(R, K * 4) offsets of R proposals, those of each image (r, 4), to (R, K, 4) boxes."""
        decoded: Tensor = self.decode_single(rel_codes, torch.cat(boxes))
        return decoded.reshape(-1, rel_codes.shape[1] // 4, 4)


def _assemble(
    pyramid: nn.Module, num_classes: int, criterion: HarmonicCriterion | None, **options: Any
) -> nn.Module:
    network = FasterRCNN(pyramid, num_classes + 1, **options)
    if criterion is not None:
        network.roi_heads = HarmonicRoIHeads(network.roi_heads, criterion)
    return adapt(network)


def adapt(network: FasterRCNN) -> nn.Module:
    """One of torchvision's two-stage networks, taking images that are already resized, and exportable."""
    network.transform = NormalizeAndBatch(
        network.transform.image_mean, network.transform.image_std, network.transform.size_divisible
    )
    network.roi_heads.box_coder = _BoxCoder(network.roi_heads.box_coder.weights)
    network.rpn = _StableProposals(network.rpn)
    network.rpn.fg_bg_sampler = _CountingSampler(network.rpn.fg_bg_sampler, "rpn_objectness", "rpn_box")
    network.roi_heads.fg_bg_sampler = _CountingSampler(
        network.roi_heads.fg_bg_sampler, "classification", "localization", "task_contrasting"
    )
    _learn_strides(network)
    heads = network.roi_heads
    heads.box_roi_pool = SeparableRoIAlign(heads.box_roi_pool)
    if heads.mask_roi_pool is not None:
        heads.mask_roi_pool = SeparableRoIAlign(heads.mask_roi_pool)
    keep_full_precision_between(network.backbone, network.rpn.head, network.roi_heads.box_predictor)
    return network  # type: ignore[no-any-return]  # torchvision has no types


@torch.no_grad()
def _learn_strides(network: FasterRCNN) -> None:
    """Shows the poolers one harmless image. torchvision's pooler infers the strides of the feature maps from
    the first batch it meets and keeps them; from a very wide image (a few pixels high, padded to 32) it
    infers wrong ones."""
    image = torch.zeros(1, 3, 64, 64)
    training = network.training
    features = network.eval().backbone(image)
    for pool in (network.roi_heads.box_roi_pool, network.roi_heads.mask_roi_pool):
        if pool is not None:
            pool(features, [torch.tensor([[0.0, 0.0, 64.0, 64.0]])], [(64, 64)])
    network.train(training)
