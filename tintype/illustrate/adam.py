"""Adam for the few steps that a page shows.

torch's own optimizers bring its compiler along when the first of them is made, which takes a second or two: as long as
all of the steps. Training (``tintype.training``) takes torch's.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Kingma and Ba 2014 (arXiv 1412.6980), algorithm 1, with the defaults of the paper; AdamW without decay."""

    def __init__(self, weights: Iterable[Tensor], rate: float) -> None:
        self.weights, self.rate, self.steps = list(weights), rate, 0
        self._first: list[Tensor] = []
        self._second: list[Tensor] = []

    @torch.no_grad()
    def step(self) -> None:
        """Move every weight that has a gradient, which each step's must have alike; then forget the gradients."""
        moved = [weight for weight in self.weights if weight.grad is not None]
        if not self.steps:
            self._first = [torch.zeros_like(weight) for weight in moved]
            self._second = [torch.zeros_like(weight) for weight in moved]
        self.steps += 1
        bias_1, bias_2 = 1 - BETA_1**self.steps, 1 - BETA_2**self.steps
        for weight, first, second in zip(moved, self._first, self._second, strict=True):
            gradient = weight.grad
            assert gradient is not None
            first.lerp_(gradient, 1 - BETA_1)
            second.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
            weight.addcdiv_(first, (second / bias_2).sqrt_().add_(EPSILON), value=-self.rate / bias_1)
            weight.grad = None
