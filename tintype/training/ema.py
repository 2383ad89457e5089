"""A running average of the weights, which draws better pictures than the weights themselves."""

from __future__ import annotations

import torch
from torch import nn


class EMA:
    """Exponential moving average: average <- decay * average + (1 - decay) * weights, after each step.

    Early on the decay is min(decay, (1 + steps) / (10 + steps)), so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        names, current = zip(*((name, p.detach()) for name, p in model.named_parameters()), strict=True)
        averages = [self.weights[name] for name in names]
        torch._foreach_lerp_(averages, current, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
