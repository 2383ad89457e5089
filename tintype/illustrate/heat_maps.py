"""Heat maps: how much each place of the picture looked at each word.

DAAM's method (Tang et al. 2022, arXiv 2210.04885, section 2): the weights of cross-attention on the way down and up,
of the pass that is told the prompt, softmax over all keys, summed over heads, layers and steps, brought to the grid
of the latents; pieces of a word are averaged. Here every map is a mean and not a sum, so that at each place the
entries (start, each piece of a word, end, padding) are shares that add up to 1. Two choices differ from the authors'
code or are left open by the paper:

- The middle block is recorded and can be seen by itself, but is no part of ``overall``, as in the authors' code.
- Maps are enlarged bilinearly and not bicubically: a bicubic curve overshoots below 0, and shares stay shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True)
class LayerHeat:
    """The heat of one cross-attention over all steps: ``maps`` (e h w) fp32, the mean over heads and evaluations."""

    name: str
    part: str  # "down", "mid" or "up"
    level: int  # 0 is the finest
    num_heads: int
    maps: Tensor


@dataclass(frozen=True)
class StepHeat:
    """The heat of every step, of all cross-attentions of one resolution: ``maps`` (steps e h w) fp32, means.

    ``middle``: of the middle block alone; else of the layers on the way down and up. ``num_heads`` counts all heads.
    """

    middle: bool
    level: int
    num_heads: int
    maps: Tensor

    @property
    def size(self) -> Size:
        """(h, w) of the maps."""
        return self.maps.shape[-2], self.maps.shape[-1]


@dataclass(frozen=True)
class HeatMaps:
    """What each place of one picture looked at, in shares. ``Token.entry`` says which row is whose.

    Attributes:
        size: (h, w) of the latents.
        layers: each cross-attention over all steps, in the order of the forward pass.
        by_step: each resolution, coarsest first, step by step: as many as memory allows.
    """

    size: Size
    layers: tuple[LayerHeat, ...]
    by_step: tuple[StepHeat, ...]

    @property
    def overall(self) -> Tensor:
        """(e h w) at the latents' size: the way down and the way up, all heads and all steps."""
        return self._mean([(layer.maps, layer.num_heads) for layer in self.layers if layer.part != "mid"])

    def resolution(self, level: int, middle: bool = False) -> Tensor:
        """(e h w) at the size of that level: its layers on the way down and up, or the middle block's."""
        chosen = [layer for layer in self.layers if layer.level == level and (layer.part == "mid") == middle]
        if not chosen:
            raise KeyError(f"no cross-attention at level {level}{' in the middle' if middle else ''}")
        heads = sum(layer.num_heads for layer in chosen)
        return torch.stack([layer.maps * layer.num_heads for layer in chosen]).sum(0) / heads

    def step(self, index: int) -> Tensor | None:
        """(e h w) at the latents' size: one step, of the resolutions in ``by_step``; None where there are none."""
        chosen = [(each.maps[index], each.num_heads) for each in self.by_step if not each.middle]
        return self._mean(chosen) if chosen else None

    def _mean(self, weighted: list[tuple[Tensor, int]]) -> Tensor:
        total = sum(enlarged(maps, self.size) * heads for maps, heads in weighted)
        assert isinstance(total, Tensor)
        return total / sum(heads for _, heads in weighted)


def enlarged(maps: Tensor, size: Size) -> Tensor:
    """(e h w) -> (e *size), bilinearly; shares stay shares."""
    if maps.shape[-2:] == size:
        return maps.float()
    return F.interpolate(maps.float()[None], size=size, mode="bilinear", align_corners=False)[0]
