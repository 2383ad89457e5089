"""GEGLU and its gradients by the kernel in ``geglu.c``, for training in bf16: one pass each, where torch takes six.

Of the gradient's three maps only the layer's input is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tintype.models.attention import FeedForward
from tintype.speed import kernels
from tintype.speed.held import become


class _Gated(torch.autograd.Function):
    """(... 2*width) bf16 -> (... width)."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        return _run(both, None, both.new_empty(*both.shape[:-1], both.shape[-1] // 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        return _run(both, gradient.contiguous(), torch.empty_like(both))


def _run(both: Tensor, gradient: Tensor | None, out: Tensor) -> Tensor:
    width = both.shape[-1] // 2
    places = map(kernels.place, (both, gradient, out))
    kernels.library().tintype_geglu(*places, both.numel() // (2 * width), width, torch.get_num_threads())
    return out


class FeedForwardAtOnce(FeedForward):
    """Where the kernel can; elsewhere plain."""

    def gated(self, both: Tensor) -> Tensor:  # noqa: D102
        if kernels.can_read(both) and both.is_contiguous() and both.shape[-1] % (2 * kernels.LANES) == 0:
            return _Gated.apply(both)  # pyright: ignore[reportReturnType]
        return FeedForward.gated(self, both)


@contextmanager
def gating_at_once(network: nn.Module) -> Iterator[None]:
    """Within the block, for training in bf16: the kernel computes the gates, where it can run."""
    if kernels.unavailable() is None:
        become(network, {FeedForward: FeedForwardAtOnce})
    try:
        yield
    finally:
        become(network, {FeedForwardAtOnce: FeedForward})
