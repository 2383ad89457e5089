"""What attaches to a model from outside and comes off again without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.lazy import lazily

if TYPE_CHECKING:
    from tintype.adapters.learnt import LearntLora
    from tintype.adapters.lora import Attached, Lora, applied, attach, load_lora, save_lora
    from tintype.adapters.places import find_lora

__all__ = [
    "Attached",
    "LearntLora",
    "Lora",
    "applied",
    "attach",
    "find_lora",
    "load_lora",
    "save_lora",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "tintype.adapters.learnt": ("LearntLora",),
        "tintype.adapters.lora": ("Attached", "Lora", "applied", "attach", "load_lora", "save_lora"),
        "tintype.adapters.places": ("find_lora",),
    },
)
