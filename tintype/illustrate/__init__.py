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
    from tintype.illustrate.decoding import decode_steps
    from tintype.illustrate.heat_maps import HeatMaps
    from tintype.illustrate.recorder import Recorder, record
    from tintype.illustrate.recording import Recording

_HOMES = {
    "HeatMaps": "tintype.illustrate.heat_maps",
    "Recorder": "tintype.illustrate.recorder",
    "Recording": "tintype.illustrate.recording",
    "decode_steps": "tintype.illustrate.decoding",
    "record": "tintype.illustrate.recorder",
}

__all__ = ["HeatMaps", "Recorder", "Recording", "decode_steps", "record"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tintype.illustrate' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # the next time it is there
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
