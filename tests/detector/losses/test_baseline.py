import math

import torch
import torch.nn.functional as F  # noqa: N812

from detector.losses.baseline import smooth_l1, softmax_classification


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


def test_smooth_l1_is_quadratic_below_beta_and_linear_above() -> None:
    offsets, zeros = torch.tensor([[0.5, -0.5, 2.0, 0.0]]), torch.zeros(1, 4)
    assert smooth_l1(offsets, zeros).item() == 0.125 + 0.125 + 1.5
    assert smooth_l1(offsets, zeros, beta=0.5).item() == 0.25 + 0.25 + 1.75
