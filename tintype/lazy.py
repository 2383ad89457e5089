"""Names of a package that are imported when they are first used (PEP 562): torch takes seconds."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazily(package: str, names: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package. ``names``: the public ones, by the module that each is in.

    No name may be that of its module: whoever imported the module first would get that instead.
    """
    homes = {name: module for module, those in names.items() for name in those}
    assert all(f"{package}.{name}" not in names for name in homes)

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)  # the next time it is there
        return value

    return get, lambda: sorted(homes)
