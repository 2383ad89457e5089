"""What an adapter adds to a layer's weights, in the forms in which the world stores it.

    LoRA   up down                         Hu et al. 2021 (arXiv 2106.09685), eq. 3; for convolutions LoCon
    LoHa   (a1 b1) * (a2 b2)               Yeh et al. 2023, LyCORIS (arXiv 2309.14859), section 3
    LoKr   kron(w1, w2)                    the same
    full   the difference itself

All are scaled by alpha / rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tintype.adapters.lora_names import form_of, rank_of
from tintype.errors import CheckpointError

Layer = nn.Linear | nn.Conv2d


def shape_of(layer: Layer) -> torch.Size:
    """The shape of a layer's weight, without asking for the weight: a packed layer would have to bring it out."""
    if isinstance(layer, nn.Linear):
        return torch.Size((layer.out_features, layer.in_features))
    return torch.Size((layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size))


@dataclass(frozen=True)
class Delta:
    """One layer's part of an adapter: its tensors by kind (``up``, ``down``, ``w1_a`` ...), as stored."""

    tensors: Mapping[str, Tensor] = field(repr=False)
    alpha: float | None = None

    @property
    def form(self) -> str:
        """Which of the four: "LoRA", "LoHa", "LoKr" or "full"."""
        return form_of(self.tensors)

    @property
    def rank(self) -> int | None:
        """The inner width; None where there is none."""
        return rank_of(self.tensors)

    @property
    def scale(self) -> float:
        """alpha / rank; 1 where either is not stated."""
        return 1.0 if self.alpha is None or self.rank is None else self.alpha / self.rank

    def dense(self, shape: torch.Size) -> Tensor:
        """The whole difference, fp32, in the shape of the layer's weight, scaled by alpha / rank.

        CheckpointError where it does not fit.
        """
        t = {kind: tensor.float() for kind, tensor in self.tensors.items()}
        if self.form == "LoRA":
            up, down = t["up"].flatten(1), t["down"]
            if "mid" in t:
                product = torch.einsum("ijkl,jr,pi->prkl", t["mid"], down.flatten(1), up)
            else:
                product = up @ down.flatten(1)
        elif self.form == "LoHa":
            product = _half(t, "hada_w1", "hada_t1") * _half(t, "hada_w2", "hada_t2")
        elif self.form == "LoKr":
            one = t["lokr_w1"] if "lokr_w1" in t else t["lokr_w1_a"] @ t["lokr_w1_b"]
            two = t["lokr_w2"] if "lokr_w2" in t else _half(t, "lokr_w2", "lokr_t2")
            product = torch.kron(one.reshape(*one.shape, *(1,) * (two.ndim - one.ndim)), two)
        else:
            product = t.get("diff", torch.zeros(()).expand(shape))
        if product.numel() != shape.numel():
            raise CheckpointError(f"it is of shape {list(product.shape)}, the layer of {list(shape)}")
        return self.scale * product.reshape(shape)

    def fits(self, layer: Layer) -> bool:
        """Whether the difference has as many inputs and outputs as the layer, judged by shapes alone."""
        out, inputs = shape_of(layer)[0], shape_of(layer)[1:].numel()
        if self.form == "LoRA":
            down, mid = self.tensors["down"], self.tensors.get("mid")
            window = 1 if mid is None else mid[0, 0].numel()
            return (
                self.tensors["up"].shape[0] == out
                and down[0].numel() * window == inputs
                and self.tensors["up"].shape[1] == down.shape[0]
            )
        with torch.device("meta"):
            tensors = {kind: torch.empty(tensor.shape) for kind, tensor in self.tensors.items()}
        try:
            Delta(tensors).dense(shape_of(layer))
        except (CheckpointError, RuntimeError):
            return False
        return True

    def factors(self, layer: Layer) -> tuple[Tensor, ...]:
        """What ``added`` computes with, in the shapes of the layer: two or three factors, or the whole difference."""
        if self.form != "LoRA":
            return (self.dense(shape_of(layer)),)
        up, down, mid = self.tensors["up"], self.tensors["down"], self.tensors.get("mid")
        if isinstance(layer, nn.Linear):
            return down.flatten(1), up.flatten(1) * self.scale
        up = up.flatten(1)[:, :, None, None] * self.scale
        if mid is not None:
            return down.flatten(1)[:, :, None, None], mid, up
        return down.reshape(down.shape[0], *shape_of(layer)[1:]), up

    def bias(self) -> Tensor | None:
        """What is added to the layer's bias."""
        return self.tensors.get("diff_b")


def added(layer: Layer, x: Tensor, factors: tuple[Tensor, ...]) -> Tensor:
    """What the difference adds to the layer's output at ``x``."""
    if isinstance(layer, nn.Linear):
        for factor in factors:
            x = F.linear(x, factor)
        return x
    # The one factor with a window moves as the layer's own weight does; the others are 1 x 1.
    windows = [index for index, factor in enumerate(factors) if factor.shape[2:] == shape_of(layer)[2:]]
    moving = windows[-1] if len(factors) == 3 else 0
    for index, factor in enumerate(factors):
        if index == moving:
            x = F.conv2d(x, factor, None, layer.stride, layer.padding, layer.dilation)
        else:
            x = F.conv2d(x, factor)
    return x


def _half(t: Mapping[str, Tensor], name: str, core: str) -> Tensor:
    """a b, or with a core of its own for convolutions (Tucker's form)."""
    a, b = t[f"{name}_a"], t[f"{name}_b"]
    if core not in t:
        return a @ b.flatten(1)
    return torch.einsum("ijkl,jr,ip->prkl", t[core], b, a)
