"""The text that AUTOMATIC1111's web UI writes into pictures, "parameters": built and read, to the letter.

    a red boat
    Negative prompt: night
    Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: ...

The rules are those of its ``modules/infotext_utils.py`` and ``create_infotext``: a prompt of any number of lines, the
negative one if there is one, and a last line of names and values. A value with a comma, a colon or a line break is
quoted as JSON quotes strings. What it stands for is the matter of ``a1111``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_LENGTH = 1_000_000
"""Characters of a text; what is longer was written by no web UI."""

NEGATIVE = "Negative prompt:"
LEAST_VALUES = 3  # a last line with fewer belongs to the prompt

# The web UI's own expression, with its first part held to the start of a run of such characters: it finds the same,
# in a time that grows with the length of the line and not with its square.
_PARAMETER = re.compile(r'(?<![\w \-/])[ \-/]*+(\w[\w \-/]++):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"^(\d+)x(\d+)$", re.ASCII)


@dataclass(frozen=True)
class Infotext:
    """What such a text says. Values are texts as they are written; "Size: 512x768" is "Size-1" and "Size-2"."""

    prompt: str
    negative_prompt: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


def build(prompt: str, negative_prompt: str | None, values: Mapping[str, object]) -> str:
    """The text of a picture. A value of None is left out; one that is equal to its name stands alone."""
    negative = f"\n{NEGATIVE} {negative_prompt}" if negative_prompt else ""
    there = ((name, value) for name, value in values.items() if value is not None)
    shown = (name if name == value else f"{name}: {quote(value)}" for name, value in there)
    return f"{prompt}{negative}\n{', '.join(shown)}".strip()


def parse(text: str) -> Infotext:
    """What a text says; one without a last line of values is all prompt."""
    *lines, last = text[:MAX_LENGTH].strip().split("\n")
    found = _PARAMETER.findall(last)
    if len(found) < LEAST_VALUES:
        lines.append(last)
        found = []
    parts: dict[bool, list[str]] = {False: [], True: []}
    negative = False
    for line in lines:
        line = line.strip()
        if line.startswith(NEGATIVE):
            negative = True
            line = line[len(NEGATIVE) :].strip()
        if line or parts[negative]:  # empty lines before the first words do not count
            parts[negative].append(line)
    values: dict[str, str] = {}
    for name, value in found:
        value = unquote(value)
        if size := _SIZE.match(value):
            values[f"{name}-1"], values[f"{name}-2"] = size.groups()
        elif value:
            values[name] = value
    return Infotext("\n".join(parts[False]), "\n".join(parts[True]), values)


def has_values(text: str) -> bool:
    """Whether a text ends in a line of values, as the web UI's do."""
    return len(_PARAMETER.findall(text[:MAX_LENGTH].strip().rsplit("\n", 1)[-1])) >= LEAST_VALUES


def quote(value: object) -> object:
    """A value as it stands in the text."""
    if not {",", "\n", ":"} & set(str(value)):
        return value
    return json.dumps(value, ensure_ascii=False)


def unquote(text: str) -> str:
    """A value as it was before ``quote``; a text that is not quoted, or badly, as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str) else text


def parse_pairs(text: str) -> dict[str, str]:
    """The value of "Lora hashes" and "TI hashes": ``name: hash, name: hash``."""
    pairs = (pair.rpartition(":") for pair in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip() and value.strip()}
