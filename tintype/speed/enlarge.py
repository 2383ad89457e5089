"""Enlarging and smoothing at once, with four ninths of the arithmetic.

Where pixels are repeated and then smoothed by a convolution of 3x3, the nine taps over a pixel of the result fall on
four small pixels: several read the same one. Their weights, added up once, are a transposed convolution of 4x4 with
stride 2 over the small map, and the large map between is never made (Shi et al. 2016, "Is the deconvolution layer the
same as a convolutional layer?", arXiv 1609.07009). The result is the same sum, added up in another order.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tintype.models.layers import Upsample
from tintype.speed.held import become
from tintype.speed.prepack import Packed


def _shares() -> Tensor:
    """(9 16): which taps of 3x3 are added up to each of 4x4; turned round, as transposed convolutions want it."""
    shares = torch.zeros(3, 3, 4, 4)
    for row, column, below, right in product(range(3), range(3), range(2), range(2)):
        shares[row, column, 3 - row - below, 3 - column - right] = 1
    return shares.reshape(9, 16)


SHARES = _shares()


def joined(weight: Tensor) -> Tensor:
    """The weights of a convolution of 3x3 (o i 3 3) -> those of the transposed one (i o 4 4). Added up in fp32."""
    with torch.autocast(weight.device.type, enabled=False):
        sums = weight.flatten(2).float() @ SHARES.to(weight.device)  # (o i 16)
    return sums.unflatten(2, (4, 4)).transpose(0, 1).to(weight.dtype)


class JoinedConv2d(Packed, nn.Conv2d):
    """The convolution of an `Upsample`. The joined weights lie beside its own, which are held untouched."""

    plain = nn.Conv2d
    own = (*Packed.own, "packed")
    packed: Tensor

    def restored(self) -> Tensor:  # noqa: D102
        assert self.held is not None
        return self.held

    def lay_out(self, weight: Tensor, size: torch.Size) -> Tensor:  # noqa: D102
        self.packed = torch.ops.mkldnn._reorder_convolution_transpose_weight(
            joined(weight).contiguous(), (1, 1), (0, 0), (2, 2), (1, 1), 1, size
        )
        return weight  # what is held: sums cannot be taken apart again

    def enlarged(self, x: Tensor) -> Tensor | None:
        """(b c h w) -> (b c 2h 2w), channels-last; None where packed weights cannot be used on ``x``."""
        if self.ready(x) is None:
            return None
        return torch.ops.mkldnn._convolution_transpose_pointwise(
            x, self.packed, self.bias, (1, 1), (0, 0), (2, 2), (1, 1), 1, "none", [], ""
        )

    def forward(self, input: Tensor) -> Tensor:
        """Over a map that was enlarged by somebody else."""
        if torch.is_grad_enabled():
            return nn.Conv2d.forward(self, input)  # pyright: ignore[reportArgumentType]
        return self._conv_forward(input, self.dense(), self.bias)


class UpsampleAtOnce(Upsample):
    """Where sides are doubled exactly, on a CPU, and nobody has put anything upon the convolution; elsewhere plain."""

    def forward(self, x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:  # noqa: D102
        conv = self.conv
        if tuple(size) != (2 * x.shape[2], 2 * x.shape[3]) or x.device.type != "cpu" or _is_touched(conv):
            return Upsample.forward(self, x, size)
        out = conv.enlarged(x) if isinstance(conv, JoinedConv2d) else None
        return _enlarged(x, conv) if out is None else out


def _enlarged(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """With weights joined at this call. The bias is added after: its gradient in oneDNN takes longest."""
    out = F.conv_transpose2d(x, joined(conv.weight), stride=2, padding=1)
    return out if conv.bias is None else out.add_(conv.bias.to(out.dtype)[:, None, None])


def _is_touched(conv: nn.Conv2d) -> bool:
    return type(conv) not in (nn.Conv2d, JoinedConv2d) or bool(
        "forward" in vars(conv) or conv._forward_hooks or conv._forward_pre_hooks
    )


def enlarge_at_once(network: nn.Module, *, pack: bool) -> None:
    """Every `Upsample` of a network at once from now on; ``pack``: with joined weights that are laid out and kept."""
    become(network, {Upsample: UpsampleAtOnce})
    for module in network.modules():
        if isinstance(module, UpsampleAtOnce):
            weight = module.conv._parameters.get("weight")
            if pack and type(module.conv) is nn.Conv2d and weight is not None and weight.device.type == "cpu":
                vars(module.conv).update(held=None, size=None)
                module.conv.__class__ = JoinedConv2d


@cache
def has_kernel(dtype: torch.dtype) -> bool:
    """Whether this torch and this processor compute with joined weights that are laid out. Private operators: tried."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            plain, x = Upsample(16).to(dtype), torch.randn(1, 16, 5, 3).to(dtype)
            quick = copy.deepcopy(plain)
            enlarge_at_once(quick, pack=True)
            found, wanted = quick(x, (10, 6)), plain(x, (10, 6))
            return torch.allclose(found, wanted, rtol=0, atol=32 * torch.finfo(dtype).eps)
    except (AttributeError, RuntimeError, TypeError):  # not there, not on this processor, other arguments
        return False


def enlarge_first(network: nn.Module) -> None:
    """Every `Upsample` plain again. Packed weights are for `unpack`."""
    become(network, {UpsampleAtOnce: Upsample})


@contextmanager
def enlarging_at_once(network: nn.Module) -> Iterator[None]:
    """Within the block, for training: weights are joined anew at every call, and gradients reach the layer's own."""
    enlarge_at_once(network, pack=False)
    try:
        yield
    finally:
        enlarge_first(network)
