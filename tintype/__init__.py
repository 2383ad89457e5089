"""Tintype: Stable Diffusion that shows its work.

    import tintype
    sd = tintype.load()
    sd.text2img("paradise cosmic beach", seed=7).images[0].save("beach.png")

The names are imported when they are first used, so that ``import tintype`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.lazy import lazily
from tintype.version import __version__

if TYPE_CHECKING:
    from tintype.checkpoints.again import again
    from tintype.checkpoints.load import load
    from tintype.errors import (
        CheckpointError,
        ImageError,
        MissingExtraError,
        NotFiniteError,
        SettingsError,
        TintypeError,
        TrainingError,
    )
    from tintype.pipeline.run import Run
    from tintype.pipeline.settings import Settings
    from tintype.pipeline.stable_diffusion import StableDiffusion
    from tintype.types import Conditioning, Step

__all__ = [
    "CheckpointError",
    "Conditioning",
    "ImageError",
    "MissingExtraError",
    "NotFiniteError",
    "Run",
    "Settings",
    "SettingsError",
    "StableDiffusion",
    "Step",
    "TintypeError",
    "TrainingError",
    "__version__",
    "again",
    "load",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "tintype.checkpoints.again": ("again",),
        "tintype.checkpoints.load": ("load",),
        "tintype.errors": (
            "CheckpointError",
            "ImageError",
            "MissingExtraError",
            "NotFiniteError",
            "SettingsError",
            "TintypeError",
            "TrainingError",
        ),
        "tintype.pipeline.run": ("Run",),
        "tintype.pipeline.settings": ("Settings",),
        "tintype.pipeline.stable_diffusion": ("StableDiffusion",),
        "tintype.types": ("Conditioning", "Step"),
    },
)
