"""Tintype: Stable Diffusion that shows its work.

    import tintype
    sd = tintype.load()
    sd.text2img("paradise cosmic beach", seed=7).images[0].save("beach.png")

The names are imported when they are first used, so that ``import tintype`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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


_ERRORS = (
    "CheckpointError",
    "ImageError",
    "MissingExtraError",
    "NotFiniteError",
    "SettingsError",
    "TintypeError",
    "TrainingError",
)
_HOMES = {
    "again": "tintype.checkpoints.again",
    "load": "tintype.checkpoints.load",
    "Conditioning": "tintype.types",
    "Run": "tintype.pipeline.run",
    "Settings": "tintype.pipeline.settings",
    "StableDiffusion": "tintype.pipeline.stable_diffusion",
    "Step": "tintype.types",
    **dict.fromkeys(_ERRORS, "tintype.errors"),
}

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


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tintype' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # the next time it is there
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
