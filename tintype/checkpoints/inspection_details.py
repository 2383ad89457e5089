"""What is told of files that stand beside a model: a LoRA and how it was trained, a textual inversion."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tintype.adapters.embedding_files import WIDTHS, load_embedding
from tintype.adapters.lora_names import family_of, form_of, rank_of, sort_names
from tintype.layouts.tensor_files import TensorFile

MAX_TAGS = 8
MAX_TAGS_BYTES = 4_000_000

TRAINED = {
    "ss_base_model_version": "base",
    "ss_sd_model_name": "base file",
    "ss_network_module": "by",
    "ss_learning_rate": "learning rate",
    "ss_optimizer": "optimizer",
    "ss_steps": "steps",
    "ss_num_epochs": "epochs",
    "ss_num_train_images": "pictures",
    "ss_resolution": "resolution",
    "ss_clip_skip": "clip skip",
}
"""What kohya's programs write about a training, and how it is called here."""


def lora_details(file: TensorFile) -> tuple[str | None, dict[str, str]]:
    """(the family that it was made for, its form, rank, alpha, networks and training)."""
    names = sort_names(file)
    layers = {layer: {kind: file.infos[name] for kind, name in kinds.items()} for layer, kinds in names.layers.items()}
    ranks = [rank for kinds in layers.values() if (rank := rank_of(kinds)) is not None]
    details = {
        "adapter": _counts(form_of(kinds) for kinds in layers.values()),
        "rank": _counts(map(str, ranks)) or "none",
        "alpha": _counts(f"{alpha:g}" for alpha in names.alphas.values()) or "not stated: the rank",
        "changes": ", ".join(f"{count} layers of the {name}" for name, count in _networks(layers).items()),
    }
    trained = [f"{shown} {file.metadata[key]}" for key, shown in TRAINED.items() if _is_said(file.metadata.get(key))]
    if trained:
        details["trained"] = ", ".join(trained)
    if (finished := _date(file.metadata.get("ss_training_finished_at", ""))) is not None:
        details["finished"] = finished
    if tags := _tags(file.metadata):
        details["words"] = tags
    return family_of(file.metadata, layers), details


def embedding_details(path: Path) -> tuple[str | None, dict[str, str]]:
    """(the family that it was made for, its word and vectors)."""
    embedding = load_embedding(path)
    widths = " and ".join(str(width) for width in embedding.widths)
    return WIDTHS.get(embedding.widths), {
        "word": embedding.token,
        "vectors": f"{len(embedding.vectors[0])}, {widths} wide",
    }


def _counts(values: Iterable[str]) -> str:
    """Different values, the commonest first, with how often where there are several."""
    counts = Counter(values).most_common(4)
    return ", ".join(value if len(counts) == 1 else f"{value} ({count}x)" for value, count in counts)


def _networks(layers: Iterable[str]) -> Counter[str]:
    names = {"te2": "text encoder 2", "text_encoder_2": "text encoder 2", "te1": "text encoder 1"}
    names |= {"te": "text encoder", "text_encoder": "text encoder"}
    found: Counter[str] = Counter()
    for layer in layers:
        bare = layer.removeprefix("base_model.model.").removeprefix("lora_")
        found[next((name for sign, name in names.items() if bare.startswith((f"{sign}_", f"{sign}."))), "UNet")] += 1
    return found


def _is_said(value: str | None) -> bool:
    return value not in (None, "", "None", "null")


def _date(seconds: str) -> str | None:
    try:
        return datetime.fromtimestamp(float(seconds), UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return None


def _tags(metadata: Mapping[str, str]) -> str | None:
    """The words that stood most often under the pictures of its training."""
    text = metadata.get("ss_tag_frequency", "")
    try:
        folders = json.loads(text) if len(text) <= MAX_TAGS_BYTES else {}
        counts: Counter[str] = Counter()
        for folder in folders.values():
            counts.update({str(tag).strip(): int(count) for tag, count in folder.items()})
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return ", ".join(f"{tag} ({count}x)" for tag, count in counts.most_common(MAX_TAGS)) or None
