"""One loop, several tasks: how each part of a Stable Diffusion is taught."""

from tintype.training.chain import Chain
from tintype.training.loop import Progress, Task, Training
from tintype.training.lora import LoraLesson
from tintype.training.processes import Processes, processes
from tintype.training.recipes import CHAINS, LORAS, ChainRecipe, LoraRecipe, Recipe, adjusted
from tintype.training.sources import open_source

__all__ = [
    "CHAINS",
    "LORAS",
    "Chain",
    "ChainRecipe",
    "LoraLesson",
    "LoraRecipe",
    "Processes",
    "Progress",
    "Recipe",
    "Task",
    "Training",
    "adjusted",
    "open_source",
    "processes",
]
