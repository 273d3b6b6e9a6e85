"""The harmonic loss: a function per formula.

K. Wang, L. Zhang: "Reconcile Prediction Consistency for Balanced Object Detection", ICCV 2021,
arXiv 2108.10809.

For a positive sample with classification loss CE and localisation loss L:

    HIoU = (1 + IoU)^gamma * (1 - IoU)                  harmonic IoU loss
    L    = sum of SmoothL1(offsets) + alpha * HIoU      localisation loss
    H    = (1 + exp(-L)) * CE + (1 + exp(-CE)) * L      harmonic loss
    TC   = max(0, |p - IoU| - m) / (1 + exp(entropy))   task-contrasting loss

All functions take and give one value per sample, in float32 or float64 (half precision is computed in
float32). An empty batch gives empty tensors, whose sum is a zero that still carries gradient.

Each part can be switched off or replaced (`HarmonicCriterion`), so that the paper's ablation can be run row
by row: without factors and task-contrasting loss, alpha = 0 leaves CE and SmoothL1 as they are.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from detector.config import IoULoss
from detector.losses.baseline import Classification, in_full_precision
from detector.losses.iou import ciou_loss, diou_loss, giou_loss, paired_box_iou


def harmonic_iou_loss(boxes: Tensor, target_boxes: Tensor, gamma: float = 0.8) -> Tensor:
    """Harmonic IoU loss, `(1 + IoU)^gamma * (1 - IoU)`: 1 without overlap, 0 for equal boxes.

    Args:
        boxes, target_boxes: (N, 4) xyxy, paired by row.
        gamma: 0 (the plain IoU loss) to 1. Above 1 the loss would rise with the IoU of poorly placed boxes.

    Returns:
        (N,)

    Raises:
        ValueError: gamma outside 0..1.
    """
    return _harmonic_iou(paired_box_iou(boxes, target_boxes), gamma)


def harmonic_loss(
    classification: Tensor, localization: Tensor, detach_factors: bool = False
) -> tuple[Tensor, Tensor]:
    """The two terms of the harmonic loss: `(1 + exp(-L)) * CE` and `(1 + exp(-CE)) * L`.

    Each task weights the other: a sample that is well placed must also be well classified, and the reverse.

    Args:
        classification: CE, (N,), not negative.
        localization: L, (N,), not negative.
        detach_factors: whether the factors exp(-L) and exp(-CE) are constants for the gradient. By default
            they are not, as the formula reads. Then dH/dCE = 1 + exp(-L) - L * exp(-CE), which is negative
            for a confident but badly placed sample: the loss lowers the score of such a box.

    Returns:
        weighted classification (N,), weighted localisation (N,)
    """
    classification, localization = in_full_precision(classification), in_full_precision(localization)
    by_localization, by_classification = (-localization).exp(), (-classification).exp()
    if detach_factors:
        by_localization, by_classification = by_localization.detach(), by_classification.detach()
    return (1 + by_localization) * classification, (1 + by_classification) * localization


def task_contrasting_loss(
    true_class_probability: Tensor, iou: Tensor, entropy: Tensor, margin: float = 0.2
) -> Tensor:
    """What score and IoU differ by beyond the margin; uncertain samples count less.

    Args:
        true_class_probability: (N,) 0..1.
        iou: (N,) of the predicted box with its target, 0..1.
        entropy: (N,) of the predicted class distribution, in nats.
        margin: difference that costs nothing.

    Returns:
        (N,)
    """
    difference = (in_full_precision(true_class_probability) - in_full_precision(iou)).abs()
    return (difference - margin).clamp(min=0) / (1 + in_full_precision(entropy).exp())


class HarmonicTerms(NamedTuple):
    """The losses of positive samples, each (N,)."""

    classification: Tensor  # (1 + exp(-L)) * CE
    localization: Tensor  # (1 + exp(-CE)) * L
    task_contrasting: Tensor | None  # None where it is switched off


@dataclass(frozen=True)
class HarmonicCriterion:
    """The whole loss of positive samples, with its options; what every detector family calls.

    `harmonic_factors` off takes beta_r = beta_c = 0, so that H = CE + L. With `detach_iou` the
    task-contrasting loss moves scores only: where p is below IoU, as it is early in a training, its gradient
    would otherwise also lower the IoU. `iou_loss` is what `alpha` weights: `hiou` is the paper's, `iou` its
    ablation, the others are those of arXiv 1902.09630 and 1911.08287.
    """

    alpha: float = 1.5
    gamma: float = 0.8
    task_contrasting: bool = True
    margin: float = 0.2
    detach_factors: bool = False
    detach_iou: bool = False
    harmonic_factors: bool = True
    iou_loss: IoULoss = "hiou"

    def __call__(
        self, classification: Classification, offsets_loss: Tensor, boxes: Tensor, target_boxes: Tensor
    ) -> HarmonicTerms:
        """
        Args:
            classification: of N positive samples.
            offsets_loss: (N,) smooth L1 loss summed over the 4 offsets.
            boxes, target_boxes: (N, 4) xyxy in pixels, predicted and true.
        """
        iou = paired_box_iou(boxes, target_boxes)
        localization = offsets_loss + self.alpha * self._iou_loss(iou, boxes, target_boxes)
        terms = (classification.loss, localization)
        if self.harmonic_factors:
            terms = harmonic_loss(classification.loss, localization, self.detach_factors)
        contrast = None
        if self.task_contrasting:
            contrast = task_contrasting_loss(
                classification.probability,
                iou.detach() if self.detach_iou else iou,
                classification.entropy,
                self.margin,
            )
        return HarmonicTerms(*terms, contrast)

    def _iou_loss(self, iou: Tensor, boxes: Tensor, target_boxes: Tensor) -> Tensor:
        if self.iou_loss == "hiou":
            return _harmonic_iou(iou, self.gamma)
        if self.iou_loss == "iou":
            return 1 - iou
        return _OTHER_IOU_LOSSES[self.iou_loss](boxes, target_boxes)


_OTHER_IOU_LOSSES = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}


def _harmonic_iou(iou: Tensor, gamma: float) -> Tensor:
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must be from 0 to 1, not {gamma}: above 1 the loss is not monotone in IoU")
    return (1 + iou) ** gamma * (1 - iou)
