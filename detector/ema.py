"""A moving average of the weights: what is evaluated and exported."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class WeightAverage(Generic[ModuleT]):
    """An exponential moving average of a model's weights with a warm start.

    The decay of update n is `min(decay, (1 + n) / (10 + n))`: at first it follows the model closely, so that
    the random start is soon forgotten. Buffers are not averaged: `take_buffers` copies them, and
    `batch_norm.measure` finds the statistics that fit the averaged weights.
    """

    def __init__(self, model: ModuleT, decay: float | None) -> None:
        """`decay` None is no average: the model's latest weights."""
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.updates = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, model: ModuleT) -> None:
        """Takes in the weights that `model` has after a step."""
        self.updates += 1
        decay = effective_decay(self._decay, self.updates)
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1.0 - decay)

    @torch.no_grad()
    def take_buffers(self, model: ModuleT) -> None:
        """The buffers become those of `model`; before an evaluation."""
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)


def effective_decay(decay: float | None, updates: int) -> float:
    """The decay of the update of this number, which counts from 1."""
    return 0.0 if decay is None else min(decay, (1 + updates) / (10 + updates))
