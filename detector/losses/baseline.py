"""The losses torchvision's detectors train with, per sample: what the harmonic loss weights.

A `baseline` training runs torchvision's own code, sums and normalisers included; these are its terms before
the sum.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss


class Classification(NamedTuple):
    """What a classifier says about samples whose class is known."""

    loss: Tensor  # (N,) the classification loss of each sample
    probability: Tensor  # (N,) of the true class, 0..1
    entropy: Tensor  # (N,) of the class distribution, in nats


def softmax_classification(logits: Tensor, labels: Tensor) -> Classification:
    """Cross entropy, true-class probability and entropy from one log-softmax.

    Args:
        logits: (N, K), background included where the detector has one.
        labels: (N,) int64, 0..K-1.

    All in float32 for half-precision logits. From log-probabilities, so that a class that underflows to
    probability 0 counts 0 in the entropy instead of NaN.
    """
    log_probabilities = F.log_softmax(in_full_precision(logits), dim=1)  # (N, K)
    loss = F.nll_loss(log_probabilities, labels, reduction="none")
    entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=1)
    return Classification(loss, (-loss).exp(), entropy)


def sigmoid_classification(logits: Tensor, labels: Tensor) -> Classification:
    """Focal loss, true-class probability and entropy where every class has a sigmoid of its own.

    The loss is the sample's whole one, summed over all classes (torchvision's focal loss: alpha 0.25,
    gamma 2); the probability is the sigmoid score of the true class; the entropy is the sum of those of the
    classes' Bernoulli distributions.

    Args:
        logits: (N, K).
        labels: (N,) int64, 0..K-1.
    """
    logits = in_full_precision(logits)
    target = one_hot_or_nothing(labels, logits.shape[1], logits.dtype)  # (N, K)
    loss: Tensor = sigmoid_focal_loss(logits, target).sum(dim=1)
    probability = logits.gather(1, labels[:, None]).squeeze(1).sigmoid()
    # The entropy is even in the logit; of the negative one, both terms are small and precise.
    unlikely = -logits.abs()
    entropy = (F.softplus(unlikely) - unlikely * unlikely.sigmoid()).sum(dim=1)
    return Classification(loss, probability, entropy)


def one_hot_or_nothing(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """(N, K): 1 at each label (N,), nothing where that is negative. torch's `one_hot` looks at the numbers
    first, for which a GPU must be waited for, and takes no negative ones."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).to(dtype)


def smooth_l1(offsets: Tensor, target_offsets: Tensor, beta: float = 1.0) -> Tensor:
    """Smooth L1 loss summed over the 4 offsets: quadratic below `beta`, linear above.

    Args:
        offsets, target_offsets: (N, 4) in the units of the detector's box coder.
        beta: 1 in SSD, 1/9 in Faster R-CNN.

    Returns:
        (N,)
    """
    offsets, target_offsets = in_full_precision(offsets), in_full_precision(target_offsets)
    return F.smooth_l1_loss(offsets, target_offsets, reduction="none", beta=beta).sum(dim=1)


def in_full_precision(tensor: Tensor) -> Tensor:
    """float32 for half precision, else the tensor itself: exp, log and IoU lose too much in 8 or 11 bits."""
    return tensor.float() if tensor.dtype.itemsize == 2 else tensor
