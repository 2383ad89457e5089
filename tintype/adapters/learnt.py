"""A LoRA in the making: its factors are parameters, the layers that it is attached to stay as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tintype.adapters.deltas import Delta, Layer, added
from tintype.adapters.lora import _off, _on
from tintype.layouts.lora import Place
from tintype.models.attention import SpatialTransformer
from tintype.models.layers import Downsample, ResnetBlock, Upsample


class LearntLora(nn.Module):
    """``up down`` beside each of some layers of some networks, times alpha / rank (arXiv 2106.09685, eq. 3).

    ``down`` begins small and random by ``seed``, ``up`` at zero: before the first step nothing is changed.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], places: list[Place], *, rank: int, alpha: float, seed: int = 0
    ) -> None:
        super().__init__()
        self.places, self.rank, self.alpha = places, rank, alpha
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        generator = torch.Generator().manual_seed(seed)
        self._terms: list[_LearntTerm] = []
        for place in places:
            layer = networks[place[0]].get_submodule(place[1])
            assert isinstance(layer, Layer)
            device, key = layer.weight.device, _key(place)
            down = torch.empty(rank, *layer.weight.shape[1:])
            bound = 1 / math.sqrt(down[0].numel())
            self.down[key] = nn.Parameter(down.uniform_(-bound, bound, generator=generator).to(device))
            window = (1,) * (layer.weight.ndim - 2)
            self.up[key] = nn.Parameter(torch.zeros(layer.weight.shape[0], rank, *window, device=device))
            self._terms.append(_LearntTerm(self, layer, key))

    @contextmanager
    def attached(self) -> Iterator[LearntLora]:
        """Within the block the layers compute with it."""
        for term in self._terms:
            _on(term)
        try:
            yield self
        finally:
            for term in self._terms:
                _off(term)

    def deltas(self, weights: Mapping[str, Tensor] | None = None) -> dict[Place, Delta]:
        """What was learnt, as files keep it; ``weights`` are other values of the parameters, such as an average's."""
        values = dict(self.named_parameters()) if weights is None else weights
        return {
            place: Delta(
                {kind: values[f"{kind}.{_key(place)}"].detach().cpu().clone() for kind in ("up", "down")}, self.alpha
            )
            for place in self.places
        }


class _LearntTerm:
    """What the LoRA adds to one layer, computed anew each time, since its factors change."""

    scale = 1.0

    def __init__(self, lora: LearntLora, layer: Layer, key: str) -> None:
        self.layer, self._lora, self._key = layer, lora, key
        self._alpha_over_rank = lora.alpha / lora.rank

    def __call__(self, x: Tensor) -> Tensor:
        factors = self._lora.down[self._key], self._lora.up[self._key]  # looked up: they may be others at each step
        if x.dtype == factors[0].dtype or torch.is_autocast_enabled(x.device.type):
            return self._alpha_over_rank * added(self.layer, x, factors)
        return (self._alpha_over_rank * added(self.layer, x.float(), factors)).to(x.dtype)


def transformer_layers(unet: nn.Module) -> list[str]:
    """The layers of a UNet's transformers: attention, what stands between, and the ways in and out."""
    return _layers_in(unet, (SpatialTransformer,))


def convolution_layers(unet: nn.Module) -> list[str]:
    """The layers of a UNet's ResNet blocks and between its levels."""
    return _layers_in(unet, (ResnetBlock, Downsample, Upsample))


def linear_layers(encoder: nn.Module) -> list[str]:
    """The layers of a text encoder's attention and of what stands between; not its projection."""
    return [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith("projection")
    ]


def _layers_in(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[str]:
    return [
        f"{outer}.{inner}"
        for outer, block in network.named_modules()
        if isinstance(block, kinds)
        for inner, module in block.named_modules()
        if isinstance(module, Layer)
    ]


def _key(place: Place) -> str:
    """A parameter's name may not have dots."""
    return f"{place[0]}:{place[1]}".replace(".", "/")
