"""What a LoRA's file says of itself by names and shapes alone: its layers, their forms, ranks and alphas; no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from tintype.adapters.embedding_files import Embedding, embedding_of
from tintype.errors import CheckpointError
from tintype.layouts.lora import split_name
from tintype.layouts.tensor_files import TensorFile

FAMILY_BY_CONTEXT = {768: "SD 1", 1024: "SD 2", 2048: "SDXL"}
"""By the width of the text that a UNet looks at."""
BUNDLED = "bundle_emb."
"""Before the names of textual inversions that come with an adapter: bundle_emb.WORD.string_to_param.*"""
HALVES = {
    "LoRA": [{"up", "down"}],
    "LoHa": [{"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}],
    "LoKr": [{a, b} for a in ("lokr_w1", "lokr_w1_a") for b in ("lokr_w2", "lokr_w2_a")],
    "full": [{"diff"}, {"diff_b"}],
}
"""What a layer needs, by form: one of the sets."""
PAIRS = (("lokr_w1_a", "lokr_w1_b"), ("lokr_w2_a", "lokr_w2_b"))


class Shaped(Protocol):
    """A tensor, or what a header says of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        ...


@dataclass(frozen=True)
class LoraNames:
    """A file's tensors, sorted.

    ``layers``: for each layer of the file the full name of each kind of tensor; ``alphas`` where they are stated;
    ``not_used``: names that are no adapter's; ``embeddings``: words that come with it.
    """

    layers: Mapping[str, Mapping[str, str]]
    alphas: Mapping[str, float]
    not_used: tuple[str, ...]
    embeddings: tuple[Embedding, ...]


def sort_names(file: TensorFile) -> LoraNames:
    """The tensors of a LoRA, LoCon, LoHa or LoKr file, in kohya's, PEFT's or diffusers' names.

    Raises ``CheckpointError`` for a file that is none, of which a part is missing, or that is not supported (DoRA).
    """
    layers: dict[str, dict[str, str]] = {}
    alphas: dict[str, float] = {}
    not_used: list[str] = []
    bundled: dict[str, dict[str, str]] = {}
    for name in file.infos:
        found = split_name(name)
        if name.startswith(BUNDLED):
            word, _, kind = name.removeprefix(BUNDLED).partition(".")
            bundled.setdefault(word, {})[kind.removeprefix("string_to_param.")] = name
        elif found is None:
            not_used.append(name)
        elif found[1] == "dora":
            raise CheckpointError(f"{file.path} is a DoRA ({name}): it rescales whole layers, which is not supported.")
        elif found[1] == "alpha":
            alphas[found[0]] = _alpha(file, name)
        else:
            layers.setdefault(found[0], {})[found[1]] = name
    if not layers:
        raise CheckpointError(f"{file.path} is no LoRA: none of its {len(file.infos)} tensors is named as one.")
    for layer, kinds in layers.items():
        whole = any(half <= kinds.keys() for half in HALVES[form_of(kinds)])
        if not whole or any((a in kinds) != (b in kinds) for a, b in PAIRS):
            raise CheckpointError(f"{file.path} is damaged: of {layer} it has only {', '.join(sorted(kinds))}.")
    words = tuple(embedding_of(file, word, names) for word, names in bundled.items())
    return LoraNames(layers, alphas, tuple(not_used), words)


def form_of(kinds: Collection[str]) -> str:
    """How a layer's difference is stored: "LoRA", "LoHa", "LoKr" or "full"."""
    for kind, form in (("up", "LoRA"), ("hada_w1_a", "LoHa"), ("diff", "full"), ("diff_b", "full")):
        if kind in kinds:
            return form
    return "LoKr"


def rank_of(tensors: Mapping[str, Shaped]) -> int | None:
    """The inner width of a layer's tensors by kind; None where there is none."""
    for kind in ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b"):
        if kind in tensors:
            return tensors[kind].shape[0]
    return None


def family_of(metadata: Mapping[str, str], layers: Mapping[str, Mapping[str, Shaped]]) -> str | None:
    """The family that it was made for, by its metadata or by the width of the text that it looks at."""
    said = metadata.get("ss_base_model_version", "").lower()
    for sign, family in (("sdxl", "SDXL"), ("sd_v2", "SD 2"), ("sd_v1", "SD 1")):
        if sign in said:
            return family
    for name, kinds in layers.items():
        if name.endswith(("attn2_to_k", "attn2.to_k")) and "down" in kinds:
            return FAMILY_BY_CONTEXT.get(kinds["down"].shape[1])
    return None


def _alpha(file: TensorFile, name: str) -> float:
    if (shape := file.infos[name].shape) not in ((), (1,)):
        raise CheckpointError(f"{file.path} is damaged: {name} has the shape {list(shape)}; expected one number.")
    return float(file.numbers(name).reshape(()))
