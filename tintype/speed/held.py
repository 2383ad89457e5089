"""Layers whose weights are held in another form than their parameter: laid out for a kernel, or as a file has them.

Such a layer is the layer itself with another class. Its parameter, of the same shape and type, holds NaN and takes no
memory. Whoever asks the layer for its weight gets it, bit for bit, and the layer is plain again: gradients, merging,
loading, ``.to`` and ``.train`` find what they expect. Copies and saved states hold plain weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Held(nn.Module):
    """What such layers share.

    Attributes:
        plain: the class of the layer when its weights lie as usual.
        own: what the class adds to the layer.
        held: the weights in the other form; None where the parameter still has them.
    """

    plain: ClassVar[type[nn.Module]]
    own: ClassVar[tuple[str, ...]] = ("held", "size")
    held: Tensor | None

    def restored(self) -> Tensor:
        """What is held, as the parameter would have it."""
        raise NotImplementedError

    @property
    def stub(self) -> nn.Parameter:
        """The parameter, which has no weights where they are held."""
        stub = self._parameters["weight"]
        assert stub is not None
        return stub

    def hold(self, weight: Tensor) -> None:
        """Keep the weights in this form, and free the parameter's memory."""
        self.held = weight
        self.stub.data = nothing(self.stub)

    def dense(self) -> Tensor:
        """The weights as usual, a copy where they are held."""
        return self.stub.detach() if self.held is None else self.restored()

    @property
    def weight(self) -> nn.Parameter:
        """The layer's own parameter. Asking for it makes the layer plain."""
        make_plain(self)
        return self.weight

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        make_plain(self)
        return self._apply(fn, recurse)

    def train(self, mode: bool = True) -> Any:  # noqa: D102
        if mode:
            make_plain(self)
        return nn.Module.train(self, mode)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        make_plain(self)
        self._load_from_state_dict(*arguments)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self.dense()

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """A plain layer."""
        memo[id(self.stub)] = nn.Parameter(self.dense().clone(), self.stub.requires_grad)
        layer = self.plain.__new__(self.plain)
        memo[id(self)] = layer
        own = {name: value for name, value in vars(self).items() if name not in self.own}
        vars(layer).update(copy.deepcopy(own, memo))
        return layer


def make_plain(layer: Held) -> None:
    """The layer as it was, bit for bit."""
    layer.stub.data = layer.dense()
    for name in layer.own:
        vars(layer).pop(name, None)
    layer.__class__ = layer.plain  # pyright: ignore[reportAttributeAccessIssue]


def become(network: nn.Module, kinds: Mapping[type[nn.Module], type[nn.Module]]) -> None:
    """Give every module of one of these classes the other class, which has the same state."""
    for module in network.modules():
        if type(module) in kinds:
            module.__class__ = kinds[type(module)]  # pyright: ignore[reportAttributeAccessIssue]


def bytes_of(network: nn.Module) -> int:
    """What a network's parameters take, each in the type in which it is held."""
    held = {id(m.stub): m.held.dtype for m in network.modules() if isinstance(m, Held) and m.held is not None}
    return sum(p.numel() * held.get(id(p), p.dtype).itemsize for p in network.parameters())


def nothing(like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """NaN in a tensor's shape, and in its type or another, without memory."""
    return torch.full((), float("nan"), dtype=dtype or like.dtype).expand(like.shape)
