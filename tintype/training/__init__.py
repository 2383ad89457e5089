"""One loop, three tasks: how each part of a Stable Diffusion is taught."""

from tintype.training.chain import Chain
from tintype.training.loop import Progress, Task, Training
from tintype.training.recipes import CHAINS, ChainRecipe, Recipe, adjusted

__all__ = ["CHAINS", "Chain", "ChainRecipe", "Progress", "Recipe", "Task", "Training", "adjusted"]
