"""RefineDet: anchors are refined and the hopeless ones dropped, then classified and refined again.

S. Zhang et al.: "Single-Shot Refinement Neural Network for Object Detection", CVPR 2018, arXiv 1711.06897.

    backbone ── 4 maps ──► anchor refinement module (ARM): object or not, first offsets
                  │                       │ refined anchors
                  └─ transfer ─ 4 maps ──► object detection module (ODM): classes, second offsets

The whole is one pass over the image. Where the paper leaves something open, its authors' training scripts
decide: anchors are not clipped, fc6 has dilation 3, a ResNet's added layers have batch norm, an anchor that
the ARM drops trains the ODM in no role, and refined anchors are constants for the ODM's gradient.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import SSDMatcher
from torchvision.models.detection.ssd import SSDHead
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from detector.config import InitialWeights, RefineDetBackbone
from detector.losses.baseline import Classification, smooth_l1, softmax_classification
from detector.losses.harmonic import HarmonicCriterion, HarmonicTerms
from detector.models import backbones
from detector.models.box_coder import ResidentBoxCoder
from detector.models.detector import NormalizeAndBatch, keep_full_precision_between
from detector.models.normalisers import divided_by
from detector.models.refinedet_features import (
    CHANNELS,
    ResNetMaps,
    TransferConnections,
    VGGMaps,
)
from detector.models.ssd import VGG_MEAN, VGG_STD, build_vgg

IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_STD = [0.229, 0.224, 0.225]
STRIDES = (8, 16, 32, 64)
SCALE = 4  # side of an anchor's square, in strides
ASPECT_RATIOS = (1.0, 2.0, 0.5)  # width / height
HOPELESS = 0.99  # anchors that are background with more than this probability are dropped
FADE = 0.005
NEGATIVES_PER_POSITIVE = 3
CANDIDATES = 400  # of each class that reach non-maximum suppression

Criterion: TypeAlias = Callable[[Classification, Tensor, Tensor, Tensor], HarmonicTerms]


def build_refinedet(
    num_classes: int,
    image_size: int,
    backbone: RefineDetBackbone,
    initial_weights: InitialWeights,
    criterion: HarmonicCriterion | None,
) -> nn.Module:
    """RefineDet with random weights.

    Args:
        num_classes: without background.
        image_size: side of the square images in pixels, a multiple of 64.
        initial_weights: what will be loaded; decides whether a ResNet's batch norms are frozen.
        criterion: the harmonic loss of the object detection module; None for the paper's own.
    """
    body: VGGMaps | ResNetMaps
    if backbone == "vgg16":
        body = VGGMaps(build_vgg())
        transfer = TransferConnections(body.out_channels, None)
        transform = NormalizeAndBatch(VGG_MEAN, VGG_STD, size_divisible=1)
    else:
        classifier = backbones.build_classifier(backbone, backbones.norm_layer(initial_weights))
        body = ResNetMaps(classifier, nn.BatchNorm2d)
        transfer = TransferConnections(body.out_channels, nn.BatchNorm2d)
        transform = NormalizeAndBatch(IMAGENET_MEAN, IMAGENET_STD, size_divisible=1)
    network = RefineDet(transform, body, transfer, image_size, num_classes, criterion)
    keep_full_precision_between(network.arm, network.odm)
    return network


class RefineDet(nn.Module):
    """The network, with torchvision's conventions: labels count from 1, and 0 is background."""

    anchors: Tensor

    def __init__(
        self,
        transform: NormalizeAndBatch,
        backbone: VGGMaps | ResNetMaps,
        transfer: TransferConnections,
        image_size: int,
        num_classes: int,
        criterion: HarmonicCriterion | None,
    ) -> None:
        super().__init__()
        self.transform = transform
        self.backbone = backbone
        self.transfer = transfer
        per_place = [len(ASPECT_RATIOS)] * len(STRIDES)
        self.arm = SSDHead(backbone.out_channels, per_place, 2)
        self.odm = SSDHead([CHANNELS] * len(STRIDES), per_place, num_classes + 1)
        self.register_buffer("anchors", make_anchors(image_size), persistent=False)
        self.criterion: Criterion = criterion or plain_terms
        self.box_coder = ResidentBoxCoder((10.0, 10.0, 5.0, 5.0))
        self.matcher = SSDMatcher(0.5)  # and the best anchor of each object
        self.score_thresh = 0.01
        self.nms_thresh = 0.45
        self.detections_per_img = 200

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """
        Args:
            images: each (3, S, S) RGB, float 0..1.
            targets: per image `boxes` (N, 4) and `labels` (N,), 1-based; None in evaluation.

        Returns:
            The losses in training; in evaluation `boxes`, `scores` and `labels` per image.
        """
        batch, targets = self.transform(images, targets)
        maps = self.backbone(batch.tensors)
        first = Predictions.of(self.arm(maps))
        second = Predictions.of(self.odm(self.transfer(maps)))
        refined = self.refine(first.offsets.detach())
        background = first.logits.detach().softmax(dim=-1)[..., 0]  # (B, A)
        if self.training:
            return self.compute_loss(first, second, refined, background <= HOPELESS, targets or [])
        return self.detect(second, refined, background, batch.image_sizes)

    def refine(self, offsets: Tensor) -> Tensor:
        """The anchors moved and resized by the ARM's offsets (B, A, 4): (B, A, 4) xyxy in pixels.

        Sides change at most 62.5-fold, as in torchvision's coder, but in both directions: a box without area
        could not be refined again.
        """
        limit = 5 * math.log(1000 / 16)
        offsets = torch.cat((offsets[..., :2], offsets[..., 2:].clamp(-limit, limit)), dim=-1)
        return self._decode(offsets, self.anchors.expand_as(offsets))

    def compute_loss(
        self,
        first: "Predictions",
        second: "Predictions",
        refined: Tensor,
        promising: Tensor,
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """The ARM's losses on the anchors, and the ODM's on the refined anchors (B, A, 4) that are promising
        (B, A). Each module divides by its own number of positives."""
        objects = [{**target, "labels": torch.ones_like(target["labels"])} for target in targets]
        arm, arm_positives = self._module_loss(
            first, self.anchors.expand_as(refined), None, objects, plain_terms
        )
        odm, odm_positives = self._module_loss(second, refined, promising, targets, self.criterion)
        divided_by(arm_positives, "arm_objectness", "arm_box")
        divided_by(odm_positives, "classification", "localization", "task_contrasting")
        losses = {
            "arm_objectness": arm.classification,
            "arm_box": arm.localization,
            "classification": odm.classification,
            "localization": odm.localization,
        }
        if odm.task_contrasting is not None:
            losses["task_contrasting"] = odm.task_contrasting
        return losses

    def _module_loss(
        self,
        predictions: "Predictions",
        anchors: Tensor,
        promising: Tensor | None,
        targets: list[dict[str, Tensor]],
        criterion: Criterion,
    ) -> tuple[HarmonicTerms, Tensor]:
        """Sums over the positives and the hardest negatives, by the number of positives: three scalars; and
        that number.

        All anchors are computed and those without a part masked, so that a GPU need not be asked how many
        there are.
        """
        labels, boxes = self.match(anchors, targets)
        positive, negative = labels > 0, labels == 0
        if promising is not None:
            positive, negative = positive & promising, negative & promising
        chosen = positive.flatten()
        anchors, boxes = anchors.reshape(-1, 4), boxes.reshape(-1, 4)
        offsets = predictions.offsets.reshape(-1, 4)
        target_offsets = self.box_coder.encode_single(boxes, anchors)
        classified = softmax_classification(predictions.logits.flatten(0, 1), labels.flatten())
        terms = criterion(
            classified,
            smooth_l1(offsets, torch.where(chosen[:, None], target_offsets, 0)),
            self.box_coder.decode_single(offsets, anchors),
            boxes,
        )
        hard = hardest_negatives(classified.loss.view_as(positive), positive, negative).flatten()
        count = chosen.sum()

        def mean(values: Tensor, others: Tensor | float = 0.0) -> Tensor:
            return torch.where(chosen, values, others).sum() / count.clamp(min=1)

        means = HarmonicTerms(
            mean(terms.classification, torch.where(hard, classified.loss, 0)),
            mean(terms.localization),
            None if terms.task_contrasting is None else mean(terms.task_contrasting),
        )
        return means, count

    def match(self, anchors: Tensor, targets: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
        """
        Args:
            anchors: (B, A, 4) xyxy.

        Returns:
            labels (B, A), 0 for background, and boxes (B, A, 4) of the matched objects; without an object,
            the anchor itself.
        """
        labels, boxes = [], []
        for own, target in zip(anchors, targets, strict=True):
            if len(target["boxes"]) == 0:
                labels.append(torch.zeros(len(own), dtype=torch.int64, device=own.device))
                boxes.append(own)
                continue
            matched = self.matcher(box_iou(target["boxes"], own))
            found, rows = matched >= 0, matched.clamp(min=0)
            labels.append(torch.where(found, target["labels"][rows], 0))
            boxes.append(torch.where(found[:, None], target["boxes"][rows], own))
        return torch.stack(labels), torch.stack(boxes)

    def detect(
        self,
        second: "Predictions",
        refined: Tensor,
        background: Tensor,
        image_shapes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """What is left of the promising anchors after non-maximum suppression per class, best first.

        Scores do not fall to 0 at once where an anchor is dropped, but over the last half percent of its
        probability of background (B, A): else rounding would decide whether something is found at all.
        """
        promise = ((HOPELESS - background) / FADE).clamp(0, 1)
        scores = second.logits.softmax(dim=-1)[..., 1:] * promise[..., None]  # (B, A, K)
        return [
            self._suppress(own, clip_boxes_to_image(boxes, shape))
            for own, boxes, shape in zip(
                scores, self._decode(second.offsets, refined), image_shapes, strict=True
            )
        ]

    def _suppress(self, scores: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """From scores (A, K) and boxes (A, 4)."""
        anchors, classes = scores.shape
        best, rows = scores.topk(min(CANDIDATES, anchors), dim=0)  # (400, K)
        labels = torch.arange(1, classes + 1, device=scores.device).expand_as(rows)
        passing = best.flatten() > self.score_thresh
        best, rows, labels = best.flatten()[passing], rows.flatten()[passing], labels.flatten()[passing]
        kept = batched_nms(boxes[rows], best, labels, self.nms_thresh)[: self.detections_per_img]
        return {"boxes": boxes[rows][kept], "scores": best[kept], "labels": labels[kept]}

    def _decode(self, offsets: Tensor, anchors: Tensor) -> Tensor:
        """(B, A, 4) each."""
        decoded: Tensor = self.box_coder.decode_single(offsets.reshape(-1, 4), anchors.reshape(-1, 4))
        return decoded.reshape(offsets.shape)


@dataclass(frozen=True)
class Predictions:
    """What a head says about the anchors of all maps, finest map first."""

    logits: Tensor  # (B, A, K), background first
    offsets: Tensor  # (B, A, 4)

    @classmethod
    def of(cls, head_outputs: dict[str, Tensor]) -> "Predictions":
        return cls(head_outputs["cls_logits"], head_outputs["bbox_regression"])


def make_anchors(image_size: int) -> Tensor:
    """All anchors (A, 4) of a square image, xyxy in pixels: by map, row, column, aspect ratio."""
    found = []
    for stride in STRIDES:
        centers = (torch.arange(image_size // stride) + 0.5) * stride
        y, x = torch.meshgrid(centers, centers, indexing="ij")
        ratios = torch.tensor(ASPECT_RATIOS).sqrt()
        half = 0.5 * SCALE * stride * torch.stack((ratios, 1 / ratios), dim=1)  # (3, 2)
        center = torch.stack((x, y), dim=-1)[:, :, None]  # (h, w, 1, 2)
        found.append(torch.cat((center - half, center + half), dim=-1).reshape(-1, 4))
    return torch.cat(found)


def hardest_negatives(loss: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Of each image's negatives those with the largest loss, three per positive: (B, A) bool, as the
    arguments are."""
    order = loss.detach().masked_fill(~negative, -math.inf).argsort(dim=1, descending=True, stable=True)
    wanted = NEGATIVES_PER_POSITIVE * positive.sum(dim=1, keepdim=True)
    return negative & (order.argsort(dim=1) < wanted)


def plain_terms(
    classification: Classification, offsets_loss: Tensor, boxes: Tensor, target_boxes: Tensor
) -> HarmonicTerms:
    """The baseline's criterion: cross entropy and smooth L1 as they are."""
    return HarmonicTerms(classification.loss, offsets_loss, None)
