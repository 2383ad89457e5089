"""Layers whose weights stay as the file has them, in half precision, and are widened at each call.

A file that is mapped into memory takes none of a process's own, so a model of 7 GB that computes in fp32 takes little
more than its feature maps. Widening is exact: results are those of weights that were widened once, bit for bit. It
costs a pass over the weights at each call, and such layers cannot be packed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tintype.speed.held import Held

SMALLEST = 65_536
"""Weights that layers hold, in bytes as they are stored; smaller ones are widened once."""


class Lean(Held):
    """What lean layers share."""

    def restored(self) -> Tensor:  # noqa: D102
        assert self.held is not None
        return self.held.to(self.stub.dtype)

    @property
    def wide(self) -> Tensor:
        """The weights to compute with now. Where a gradient is wanted the layer becomes plain."""
        return self.weight if torch.is_grad_enabled() and self.stub.requires_grad else self.dense()


class LeanConv2d(Lean, nn.Conv2d):
    """A convolution."""

    plain = nn.Conv2d

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return self._conv_forward(input, self.wide, self.bias)


class LeanLinear(Lean, nn.Linear):
    """A linear layer."""

    plain = nn.Linear

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return F.linear(input, self.wide, self.bias)


KINDS: dict[type[nn.Module], type[Lean]] = {nn.Conv2d: LeanConv2d, nn.Linear: LeanLinear}


def can_stay(network: nn.Module, name: str, tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether a tensor of a state may stay as it is stored, where ``dtype`` is computed in."""
    layer, _, kind = name.rpartition(".")
    large = tensor.numel() * tensor.element_size() >= SMALLEST and tensor.element_size() < dtype.itemsize
    return large and kind == "weight" and type(network.get_submodule(layer)) in KINDS and not tensor.is_meta


def keep(network: nn.Module, name: str, tensor: Tensor) -> None:
    """Let the layer that has this weight hold it as it is stored. Its parameter has ``nothing`` in it already."""
    layer = network.get_submodule(name.removesuffix(".weight"))
    layer.__class__ = KINDS[type(layer)]  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(layer, Lean)
    layer.held = tensor
