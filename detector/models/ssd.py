"""SSD300 with a VGG16 backbone, SSDlite with MobileNetV3-Large: torchvision's networks, with either loss."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models.detection._utils import retrieve_out_channels
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD, _vgg_extractor
from torchvision.models.detection.ssdlite import SSDLiteHead, _mobilenet_extractor, _normal_init
from torchvision.models.mobilenetv3 import MobileNetV3, mobilenet_v3_large
from torchvision.models.vgg import VGG, cfgs, make_layers

from detector.config import InitialWeights
from detector.input_sizes import SSD300_SIZE
from detector.losses.baseline import smooth_l1, softmax_classification
from detector.losses.harmonic import HarmonicCriterion
from detector.models.box_coder import ResidentBoxCoder
from detector.models.detector import NormalizeAndBatch, keep_full_precision_between
from detector.models.normalisers import count_positives, divided_by
from detector.models.positives import Positives, labels_of_anchors

BATCH_NORM_EPS = 1e-3  # of SSDlite
# The VGG16 that torchvision's SSD starts from was made for bytes less their mean.
VGG_MEAN = [0.48235, 0.45882, 0.40784]
VGG_STD = [1 / 255] * 3


def build_ssdlite(
    image_size: int,
    num_classes: int,
    initial_weights: InitialWeights,
    criterion: HarmonicCriterion | None,
    *,
    reduced_tail: bool,
) -> nn.Module:
    """torchvision's `ssdlite320_mobilenet_v3_large` for squares of `image_size` pixels, with random weights.

    Args:
        image_size: side in pixels.
        num_classes: without background.
        initial_weights: what will be loaded; decides the momentum of batch norms.
        criterion: the harmonic loss; None for torchvision's own.
        reduced_tail: see `build_classifier`.
    """
    norm_layer = partial(_BatchNorm2d, eps=BATCH_NORM_EPS, momentum=_momentum(initial_weights))
    backbone = build_backbone(build_classifier(norm_layer, reduced_tail=reduced_tail), norm_layer)
    anchors = DefaultBoxGenerator([[2, 3] for _ in range(6)], min_ratio=0.2, max_ratio=0.95)
    channels = retrieve_out_channels(backbone, (image_size, image_size))
    options: dict[str, Any] = {
        "head": SSDLiteHead(channels, anchors.num_anchors_per_location(), num_classes + 1, norm_layer),
        "score_thresh": 0.001,
        "nms_thresh": 0.55,
        "detections_per_img": 300,
        "topk_candidates": 300,
    }
    network: SSD
    size = (image_size, image_size)
    if criterion is None:
        network = CountingSSD(backbone, anchors, size, num_classes + 1, **options)
    else:
        network = HarmonicSSD(backbone, anchors, size, num_classes + 1, **options, criterion=criterion)
    # These networks were made for pixels of -1 to 1.
    network.transform = NormalizeAndBatch([0.5] * 3, [0.5] * 3, size_divisible=1)
    keep_full_precision_between(network.backbone, network.head)
    return network  # type: ignore[no-any-return]  # torchvision has no types


def build_ssd300(
    num_classes: int, trainable_backbone_layers: int, criterion: HarmonicCriterion | None
) -> nn.Module:
    """torchvision's `ssd300_vgg16`, with random weights.

    Args:
        num_classes: without background.
        trainable_backbone_layers: 0..5 stages of the backbone that learn, counted from its end.
        criterion: the harmonic loss; None for torchvision's own.
    """
    backbone: nn.Module = _vgg_extractor(build_vgg(), False, trainable_backbone_layers)
    # The scales of SSD's paper for COCO, as shares of the image's side.
    anchors = DefaultBoxGenerator(
        [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05],
        steps=[8, 16, 32, 64, 100, 300],
    )
    network: SSD
    size = (SSD300_SIZE, SSD300_SIZE)
    if criterion is None:
        network = CountingSSD(backbone, anchors, size, num_classes + 1)
    else:
        network = HarmonicSSD(backbone, anchors, size, num_classes + 1, criterion=criterion)
    network.transform = NormalizeAndBatch(VGG_MEAN, VGG_STD, size_divisible=1)
    keep_full_precision_between(network.backbone, network.head)
    return network  # type: ignore[no-any-return]  # torchvision has no types


def build_vgg() -> VGG:
    """VGG16 with random weights as torchvision draws them. Its fully connected layers, 120 million numbers
    that no detector uses, take neither memory nor time."""
    features = make_layers(cfgs["D"], batch_norm=False)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
    with torch.device("meta"):
        return VGG(features, init_weights=False)


def name_of_vgg(name: str) -> str:
    """What `ssd300_vgg16` calls a tensor that VGG16 calls `name`: from its fourth pooling on, where the first
    feature map is taken, layers are counted anew."""
    _, layer, kind = name.split(".")
    first = 23
    if int(layer) < first:
        return f"backbone.features.{layer}.{kind}"
    return f"backbone.extra.0.{int(layer) - first}.{kind}"


class CountingSSD(SSD):  # type: ignore[misc]  # torchvision has no types
    """torchvision's SSD, whose losses say what they are divided by: the number of positives in the batch."""

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        divided_by(count_positives(matched_idxs), "classification", "localization", "task_contrasting")
        losses: dict[str, Tensor] = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        return losses


