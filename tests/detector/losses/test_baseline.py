import math

import torch
import torch.nn.functional as F  # noqa: N812
from torchvision.ops import sigmoid_focal_loss

from detector.losses.baseline import sigmoid_classification, smooth_l1, softmax_classification


def test_classification_loss_is_torchs_cross_entropy() -> None:
    logits, labels = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)), torch.arange(7) % 4
    loss = softmax_classification(logits, labels).loss
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels, reduction="none"))


def test_probability_is_the_softmax_of_the_true_class() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.7]]))
    assert math.isclose(
        softmax_classification(logits, torch.tensor([2])).probability.item(), 0.7, rel_tol=1e-6
    )


def test_entropy_is_log_k_for_k_equal_classes_and_zero_for_a_certain_one() -> None:
    entropy = softmax_classification(
        torch.tensor([[3.0, 3, 3, 3], [900, 0, 0, 0]]), torch.tensor([0, 1])
    ).entropy
    torch.testing.assert_close(entropy, torch.tensor([math.log(4), 0.0]))


def test_a_probability_that_underflows_leaves_loss_and_gradient_finite() -> None:
    logits = torch.tensor([[1000.0, -1000.0]], requires_grad=True)
    classified = softmax_classification(logits, torch.tensor([1]))
    (gradient,) = torch.autograd.grad(torch.stack(classified).sum(), logits)
    assert classified.loss.item() == 2000
    assert gradient.isfinite().all()


def test_focal_loss_is_torchvisions_summed_over_all_classes() -> None:
    logits, labels = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)), torch.arange(7) % 4
    loss = sigmoid_classification(logits, labels).loss
    torch.testing.assert_close(loss, sigmoid_focal_loss(logits, torch.eye(4)[labels]).sum(dim=1))


def test_sigmoid_score_and_entropy_of_independent_classes() -> None:
    p = torch.tensor([[0.1, 0.7, 0.5]], dtype=torch.float64)
    classified = sigmoid_classification(torch.logit(p), torch.tensor([1]))
    torch.testing.assert_close(classified.probability, p[:, 1])
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).sum(dim=1)
    torch.testing.assert_close(classified.entropy, entropy)


def test_certain_sigmoids_have_no_entropy_and_a_finite_gradient() -> None:
    logits = torch.tensor([[1000.0, -1000.0, 0.0]], requires_grad=True)
    classified = sigmoid_classification(logits, torch.tensor([1]))
    (gradient,) = torch.autograd.grad(torch.stack(classified).sum(), logits)
    assert math.isclose(classified.entropy.item(), math.log(2), rel_tol=1e-6)
    assert math.isclose(classified.loss.item(), 1000 * 0.75 + 1000 * 0.25, rel_tol=1e-3)
    assert gradient.isfinite().all()


def test_sigmoid_classification_takes_no_samples_and_half_precision() -> None:
    nothing = sigmoid_classification(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert [value.shape for value in nothing] == [(0,)] * 3
    half = sigmoid_classification(torch.zeros(2, 3, dtype=torch.bfloat16), torch.tensor([0, 2]))
    assert {value.dtype for value in half} == {torch.float32}


def test_smooth_l1_is_quadratic_below_beta_and_linear_above() -> None:
    offsets, zeros = torch.tensor([[0.5, -0.5, 2.0, 0.0]]), torch.zeros(1, 4)
    assert smooth_l1(offsets, zeros).item() == 0.125 + 0.125 + 1.5
    assert smooth_l1(offsets, zeros, beta=0.5).item() == 0.25 + 0.25 + 1.75
