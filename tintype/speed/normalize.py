"""Group normalisation and SiLU at once by the kernel in ``normalize.c``, forwards and backwards, for training in bf16.

oneDNN's convolutions and their gradients are a tenth faster over channels-last maps, 1x1 ones twice as fast; torch's
group normalisation is ten times as slow over them. With the kernel a training step keeps its maps channels-last, and
writes nothing between normalisation and SiLU (docs/decisions/0022-kernels-for-training.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tintype.models.autoencoder import Decoder, Encoder
from tintype.models.layers import GroupNorm
from tintype.models.unet import UNet
from tintype.speed import kernels
from tintype.speed.held import become


class _Normalized(torch.autograd.Function):
    """(b c h w), channels-last bf16, and the norm's fp32 weight and bias -> the same map, normalised."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
        out, statistics = torch.empty_like(x), torch.empty(2, *x.shape[:2])
        ctx.how = (groups, eps, silu)
        _run(x, None, out, (weight, bias, *statistics), None, *ctx.how)
        ctx.save_for_backward(x, weight, bias, *statistics)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *others = ctx.saved_tensors
        out, sums = torch.empty_like(x), torch.empty(x.shape[0], 2, x.shape[1])
        _run(x, gradient.contiguous(memory_format=torch.channels_last), out, others, sums, *ctx.how)
        of_bias, of_weight = sums.sum(0)
        return out, of_weight, of_bias, None, None, None


def _run(x: Tensor, gradient: Tensor | None, out: Tensor, others: Any, sums: Tensor | None, *how: Any) -> None:
    batch, channels, height, width = x.shape
    groups, eps, silu = how
    threads = torch.get_num_threads()
    few = batch < threads  # pictures; then each is shared out by its channels
    part = math.lcm(channels // groups, kernels.LANES) if few else channels
    places = map(kernels.place, (x, gradient, out, *others, sums))
    sizes = (batch, height * width, channels, groups, part)
    if kernels.library().tintype_normalize(*places, *sizes, eps, silu, threads):
        raise MemoryError(f"Normalising {channels} channels: no memory for their sums.")


class GroupNormAtOnce(GroupNorm):
    """Where the kernel can; elsewhere plain."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return self._normalized(input, silu=False) if self._fits(input) else GroupNorm.forward(self, input)

    def then_silu(self, x: Tensor) -> Tensor:  # noqa: D102
        alone = not (self._forward_hooks or self._forward_pre_hooks)  # nobody wants to see what comes between
        return self._normalized(x, silu=True) if alone and self._fits(x) else GroupNorm.then_silu(self, x)

    def _normalized(self, x: Tensor, *, silu: bool) -> Tensor:
        return _Normalized.apply(x, self.weight.float(), self.bias.float(), self.num_groups, self.eps, silu)  # pyright: ignore[reportReturnType]

    def _fits(self, x: Tensor) -> bool:
        """Whether the kernel is for this. It reads memory as it lies, so everything that it relies on is asked here."""
        return (
            kernels.can_read(x)
            and x.device == self.weight.device
            and x.ndim == 4
            and x.shape[1] == self.num_channels
            and x.is_contiguous(memory_format=torch.channels_last)
            and _has_lanes(self)
        )


def _has_lanes(norm: nn.GroupNorm) -> bool:
    return norm.affine and norm.num_channels % math.lcm(norm.num_channels // norm.num_groups, kernels.LANES) == 0


@contextmanager
def normalizing_at_once(network: nn.Module) -> Iterator[None]:
    """Within the block, for training in bf16: maps of features are channels-last, and the kernel normalises them.

    Weights lie as ever and are laid out at every call, which is for maps that are large beside them (`_Entrance`).
    Nothing changes where they are small, where the kernel cannot run or is not for the widths of this network.
    """
    norms = [module for module in network.modules() if isinstance(module, GroupNorm)]
    if not norms or kernels.unavailable() is not None or not all(map(_has_lanes, norms)):
        yield
        return
    networks = [module for module in network.modules() if isinstance(module, (UNet, Encoder, Decoder))]
    handles = [module.conv_in.register_forward_pre_hook(_Entrance(module)) for module in networks]
    become(network, {GroupNorm: GroupNormAtOnce})
    try:
        yield
    finally:
        become(network, {GroupNormAtOnce: GroupNorm})
        for handle in handles:
            handle.remove()


class _Entrance:
    """Lays a network's input channels-last, which all layers keep, if its maps are as large as its weights."""

    def __init__(self, network: nn.Module) -> None:
        weights = (m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d))
        self.enough = max(weights) / 8  # numbers in the first map; two pictures of 512x512 in Stable Diffusion 1.5

    def __call__(self, conv: nn.Conv2d, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (x,) = inputs
        large = x.shape[0] * x.shape[2] * x.shape[3] * conv.out_channels >= self.enough
        return (x.contiguous(memory_format=torch.channels_last) if large else x,)
