"""Where among the objects of a training program's file the weights are: the innermost state dict."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from tintype.layouts.pickle_machine import Record
from tintype.layouts.stored_tensors import StoredTensor

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")  # in this order
MAX_DEPTH = 16  # a whole SD 1 as modules has 12
MAX_VISITS = 1_000_000
MAX_NAME = 1_000  # the longest real one has 100 letters
MAX_VALUE = 1_000

Items = Iterator[tuple[object, object]]


def find_state_dict(tree: object) -> tuple[dict[str, StoredTensor], list[dict]]:
    """The tensors by dotted names, and the dicts that were around them, outermost first.

    Raises ``ValueError`` where there are no tensors.
    """
    around: list[dict] = []
    level = tree
    while isinstance(level, dict) and len(around) < MAX_DEPTH:
        around.append(level)
        if any(isinstance(value, StoredTensor) for value in level.values()):
            break
        inner = [level[key] for key in WRAPPERS if key in level and next(items_of(level[key]), None) is not None]
        if not inner:
            break
        level = inner[0]
    stored = dict(_flat(level))
    if not stored:
        raise ValueError(f"there are no named tensors in it, it holds {_what(tree)}")
    return stored, around


def items_of(value: object) -> Items:
    """The (key, value) pairs of a dict, of an object of a class made from dict, or of a module that was saved whole.

    Anything else has none. A ``torch.nn.ParameterDict`` is such a module: old textual inversions keep theirs in one.
    """
    if isinstance(value, dict):
        return iter(value.items())
    if isinstance(value, Record):
        if isinstance(value.state, dict) and "_parameters" in value.state:
            parts = (value.state.get(name) for name in ("_parameters", "_buffers", "_modules"))
            return chain.from_iterable(part.items() for part in parts if isinstance(part, dict))
        return iter(value.entries or ())
    return iter(())


def small_values(levels: list[dict]) -> dict[str, str]:
    """The numbers and short texts of dicts, the outermost one's first choice, as text."""
    return {
        key: str(value)
        for level in reversed(levels)
        for key, value in level.items()
        if type(key) is str and len(key) <= MAX_VALUE and _is_small(value)
    }


def _is_small(value: object) -> bool:
    return type(value) in (int, float, bool) or (type(value) is str and len(value) <= MAX_VALUE)


def _flat(tree: object) -> Iterator[tuple[str, StoredTensor]]:
    """(dotted name, tensor). Dicts may hold each other in any way, so that the visits are counted."""
    todo: list[tuple[str, Items]] = [("", items_of(tree))]
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
        if type(key) is not str or not isinstance(value, (StoredTensor, dict, Record)):
            continue
        name = f"{prefix}{key}"
        if len(name) > MAX_NAME:
            raise ValueError(f"a tensor's name is over {MAX_NAME:,} letters long: {name[:60]!r}...")
        if not isinstance(value, StoredTensor):
            if len(todo) < MAX_DEPTH:
                todo.append((f"{name}.", items_of(value)))
            continue
        if name in found:
            raise ValueError(f"two tensors are named {name!r}")
        found.add(name)
        yield name, value
    raise ValueError("its dicts hold each other without end")


def _what(tree: object) -> str:
    if isinstance(tree, dict):
        keys = [str(key)[:40] for key in list(tree)[:6] if type(key) in (str, int)]
        return f"a dict of {len(tree)} entries ({', '.join(keys)})"
    return f"{tree!r}"[:100] if isinstance(tree, Record) else f"a {type(tree).__name__}"
