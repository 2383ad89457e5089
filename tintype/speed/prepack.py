"""Layers whose weights are laid out once as oneDNN's kernels read them, and not anew at every call.

torch hands a layer's weights to oneDNN as they lie in memory; oneDNN lays them out for its kernel, computes, and throws
that away. On small maps this takes longer than the convolution: 1280 channels to 1280 at 8x8 take half the time without
it. The operators for weights that stay laid out are those that ``torch.compile`` uses for itself. They are private, so
``unavailable`` looks for them and tries them.

The first call of a packed layer lays its weights out for the size that it is called with and frees them as they were; a
call with another size lays them out anew, since a layout for another size can be three times as slow as none.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from tintype.speed.held import Held, make_plain


class Packed(Held):
    """What packed layers share. ``size``: of the input that the weights are laid out for."""

    size: torch.Size | None

    def lay_out(self, weight: Tensor, size: torch.Size) -> Tensor:
        """The weights in oneDNN's order for an input of this size."""
        raise NotImplementedError

    def restored(self) -> Tensor:  # noqa: D102
        assert self.held is not None
        return self.held.to_dense()

    def ready(self, x: Tensor) -> Tensor | None:
        """The packed weights, where they can be used on ``x``: they know no gradients and no other precision."""
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or self.stub.dtype != x.dtype:
            return None
        if self.held is None or self.size != x.shape:
            self.hold(self.lay_out(self.dense(), x.shape))
            self.size = x.shape  # last: where there was no memory for it, the former layout keeps its size
        return self.held


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
            vars(layer).update(held=None, size=None)
            layer.__class__ = kind  # pyright: ignore[reportAttributeAccessIssue]


def unpack(network: nn.Module) -> None:
    """Make every packed layer plain again, bit for bit what it was."""
    for layer in list(network.modules()):
        if isinstance(layer, Packed):
            make_plain(layer)


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
