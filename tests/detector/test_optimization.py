import torch
from torch import nn

from detector.config import SGD, AdamW
from detector.optimization import build_optimizer, set_learning_rate

NETWORK = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def test_biases_and_norms_do_not_decay() -> None:
    for config in (SGD(weight_decay=0.1), AdamW(weight_decay=0.1)):
        decaying, free = build_optimizer(NETWORK, config).param_groups
        assert decaying["weight_decay"] == 0.1
        assert [p.ndim for p in decaying["params"]] == [4, 2]
        assert free["weight_decay"] == 0.0
        assert [p.ndim for p in free["params"]] == [1, 1, 1, 1]


def test_frozen_parameters_are_left_out() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    optimizer = build_optimizer(network, SGD())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


def test_the_learning_rate_is_set_for_all() -> None:
    optimizer = build_optimizer(NETWORK, SGD())
    set_learning_rate(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]


def test_a_step_moves_against_the_gradient() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    optimizer = build_optimizer(layer, SGD(lr=0.5, weight_decay=0.0))
    layer(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    assert layer.weight.item() == -0.5
