"""Heat maps while a run goes on: the weights of cross-attention, computed beside it and summed on the fly.

Never is a whole map of weights kept: of a layer there is one sum for each entry, and of a step one for each
resolution, as long as these fit into ``BY_STEP_BYTES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import sqrt

import torch
from torch import Tensor

from tintype.illustrate.heat_maps import HeatMaps, LayerHeat, Size, StepHeat
from tintype.illustrate.parts import Clock
from tintype.illustrate.structure import level_sizes, text_attentions
from tintype.models import Attention, UNet

BY_STEP_BYTES = 24 * 2**20
PART_OF_WEIGHTS = 2**21  # numbers: weights are computed for as many places at a time as give so many of them

_Key = tuple[bool, int]
"""Whether it is the middle block's, and the level."""

Observe = Callable[[Tensor, Tensor, Tensor | None], None]
"""Told q, k and mask of a call of ``Attention.attend``."""


@contextmanager
def observed(attention: Attention, observe: Observe) -> Iterator[None]:
    """Within the block ``observe`` is told of each call; the output is that of the ``attend`` that was found."""
    before, found = vars(attention).get("attend"), attention.attend

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        out = found(q, k, v, mask)
        observe(q, k, mask)
        return out

    attention.attend = attend
    try:
        yield
    finally:
        if before is None:
            del attention.attend
        else:
            attention.attend = before


def shares(q: Tensor, k: Tensor, mask: Tensor | None, groups: Tensor) -> Tensor:
    """How much each place looks at each group of keys, summed over heads: (e n) fp32.

    q: (heads n d), k: (heads s d) of one picture. mask: (heads n s) or None. groups: (s e), 1 where a key belongs to
    a group. Softmax is over all keys, so that for each place the shares of all groups add up to the number of heads.
    """
    heads, places, width = q.shape
    q, k = q.float() / sqrt(width), k.float().transpose(-2, -1)
    stride = max(1, PART_OF_WEIGHTS // (heads * k.shape[-1]))
    parts = []
    for start in range(0, places, stride):
        scores = q[:, start : start + stride] @ k  # (heads n s)
        if mask is not None:
            scores = scores + mask[:, start : start + stride]
        parts.append((scores.softmax(dim=-1).sum(0) @ groups).T)  # (n s) @ (s e) -> (e n)
    return torch.cat(parts, dim=1)


@dataclass
class _Layer:
    """One cross-attention and what it has looked at so far."""

    name: str
    attention: Attention
    part: str
    level: int
    total: Tensor | None = None  # (e n) on the model's device, summed over heads and evaluations


@dataclass
class _Resolution:
    """All cross-attentions of one size, step by step."""

    middle: bool
    level: int
    num_heads: int
    maps: Tensor  # (steps e n) on the CPU
    evaluations: list[int] = field(default_factory=list)


class HeatRecorder:
    """Sums what each place looked at, for one picture.

    Args:
        unet: whose cross-attentions are observed.
        size: (h, w) of the latents.
        groups: (s e), which key belongs to which entry.
        num_steps: how many there will be at most.
    """

    def __init__(self, unet: UNet, size: Size, groups: Tensor, num_steps: int) -> None:
        self.size = size
        self.groups = groups.float()
        self.evaluations = 0
        self._sizes = level_sizes(size, len(unet.config.channels))
        self._layers = [_Layer(*place) for place in text_attentions(unet)]
        self._resolutions = self._within_bounds(num_steps)

    def _within_bounds(self, num_steps: int) -> dict[_Key, _Resolution]:
        """The resolutions that can be kept step by step, from the coarsest to the finest that still has room."""
        heads: dict[_Key, int] = {}
        for layer in self._layers:
            key = (layer.part == "mid", layer.level)
            heads[key] = heads.get(key, 0) + layer.attention.num_heads
        kept, room = {}, BY_STEP_BYTES
        for middle, level in sorted(heads, key=lambda key: (-key[1], not key[0])):
            places = self._sizes[level][0] * self._sizes[level][1]
            shape = (num_steps, self.groups.shape[1], places)
            room -= 4 * shape[0] * shape[1] * shape[2]
            if room < 0:
                break
            kept[middle, level] = _Resolution(middle, level, heads[middle, level], torch.zeros(shape), [0] * num_steps)
        return kept

    @contextmanager
    def watching(self, step: int, row: Callable[[], int | None], clock: Clock) -> Iterator[None]:
        """Within the block, one evaluation of the network, all cross-attentions are observed.

        ``row`` tells the place of the picture in the batch of the call in work; None where no prompt is told in it.
        ``clock`` counts what this takes.
        """
        current: dict[_Key, Tensor] = {}

        def observer(layer: _Layer) -> Observe:
            def observe(q: Tensor, k: Tensor, mask: Tensor | None) -> None:
                if (at := row()) is None:
                    return
                with clock.counting():
                    if mask is not None:
                        mask = mask.expand(*q.shape[:3], k.shape[-2])[at]  # (n s) or alike -> (heads n s)
                    self._add(layer, q[at], k[at], mask, current)

            return observe

        with ExitStack() as stack:
            for layer in self._layers:
                stack.enter_context(observed(layer.attention, observer(layer)))
            yield
        with clock.counting():
            self.evaluations += 1
            for key, found in current.items():
                self._resolutions[key].maps[step] += found.cpu()
                self._resolutions[key].evaluations[step] += 1

    def _add(self, layer: _Layer, q: Tensor, k: Tensor, mask: Tensor | None, current: dict[_Key, Tensor]) -> None:
        self.groups = self.groups.to(q.device)
        found = shares(q, k, mask, self.groups)  # (e n)
        layer.total = found if layer.total is None else layer.total.add_(found)
        key = (layer.part == "mid", layer.level)
        if key in self._resolutions:
            current[key] = current[key] + found if key in current else found.clone()

    def heat_maps(self, num_steps: int) -> HeatMaps:
        """What was seen in the first ``num_steps`` steps, as means."""
        layers = tuple(
            LayerHeat(
                layer.name,
                layer.part,
                layer.level,
                layer.attention.num_heads,
                self._maps(layer.total / (layer.attention.num_heads * self.evaluations), layer.level),
            )
            for layer in self._layers
            if layer.total is not None
        )
        by_step = []
        for each in self._resolutions.values():
            counts = torch.tensor(each.evaluations[:num_steps]).clamp(min=1)[:, None, None] * each.num_heads
            maps = self._maps(each.maps[:num_steps] / counts, each.level)
            by_step.append(StepHeat(each.middle, each.level, each.num_heads, maps))
        return HeatMaps(self.size, layers, tuple(by_step))

    def _maps(self, flat: Tensor, level: int) -> Tensor:
        return flat.cpu().unflatten(-1, self._sizes[level])  # (... e n) -> (... e h w)
