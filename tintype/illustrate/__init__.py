"""From a live run to the illustrated article: what happened inside, for any prompt and any model.

    recorder = record(run)
    for step in run: ...
    recording = recorder.recording()

The names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tintype.illustrate.heat_maps import HeatMaps
    from tintype.illustrate.recording import Recording

_HOMES = {
    "HeatMaps": "tintype.illustrate.heat_maps",
    "Recording": "tintype.illustrate.recording",
}

__all__ = ["HeatMaps", "Recording"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tintype.illustrate' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # the next time it is there
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
