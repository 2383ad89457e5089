"""One loop, several tasks: how each part of a Stable Diffusion is taught."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.lazy import lazily

if TYPE_CHECKING:
    from tintype.training.chain import Chain
    from tintype.training.finetune import FinetuneLesson
    from tintype.training.lesson import Lesson
    from tintype.training.loop import Progress, Task, Training
    from tintype.training.lora import LoraLesson
    from tintype.training.processes import Processes
    from tintype.training.recipes import (
        CHAINS,
        FINETUNES,
        LORAS,
        ChainRecipe,
        FinetuneRecipe,
        LoraRecipe,
        Recipe,
        adjusted,
    )
    from tintype.training.sources import open_source

__all__ = [
    "CHAINS",
    "FINETUNES",
    "LORAS",
    "Chain",
    "ChainRecipe",
    "FinetuneLesson",
    "FinetuneRecipe",
    "Lesson",
    "LoraLesson",
    "LoraRecipe",
    "Processes",
    "Progress",
    "Recipe",
    "Task",
    "Training",
    "adjusted",
    "open_source",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "tintype.training.chain": ("Chain",),
        "tintype.training.finetune": ("FinetuneLesson",),
        "tintype.training.lesson": ("Lesson",),
        "tintype.training.loop": (
            "Progress",
            "Task",
            "Training",
        ),
        "tintype.training.lora": ("LoraLesson",),
        "tintype.training.processes": ("Processes",),
        "tintype.training.recipes": (
            "CHAINS",
            "FINETUNES",
            "LORAS",
            "ChainRecipe",
            "FinetuneRecipe",
            "LoraRecipe",
            "Recipe",
            "adjusted",
        ),
        "tintype.training.sources": ("open_source",),
    },
)
