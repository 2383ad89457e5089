"""Layers whose weights are laid out once as oneDNN's kernels read them, and not anew at every call.

torch hands a layer's weights to oneDNN as they lie in memory; oneDNN lays them out for its kernel, computes, and throws
that away. On small maps this takes longer than the convolution: 1280 channels to 1280 at 8x8 take half the time without
it. The operators for weights that stay laid out are those that ``torch.compile`` uses for itself. They are private, so
``unavailable`` looks for them and tries them.

A packed layer is the layer itself with another class. The first call lays its weights out for the size that it is
called with and frees them as they were; a call with another size lays them out anew, since a layout for another size
can be three times as slow as none. From then on its parameter, of the same shape and type, holds NaN. Whoever asks the
layer for its weight gets it, bit for bit, and the layer is plain again: gradients, merging, loading, ``.to`` and
``.train`` find what they expect. Copies and saved states hold plain weights.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Packed(nn.Module):
    """What packed layers share. ``plain`` is the class of the layer when its weights lie as usual."""

    plain: ClassVar[type[nn.Module]]
    packed: Tensor | None
    size: torch.Size | None

    def lay_out(self, weight: Tensor, size: torch.Size) -> Tensor:
        """The weights in oneDNN's order for an input of this size."""
        raise NotImplementedError

    def ready(self, x: Tensor) -> Tensor | None:
        """The packed weights, where they can be used on ``x``: they know no gradients and no other precision."""
        stub = self._parameters["weight"]
        assert stub is not None
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or stub.dtype != x.dtype:
            return None
        if self.packed is None or self.size != x.shape:
            self.packed, self.size = self.lay_out(self.dense(), x.shape), x.shape
            stub.data = torch.full((), float("nan"), dtype=stub.dtype).expand(stub.shape)
        return self.packed

    def dense(self) -> Tensor:
        """The weights as they were, a copy where they are laid out."""
        stub = self._parameters["weight"]
        assert stub is not None
        return stub.detach() if self.packed is None else self.packed.to_dense()

    @property
    def weight(self) -> nn.Parameter:
        """The layer's own parameter. Asking for it makes the layer plain."""
        unpack(self)
        return self.weight

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        unpack(self)
        return self._apply(fn, recurse)

    def train(self, mode: bool = True) -> Any:  # noqa: D102
        if mode:
            unpack(self)
        return nn.Module.train(self, mode)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        unpack(self)
        self._load_from_state_dict(*arguments)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self.dense()

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """A plain layer."""
        stub = self._parameters["weight"]
        assert stub is not None
        memo[id(stub)] = nn.Parameter(self.dense().clone(), stub.requires_grad)
        layer = self.plain.__new__(self.plain)
        memo[id(self)] = layer
        own = {name: value for name, value in vars(self).items() if name not in ("packed", "size")}
        vars(layer).update(copy.deepcopy(own, memo))
        return layer


class PackedConv2d(Packed, nn.Conv2d):
    """A convolution. What it gives lies channels-last."""

    plain = nn.Conv2d

    def lay_out(self, weight: Tensor, size: torch.Size) -> Tensor:  # noqa: D102
        reorder = torch._C._nn.mkldnn_reorder_conv2d_weight  # pyright: ignore[reportAttributeAccessIssue]
        return reorder(weight.to_mkldnn(), self.padding, self.stride, self.dilation, self.groups, size)

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        packed = self.ready(input)
        if packed is None:
            return nn.Conv2d.forward(self, input)  # pyright: ignore[reportArgumentType]
        return torch.ops.mkldnn._convolution_pointwise(
            input, packed, self.bias, self.padding, self.stride, self.dilation, self.groups, "none", [], ""
        )


class PackedLinear(Packed, nn.Linear):
    """A linear layer."""

    plain = nn.Linear

    def lay_out(self, weight: Tensor, size: torch.Size) -> Tensor:  # noqa: D102
        return torch.ops.mkldnn._reorder_linear_weight(weight, size[:-1].numel())

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        packed = self.ready(input)
        if packed is None:
            return nn.Linear.forward(self, input)  # pyright: ignore[reportArgumentType]
        return torch.ops.mkldnn._linear_pointwise(input, packed, self.bias, "none", [], "")


def pack(network: nn.Module, *, linear: bool) -> None:
    """Pack a network's convolutions and, with ``linear``, its linear layers. Takes no time before their first call.

    Left as they are: layers that are packed, that are not on the CPU, and convolutions of kinds that no network of ours
    has.
    """
    for layer in network.modules():
        if type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros":
            kind = PackedConv2d if isinstance(layer.padding, tuple) else None
        else:
            kind = PackedLinear if linear and type(layer) is nn.Linear else None
        weight = layer._parameters.get("weight")
        if kind is not None and weight is not None and weight.device.type == "cpu" and weight.is_contiguous():
            vars(layer).update(packed=None, size=None)
            layer.__class__ = kind  # pyright: ignore[reportAttributeAccessIssue]


def unpack(network: nn.Module) -> None:
    """Make every layer plain again, bit for bit what it was."""
    for layer in list(network.modules()):
        if isinstance(layer, Packed):
            stub = layer._parameters["weight"]
            assert stub is not None
            stub.data = layer.dense()
            layer.__class__ = layer.plain  # pyright: ignore[reportAttributeAccessIssue]
            del vars(layer)["packed"], vars(layer)["size"]


@cache
def unavailable(dtype: torch.dtype) -> str | None:
    """Why this torch and this processor cannot compute with packed weights of this type; None where they can."""
    if not torch.backends.mkldnn.is_available():
        return "this torch was built without oneDNN"
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            convolution, linear = nn.Conv2d(64, 64, 3, padding=1).to(dtype), nn.Linear(64, 64).to(dtype)
            for layer, size in ((convolution, (1, 64, 5, 3)), (linear, (3, 64))):
                x = torch.ones(size, dtype=dtype)
                expected, weight = layer(x), layer.weight.detach().clone()
                pack(layer, linear=True)
                close = torch.allclose(layer(x), expected, rtol=0, atol=16 * torch.finfo(dtype).eps)
                if not close or not torch.equal(layer.weight, weight):
                    return f"torch {torch.__version__} packs weights in another way than is known here"
    except (AttributeError, RuntimeError, TypeError) as error:  # not there, not on this processor, other arguments
        reason = str(error).strip().partition("\n")[0]
        return f"torch {torch.__version__} cannot pack {str(dtype).removeprefix('torch.')} weights here: {reason}"
    return None
