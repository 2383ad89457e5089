"""LoRA and its relatives: read, attached to a model from outside, scaled, stacked, merged, taken off again.

While attached, a layer computes its own output and adds what the adapters say; its weights are not touched. Taking an
adapter off leaves the layer as it was, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tintype.adapters.deltas import Delta, Layer, added
from tintype.adapters.embedding_files import Embedding
from tintype.adapters.lora_names import FAMILY_BY_CONTEXT, family_of, sort_names
from tintype.errors import CheckpointError
from tintype.layouts import diffusers as layouts
from tintype.layouts import ldm
from tintype.layouts.lora import Place, index_of
from tintype.layouts.tensor_files import open_tensors
from tintype.models import TextEncoder, UNet


@dataclass(frozen=True)
class Lora:
    """An adapter's file: what it adds, by the names that the file uses; no model is known yet."""

    name: str
    deltas: Mapping[str, Delta] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    not_used: tuple[str, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    """Words that come with it; a run that asks for the adapter knows them."""

    @property
    def family(self) -> str | None:
        """The family that it was made for, by its metadata or by the width of the text that it looks at."""
        return family_of(self.metadata, {name: delta.tensors for name, delta in self.deltas.items()})


@dataclass(frozen=True)
class Report:
    """What of an adapter found its layer: how many, by network, and the names that did not."""

    matched: Mapping[str, int]
    unmatched: tuple[str, ...]

    def __str__(self) -> str:
        found = ", ".join(f"{count} in {network}" for network, count in self.matched.items())
        missing = f"; {len(self.unmatched)} not matched, first {self.unmatched[0]}" if self.unmatched else ""
        return f"layers matched: {found}{missing}"


def load_lora(path: str | Path) -> Lora:
    """Reads a LoRA, LoCon, LoHa or LoKr file, safetensors or an old pickle, in kohya's, PEFT's or diffusers' names.

    Raises ``CheckpointError`` for a file that is none, or that holds what is not supported (DoRA).
    """
    file = open_tensors(path)
    names = sort_names(file)
    tensors = dict(file.tensors())
    deltas = {
        layer: Delta({kind: tensors[name] for kind, name in kinds.items()}, names.alphas.get(layer))
        for layer, kinds in names.layers.items()
    }
    return Lora(Path(path).stem, deltas, file.metadata, names.not_used, names.embeddings)


def match(networks: Mapping[str, nn.Module], lora: Lora) -> tuple[dict[Place, Delta], Report]:
    """The layers that an adapter changes.

    Raises ``CheckpointError`` when it finds none, or none of its shape: then it was made for another model.
    """
    index = index_of({network: layers_of(module) for network, module in networks.items()}, _dialects(networks))
    found: dict[Place, Delta] = {}
    unmatched = list(lora.not_used)
    misfits: list[str] = []
    for name, delta in lora.deltas.items():
        place = index.get(name)
        if place is None:
            unmatched.append(name)
        elif not delta.fits(_layer(networks, place)):
            misfits.append(name)
        else:
            found[place] = delta
    if misfits or not found:
        model = _family(networks)
        made_for = f"It was made for {lora.family}; " if lora.family and lora.family != model else ""
        why = f"{misfits[0]} has another shape" if misfits else f"no layer is called {unmatched[0]}"
        raise CheckpointError(
            f"The LoRA {lora.name} does not fit this model: {made_for}the model is {model} ({why}). "
            "Take one that was made for this model's family."
        )
    counts = {network: sum(place[0] == network for place in found) for network in networks}
    return found, Report({network: count for network, count in counts.items() if count}, tuple(unmatched))


class Attached:
    """An adapter on a model. ``scale`` may be changed at any time; ``detach`` takes it off."""

    def __init__(self, networks: Mapping[str, nn.Module], lora: Lora, scale: float = 1.0) -> None:
        found, self.report = match(networks, lora)
        self.lora = lora
        self.terms = [_Term(_layer(networks, place), delta) for place, delta in found.items()]
        self.merged = False
        self._scale = float(scale)
        self._on(scale)

    @property
    def scale(self) -> float:
        """How strongly it counts; 1 is as trained."""
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        self._scale = float(value)
        for term in self.terms:
            term.scale = self._scale
            if self.merged:
                _weigh(term.layer)

    def merge(self) -> None:
        """Put it into the weights: no cost at run time. The weights as they were are kept."""
        if not self.merged:
            self.detach()
            self.merged = True
            for term in self.terms:
                _merged_of(term.layer).append(term)
                _weigh(term.layer)

    def detach(self) -> None:
        """Take it off, merged or not. What other adapters do stays."""
        for term in self.terms:
            if self.merged:
                _merged_of(term.layer).remove(term)
                _weigh(term.layer)
            else:
                _off(term)
        self.merged = False

    def attach(self) -> None:
        """Put it on again after ``detach``."""
        self.detach()
        self._on(self._scale)

    def _on(self, scale: float) -> None:
        for term in self.terms:
            term.scale = float(scale)
            _on(term)


def attach(networks: Mapping[str, nn.Module], lora: Lora, scale: float = 1.0) -> Attached:
    """Puts an adapter on networks: "unet", "text_encoder", "text_encoder_2". CheckpointError where it does not fit."""
    return Attached(networks, lora, scale)


@contextmanager
def applied(adapters: Sequence[Attached]) -> Iterator[None]:
    """Within the block the adapters, which are off outside of it, are on. Made to be cheap around one network call."""
    try:
        for adapter in adapters:
            adapter._on(adapter.scale)
        yield
    finally:
        for adapter in adapters:
            adapter.detach()


def save_lora(
    path: str | Path,
    deltas: Mapping[Place, Delta],
    networks: Mapping[str, nn.Module],
    *,
    style: str = "kohya",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes an adapter by our names of layers as a file in kohya's names, or in PEFT's (diffusers').

    PEFT's files know no alpha, so there it is multiplied into ``up``.
    """
    if style not in ("kohya", "peft"):
        raise ValueError(f"style is {style!r}; expected 'kohya' or 'peft'")
    dialects = _dialects(networks)
    two = len(networks) == 3
    tensors: dict[str, Tensor] = {}
    for (network, ours), delta in deltas.items():
        theirs = dialects[network][0].their_name(f"{ours}.weight").removesuffix(".weight")
        up, down = _as_stored(networks[network], ours, delta)
        if style == "peft":
            tensors[f"{network}.{theirs}.lora_A.weight"] = down.contiguous()
            tensors[f"{network}.{theirs}.lora_B.weight"] = (up * delta.scale).contiguous()
            continue
        prefix = {"unet": "lora_unet_", "text_encoder": "lora_te1_" if two else "lora_te_"}.get(network, "lora_te2_")
        layer = prefix + theirs.replace(".", "_")
        tensors[f"{layer}.lora_down.weight"] = down.contiguous()
        tensors[f"{layer}.lora_up.weight"] = up.contiguous()
        tensors[f"{layer}.alpha"] = torch.tensor(delta.scale * down.shape[0])
    save_file(tensors, path, metadata={"format": "pt"} | dict(metadata or {}))


def _as_stored(network: nn.Module, ours: str, delta: Delta) -> tuple[Tensor, Tensor]:
    """``up`` and ``down`` in the shapes of the file's layer: where UNets store matrices as 1x1 convolutions, so."""
    up, down = delta.tensors["up"], delta.tensors["down"]
    if isinstance(network, UNet) and not network.config.linear_projections and ours.endswith(("proj_in", "proj_out")):
        return up.reshape(*up.shape[:2], 1, 1), down.reshape(*down.shape[:2], 1, 1)
    return up, down


def layers_of(network: nn.Module) -> list[str]:
    """The names of the layers that an adapter can change."""
    return [name for name, module in network.named_modules() if isinstance(module, Layer)]


class _Added(Protocol):
    """What is added to a layer's output while it is on."""

    scale: float

    @property
    def layer(self) -> Layer: ...

    def __call__(self, x: Tensor) -> Tensor: ...


class _Term:
    """What one adapter adds to one layer, in the layer's own precision and place."""

    def __init__(self, layer: Layer, delta: Delta) -> None:
        self.layer = layer
        self.delta = delta
        self.scale = 1.0
        self._factors: tuple[Tensor, ...] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self._factors is None or self._factors[0].dtype != x.dtype or self._factors[0].device != x.device:
            self._factors = tuple(factor.to(x) for factor in self.delta.factors(self.layer))
        out = added(self.layer, x, self._factors)
        bias = self.delta.bias()
        if bias is not None:
            out = out + bias.to(x).reshape(-1, *(1,) * (out.ndim - 2 if isinstance(self.layer, nn.Conv2d) else 0))
        return self.scale * out


class _Adapted:
    """A layer's ``forward`` while adapters are on it."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.terms: list[_Added] = []

    def __call__(self, x: Tensor) -> Tensor:
        out = type(self.layer).forward(self.layer, x)  # pyright: ignore[reportArgumentType]
        for term in self.terms:
            if term.scale:
                out = out + term(x)
        return out


def _on(term: _Added) -> None:
    adapted = vars(term.layer).get("forward")
    if adapted is None:
        adapted = vars(term.layer)["forward"] = _Adapted(term.layer)
    if term not in adapted.terms:
        adapted.terms.append(term)


def _off(term: _Added) -> None:
    adapted = vars(term.layer).get("forward")
    if adapted is not None and term in adapted.terms:
        adapted.terms.remove(term)
        if not adapted.terms:
            del term.layer.forward


def _merged_of(layer: Layer) -> list[_Term]:
    """The terms in a layer's weights. The weights as they were are kept beside from the first one on."""
    place = vars(layer)
    if "_unmerged" not in place:
        place["_unmerged"] = (layer.weight.data, None if layer.bias is None else layer.bias.data, [])
    return place["_unmerged"][2]


def _weigh(layer: Layer) -> None:
    """Sets a layer's weights to what they were with the terms that are merged now."""
    weight, bias, terms = vars(layer)["_unmerged"]
    if not terms:
        layer.weight.data = weight
        if layer.bias is not None and bias is not None:
            layer.bias.data = bias
        del vars(layer)["_unmerged"]
        return
    total = weight.float()
    for term in terms:
        total = total + term.scale * term.delta.dense(weight.shape).to(weight.device)
    layer.weight.data = total.to(weight.dtype)
    shifts = [term.scale * shift.to(bias) for term in terms if (shift := term.delta.bias()) is not None]
    if layer.bias is not None and shifts:
        layer.bias.data = bias + sum(shifts)


def _layer(networks: Mapping[str, nn.Module], place: Place) -> Layer:
    layer = networks[place[0]].get_submodule(place[1])
    assert isinstance(layer, Layer)
    return layer


def _dialects(networks: Mapping[str, nn.Module]) -> dict[str, tuple[layouts.Layout, ...]]:
    """The tables in which the layers of each network may be named, the one that is written first."""
    found: dict[str, tuple[layouts.Layout, ...]] = {}
    for name, network in networks.items():
        if isinstance(network, UNet):
            c = network.config
            found[name] = (layouts.UNET, ldm.unet_layout(c.transformer_depth, c.layers_per_block, c.mid_depth))
        else:
            found[name] = (layouts.TEXT_ENCODER,)
    return found


def _family(networks: Mapping[str, nn.Module]) -> str:
    unet = networks.get("unet")
    if isinstance(unet, UNet) and unet.config.vector_dim is not None:
        return "SDXL"
    width = unet.config.context_dim if isinstance(unet, UNet) else None
    if width is None:
        encoders = [module.config.dim for module in networks.values() if isinstance(module, TextEncoder)]
        width = encoders[0] if encoders else None
    return FAMILY_BY_CONTEXT.get(width or 0, f"of another family (text {width} wide)")
