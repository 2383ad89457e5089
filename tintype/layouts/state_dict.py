"""Where among the objects of a training program's file the weights are: the innermost state dict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")  # in this order
MAX_DEPTH = 8
MAX_VISITS = 1_000_000
MAX_NAME = 1_000  # the longest real one has 100 letters
MAX_VALUE = 1_000

Stored = TypeVar("Stored")


def find_state_dict(tree: object, kind: type[Stored]) -> tuple[dict[str, Stored], list[dict[Any, Any]]]:
    """The tensors (objects of ``kind``) by dotted names, and the dicts that were around them, outermost first.

    Raises ``ValueError`` where there are no tensors.
    """
    around: list[dict[Any, Any]] = []
    level = tree
    while isinstance(level, dict) and len(around) < MAX_DEPTH:
        around.append(level)
        if any(isinstance(value, kind) for value in level.values()):
            break
        inner = next((level[key] for key in WRAPPERS if isinstance(level.get(key), dict) and level[key]), None)
        if inner is None:
            break
        level = inner
    stored: dict[str, Stored] = {}
    if isinstance(level, dict):
        stored = dict(_flat(level, kind))
    if not stored:
        raise ValueError(f"there are no named tensors in it, it holds {_what(tree)}")
    return stored, around


def small_values(levels: list[dict[Any, Any]]) -> dict[str, str]:
    """The numbers and short texts of dicts, the outermost one's first choice, as text."""
    return {
        key: str(value)
        for level in reversed(levels)
        for key, value in level.items()
        if type(key) is str and len(key) <= MAX_VALUE and _is_small(value)
    }


def _is_small(value: object) -> bool:
    return type(value) in (int, float, bool) or (type(value) is str and len(value) <= MAX_VALUE)


def _flat(level: dict[Any, Any], kind: type[Stored]) -> Iterator[tuple[str, Stored]]:
    """(dotted name, tensor). Dicts may hold each other in any way, so that the visits are counted."""
    todo: list[tuple[str, Iterator[tuple[Any, Any]]]] = [("", iter(level.items()))]
    found: set[str] = set()
    for _ in range(MAX_VISITS):
        if not todo:
            return
        prefix, items = todo[-1]
        item = next(items, None)
        if item is None:
            todo.pop()
            continue
        key, value = item
        if type(key) is not str:
            continue
        name = f"{prefix}{key}"
        if isinstance(value, (kind, dict)) and len(name) > MAX_NAME:
            raise ValueError(f"a tensor's name is over {MAX_NAME:,} letters long: {name[:60]!r}...")
        if isinstance(value, kind):
            if name in found:
                raise ValueError(f"two tensors are named {name!r}")
            found.add(name)
            yield name, value
        elif isinstance(value, dict) and len(todo) < MAX_DEPTH:
            todo.append((f"{name}.", iter(value.items())))
    raise ValueError("its dicts hold each other without end")


def _what(tree: object) -> str:
    if isinstance(tree, dict):
        keys = [str(key)[:40] for key in list(tree)[:6] if type(key) in (str, int)]
        return f"a dict of {len(tree)} entries ({', '.join(keys)})"
    return f"{tree!r}"[:100] if type(tree).__name__ == "Record" else f"a {type(tree).__name__}"
