import pytest
import torch
from torch import nn

from detector.ema import WeightAverage, effective_decay


def test_the_decay_ramps_up_to_what_was_asked() -> None:
    assert effective_decay(0.998, 1) == pytest.approx(2 / 11)
    assert effective_decay(0.998, 90) == pytest.approx(91 / 100)
    assert effective_decay(0.998, 100_000) == 0.998


def test_the_average_is_the_closed_form() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    average = WeightAverage(model, 0.9)
    expected = 0.0
    for n in range(1, 50):
        nn.init.constant_(model.weight, float(n))
        average.update(model)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert average.model.weight.item() == pytest.approx(expected, rel=1e-5)


def test_of_a_constant_the_average_is_that_constant() -> None:
    model = nn.Linear(3, 2)
    average = WeightAverage(model, 0.99)
    for _ in range(5):
        average.update(model)
    torch.testing.assert_close(average.model.weight, model.weight)


def test_without_a_decay_the_average_is_the_latest_model() -> None:
    model = nn.Linear(3, 2)
    average = WeightAverage(model, None)
    nn.init.normal_(model.weight)
    average.update(model)
    assert torch.equal(average.model.weight, model.weight)


def test_the_average_is_a_copy_that_does_not_learn() -> None:
    model = nn.Linear(3, 2)
    average = WeightAverage(model, 0.9)
    nn.init.zeros_(model.weight)
    assert average.model.weight.abs().sum() > 0
    assert not average.model.weight.requires_grad


def test_buffers_are_the_models_latest() -> None:
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.9)
    model(torch.randn(8, 2))
    average.take_buffers(model)
    assert model.running_mean is not None
    assert average.model.running_mean is not None
    assert torch.equal(average.model.running_mean, model.running_mean)
