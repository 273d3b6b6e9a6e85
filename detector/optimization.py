"""The optimiser: which parameters it moves, and which of them decay."""

import torch
from torch import nn

from detector.config import SGD, Optimizer


def build_optimizer(model: nn.Module, config: Optimizer) -> torch.optim.Optimizer:
    """SGD or AdamW over the parameters that learn; biases and norms do not decay."""
    groups = [
        {"params": decaying, "weight_decay": config.weight_decay}
        if decays
        else {"params": decaying, "weight_decay": 0.0}
        for decays, decaying in _by_decay(model).items()
        if decaying
    ]
    if isinstance(config, SGD):
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The rate of the next step, for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def _by_decay(model: nn.Module) -> dict[bool, list[nn.Parameter]]:
    """A vector is a bias or a norm's scale; weights of convolutions and matrices have more dimensions."""
    learning = [p for p in model.parameters() if p.requires_grad]
    return {True: [p for p in learning if p.ndim > 1], False: [p for p in learning if p.ndim <= 1]}
