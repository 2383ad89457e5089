"""The names by which LoRA files mean a layer: one index from theirs to ours, made from the networks themselves.

kohya's names have underscores for dots, which cannot be undone; so each of our layers is written in every dialect,
and a file's name is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tintype.layouts.layout import Layout

Place = tuple[str, str]
"""(network, our name of the layer): ("unet", "mid.attentions.0.proj_in")."""

KINDS = {
    ".lora_up.weight": "up",
    ".lora_down.weight": "down",
    ".lora_mid.weight": "mid",
    ".lora_B.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.default.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora.down.weight": "down",
    "_lora.up.weight": "up",
    "_lora.down.weight": "down",
    ".alpha": "alpha",
    ".diff": "diff",
    ".diff_b": "diff_b",
    **{f".{name}": name for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")},
    **{f".{name}": name for name in ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")},
    ".lokr_t2": "lokr_t2",
    ".dora_scale": "dora",
    ".lora_magnitude_vector": "dora",
    ".lora_magnitude_vector.weight": "dora",
}
"""How a tensor's name ends, and what it is."""

_ENDS = re.compile("(" + "|".join(sorted(map(re.escape, KINDS), key=len, reverse=True)) + ")$")


def split_name(name: str) -> tuple[str, str] | None:
    """A tensor's name -> (the layer's name in the file, the kind of tensor); None for what is no adapter's."""
    found = _ENDS.search(name)
    if found is None:
        return None
    layer = name[: found.start()]
    if found[1].startswith("_lora."):  # diffusers before 0.17: ...attn1.processor.to_q_lora.down.weight
        layer = layer.replace(".processor.", ".")
        layer += ".0" if layer.endswith(".to_out") else ""
    return layer, KINDS[found[1]]


def index_of(layers: Mapping[str, Iterable[str]], layouts: Mapping[str, tuple[Layout, ...]]) -> dict[str, Place]:
    """Every name by which a file may mean one of our layers.

    ``layers``: our names of layers by network, "unet", "text_encoder", "text_encoder_2". ``layouts``: for each network
    the tables of the dialects in which kohya's programs may have named it.
    """
    index: dict[str, Place] = {}
    for network, names in layers.items():
        for ours in names:
            for layout in layouts[network]:
                theirs = layout.their_name(f"{ours}.weight").removeprefix(layout.prefix).removesuffix(".weight")
                for written in _written(network, theirs, alone=len(layers) < 3):
                    index.setdefault(written, (network, ours))
    return index


def _written(network: str, name: str, *, alone: bool) -> Iterable[str]:
    """The ways in which files write one layer's name. ``alone``: the model has one text encoder."""
    flat = name.replace(".", "_")
    if network == "unet":
        yield f"lora_unet_{flat}"
        yield f"diffusion_model.{name}"
        yield from _peft("unet", name)
        return
    number = {"text_encoder": 1, "text_encoder_2": 2}[network]
    for prefix in (f"lora_te{number}_", *(("lora_te_",) if alone else ())):
        yield prefix + flat
    yield from _peft(network, name)
    if name.startswith("text_model."):  # transformers since 5.6
        yield from _peft(network, name.removeprefix("text_model."))


def _peft(network: str, name: str) -> Iterable[str]:
    yield f"{network}.{name}"
    yield f"{network}.base_model.model.{name}"
    yield f"base_model.model.{network}.{name}"
    if name.endswith(".to_out.0"):  # some of diffusers' programs name the list and not its layer
        yield f"{network}.{name.removesuffix('.0')}"
