"""What is told of files that stand beside a model: a LoRA and how it was trained, a textual inversion."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tintype.adapters.lora import Lora, load_lora
from tintype.adapters.textual_inversion import WIDTHS, load_embedding

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


def lora_details(path: Path) -> tuple[str | None, dict[str, str]]:
    """(the family that it was made for, its form, rank, alpha, networks and training)."""
    lora = load_lora(path)
    deltas = lora.deltas.values()
    details = {
        "adapter": _counts(delta.form for delta in deltas),
        "rank": _counts(str(delta.rank) for delta in deltas if delta.rank is not None) or "none",
        "alpha": _counts(f"{delta.alpha:g}" for delta in deltas if delta.alpha is not None) or "not stated: the rank",
        "changes": ", ".join(f"{count} layers of the {name}" for name, count in _networks(lora).items()),
    }
    trained = [f"{shown} {lora.metadata[key]}" for key, shown in TRAINED.items() if _is_said(lora.metadata.get(key))]
    if trained:
        details["trained"] = ", ".join(trained)
    if (finished := _date(lora.metadata.get("ss_training_finished_at", ""))) is not None:
        details["finished"] = finished
    if tags := _tags(lora.metadata):
        details["words"] = tags
    return lora.family, details


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


def _networks(lora: Lora) -> Counter[str]:
    names = {"te2": "text encoder 2", "text_encoder_2": "text encoder 2", "te1": "text encoder 1"}
    names |= {"te": "text encoder", "text_encoder": "text encoder"}
    found: Counter[str] = Counter()
    for layer in lora.deltas:
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
