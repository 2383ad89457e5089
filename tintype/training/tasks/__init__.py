"""What the one loop can teach: CLIP, the autoencoder, the noise predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.lazy import lazily

if TYPE_CHECKING:
    from tintype.training.tasks.contrastive import ContrastiveTask
    from tintype.training.tasks.diffusion import DiffusionTask
    from tintype.training.tasks.reconstruction import ReconstructionTask

__all__ = [
    "ContrastiveTask",
    "DiffusionTask",
    "ReconstructionTask",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "tintype.training.tasks.contrastive": ("ContrastiveTask",),
        "tintype.training.tasks.diffusion": ("DiffusionTask",),
        "tintype.training.tasks.reconstruction": ("ReconstructionTask",),
    },
)