class HarmonicSSD(SSD):  # type: ignore[misc]  # torchvision has no types
    """SSD whose positive anchors are trained with the harmonic loss. All else is as in torchvision: matching,
    hard-negative mining (by plain cross entropy), the negatives' loss, and the normaliser (number of
    positives). But nothing is counted on the way, so that a GPU need not be waited for."""

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
            targets: per image, labels 1-based.
            head_outputs: `cls_logits` (B, A, K) with background first, `bbox_regression` (B, A, 4).
            anchors: per image (A, 4) xyxy in pixels.
            matched_idxs: per image (A,), the row of the matched object, negative for none.
        """
        divided_by(count_positives(matched_idxs), "classification", "localization", "task_contrasting")
        positives = Positives.of(matched_idxs)
        own_anchors = positives.of_anchors(anchors)
        boxes = positives.boxes(targets, own_anchors)
        offsets = positives.of_anchors(head_outputs["bbox_regression"])
        logits = head_outputs["cls_logits"]
        classified = softmax_classification(positives.of_anchors(logits), positives.labels(targets))
        coder = ResidentBoxCoder(self.box_coder.weights)
        terms = self.criterion(
            classified,
            smooth_l1(offsets, coder.encode_single(boxes, own_anchors)),
            coder.decode_single(offsets, own_anchors),
            boxes,
        )
        count = positives.count()
        plain = self._plain_classification(logits, labels_of_anchors(matched_idxs, targets, otherwise=0))
        # The sum over positives and mined negatives already holds CE once.
        extra = positives.sum(terms.classification - classified.loss)
        losses = {
            "classification": (plain + extra) / count,
            "bbox_regression": positives.sum(terms.localization) / count,
        }
        if terms.task_contrasting is not None:
            losses["task_contrasting"] = positives.sum(terms.task_contrasting) / count
        return losses

    def _plain_classification(self, logits: Tensor, labels: Tensor) -> Tensor:
        """torchvision's sum of the cross entropies of all positives and the hardest negatives.

        Args:
            logits: (B, A, K), background first.
            labels: (B, A), 0 for background.
        """
        loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
        positive = labels > 0
        wanted = self.neg_to_pos_ratio * positive.sum(1, keepdim=True)
        order = loss.detach().masked_fill(positive, -math.inf).sort(1, descending=True).indices
        hard = order.sort(1).indices < wanted
        return torch.where(positive, loss, 0).sum() + torch.where(hard, loss, 0).sum()


def build_classifier(norm_layer: Any, *, reduced_tail: bool) -> MobileNetV3:
    """MobileNetV3-Large with random weights. torchvision trained its COCO detector on a tail of half the
    width, and its ImageNet classifier on the full one."""
    classifier = mobilenet_v3_large(weights=None, norm_layer=norm_layer, reduced_tail=reduced_tail)
    if reduced_tail:
        _normal_init(classifier)
    return classifier


def build_backbone(classifier: MobileNetV3, norm_layer: Any) -> nn.Module:
    """The classifier's features with SSDlite's extra blocks: 6 maps, all of them trained."""
    backbone: nn.Module = _mobilenet_extractor(classifier, 6, norm_layer)
    return backbone


def _momentum(initial_weights: InitialWeights) -> float:
    """torchvision's 0.03 suits long trainings and tuned statistics; from random weights they would lag behind
    a short training, so the usual 0.1."""
    return 0.1 if initial_weights == "random" else 0.03


class _BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that uses its running statistics where a batch has one value per channel. SSDlite's last map
    is 1x1, so a batch of one image (the last of an epoch, say) has no variance there, and torch would raise
    an error."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        if self.training and input.shape[0] * input.shape[2] * input.shape[3] == 1:
            return nn.functional.batch_norm(
                input,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                training=False,
                eps=self.eps,
            )
        return super().forward(input)
