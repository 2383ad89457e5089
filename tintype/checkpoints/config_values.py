"""Reading a configuration file with open eyes: a value that we would have to ignore is an error that names it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tintype.errors import CheckpointError

MAX_CONFIG_BYTES = 1_000_000
INDEX = "model_index.json"
"""What makes a folder a model's: it says what the parts are."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. CheckpointError when there is none."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path} is {path.stat().st_size:,} bytes long; a configuration is not.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} should hold a JSON object, not a {type(content).__name__}.")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes an object as transformers and diffusers do: two spaces, sorted, a line at the end."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n")


def check_values(file: str, config: Mapping[str, Any], only: Mapping[str, Collection[Any]]) -> None:
    """CheckpointError where the file states a value that we do not compute. An absent key is its default."""
    for key, values in only.items():
        if key in config and config[key] not in values:
            expected = " or ".join(repr(value) for value in values)
            raise CheckpointError(f"{file}: {key} is {config[key]!r}, which is not supported; expected {expected}.")


def check_keys(file: str, config: Mapping[str, Any], known: Collection[str]) -> None:
    """CheckpointError where the file switches on something that we never heard of."""
    unknown = [
        key
        for key, value in config.items()
        if key not in known and not key.startswith("_") and value is not None and value is not False
    ]
    if unknown:
        stated = ", ".join(f"{key} = {config[key]!r}" for key in unknown)
        raise CheckpointError(f"{file} has keys that are not known: {stated}.")


def integer(file: str, config: Mapping[str, Any], key: str, default: int | None = None, least: int = 1) -> int:
    """A whole number."""
    value = config.get(key, default)
    if type(value) is not int or not least <= value < 2**24:
        raise CheckpointError(f"{file}: {key} is {value!r}; expected a whole number from {least}.")
    return value


def integers(
    file: str, config: Mapping[str, Any], key: str, count: int | None = None, default: Any = None
) -> tuple[int, ...]:
    """Whole numbers, one for each of ``count`` levels; a single number stands for all of them."""
    value = config.get(key, default)
    if type(value) is int and count is not None:
        value = [value] * count
    if not isinstance(value, list) or not 1 <= len(value) <= 16 or (count is not None and len(value) != count):
        raise CheckpointError(f"{file}: {key} is {value!r}; expected a whole number for each level.")
    return tuple(integer(file, {key: item}, key) for item in value)


def number(file: str, config: Mapping[str, Any], key: str, default: float) -> float:
    """A number above 0."""
    value = config.get(key, default)
    if type(value) not in (int, float) or not 0 < value < float("inf"):
        raise CheckpointError(f"{file}: {key} is {value!r}; expected a number above 0.")
    return float(value)
