"""FCOS with a feature pyramid: torchvision's network, with either loss."""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.ops import sigmoid_focal_loss
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from detector.config import Backbone, InitialWeights
from detector.losses.baseline import one_hot_or_nothing, sigmoid_classification, smooth_l1
from detector.losses.harmonic import HarmonicCriterion
from detector.models.backbones import CHANNELS, build_classifier, build_pyramid, norm_layer
from detector.models.detector import NormalizeAndBatch, keep_full_precision_between
from detector.models.normalisers import count_positives, divided_by
from detector.models.positives import Positives, labels_of_anchors


def build_fcos(
    num_classes: int,
    backbone: Backbone,
    initial_weights: InitialWeights,
    trainable_backbone_layers: int | None,
    criterion: HarmonicCriterion | None,
) -> nn.Module:
    """torchvision's `fcos_resnet50_fpn`, over any backbone, with random weights.

    Args:
        num_classes: there is no background among them.
        initial_weights: what will be loaded; decides whether batch norms are frozen.
        trainable_backbone_layers: stages of the backbone that learn, counted from its end; None for all.
        criterion: the harmonic loss; None for torchvision's own (focal loss, generalised IoU loss and the
            cross entropy of the centre-ness).
    """
    pyramid = build_pyramid(
        build_classifier(backbone, norm_layer(initial_weights)),
        trainable_backbone_layers,
        finest_stride=8,
        extra_blocks=LastLevelP6P7(CHANNELS, CHANNELS),
    )
    head: FCOSHead
    if criterion is None:
        head = CountingFCOSHead(CHANNELS, 1, num_classes)
    else:
        head = HarmonicFCOSHead(CHANNELS, 1, num_classes, criterion=criterion)
    network = FCOS(pyramid, num_classes, head=head)
    network.transform = NormalizeAndBatch(
        network.transform.image_mean, network.transform.image_std, network.transform.size_divisible
    )
    keep_full_precision_between(network.backbone, network.head)
    return network  # type: ignore[no-any-return]  # torchvision has no types


class CountingFCOSHead(FCOSHead):  # type: ignore[misc]  # torchvision has no types
    """torchvision's head, whose losses say what they are divided by: the number of positives in the batch."""

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        say_divisor(matched_idxs)
        losses: dict[str, Tensor] = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        return losses


class HarmonicFCOSHead(FCOSHead):  # type: ignore[misc]  # torchvision has no types
    """FCOS's head whose positive locations are trained with the harmonic loss. All else is as in torchvision:
    assignment, the negatives' focal loss, the centre-ness and its loss, and the normaliser (number of
    positives in the batch).

    CE is the focal loss of the location, summed over all classes; p the sigmoid score of its class, without
    the centre-ness. FCOS regresses the distances to the four sides in units of the location's stride, and
    its own box loss sees them only through the generalised IoU. L is what the paper's formula says of any
    detector's offsets: smooth L1 (beta 1) of these four distances plus alpha * HIoU, in place of the
    generalised IoU loss.
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
            head_outputs: `cls_logits` (B, A, K), `bbox_regression` (B, A, 4), `bbox_ctrness` (B, A, 1).
            anchors: per image (A, 4) xyxy in pixels, squares of a stride around the locations.
            matched_idxs: per image (A,), the row of the matched object, negative for none.
        """
        say_divisor(matched_idxs)
        positives = Positives.of(matched_idxs)
        own_anchors = positives.of_anchors(anchors)
        boxes = positives.boxes(targets, own_anchors)
        distances = positives.of_anchors(head_outputs["bbox_regression"])
        goals = self.box_coder.encode(own_anchors, boxes)
        logits = head_outputs["cls_logits"]
        classified = sigmoid_classification(positives.of_anchors(logits), positives.labels(targets))
        terms = self.criterion(
            classified, smooth_l1(distances, goals), self.box_coder.decode(distances, own_anchors), boxes
        )
        centerness = positives.of_anchors(head_outputs["bbox_ctrness"]).squeeze(1)
        labels = labels_of_anchors(matched_idxs, targets, otherwise=-1).flatten()
        plain = sigmoid_focal_loss(
            logits.flatten(0, 1), one_hot_or_nothing(labels, logits.shape[2], logits.dtype), reduction="sum"
        )
        # This sum over all locations already holds CE once.
        extra = positives.sum(terms.classification - classified.loss)
        count = positives.count()
        losses = {
            "classification": (plain + extra) / count,
            "bbox_regression": positives.sum(terms.localization) / count,
            "bbox_ctrness": positives.sum(_centerness_loss(centerness, goals)) / count,
        }
        if terms.task_contrasting is not None:
            losses["task_contrasting"] = positives.sum(terms.task_contrasting) / count
        return losses


def say_divisor(matched_idxs: list[Tensor]) -> None:
    """FCOS's losses are divided by the positives of the batch."""
    names = ("classification", "localization", "centerness", "task_contrasting")
    divided_by(count_positives(matched_idxs), *names)


def _centerness_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """(P,): the cross entropy of the centre-ness (P,) with that of a location from which the sides of its box
    are these distances (P, 4) away: 1 in the middle, 0 at a side."""
    across, down = distances[:, 0::2], distances[:, 1::2]
    goal = (across.amin(1) / across.amax(1) * (down.amin(1) / down.amax(1))).sqrt()
    return binary_cross_entropy_with_logits(logits, goal, reduction="none")
