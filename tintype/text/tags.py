"""``<lora:name:0.8>`` in prompts, as A1111's web UI has it: which adapters a prompt asks for."""

from __future__ import annotations

import re

from tintype.errors import SettingsError

_TAG = re.compile(r"<lora:([^<>]*)>", re.IGNORECASE)
EXPECTED = "expected <lora:name> or <lora:name:0.8>"


def split_loras(prompt: str) -> tuple[str, tuple[tuple[str, float], ...]]:
    """The prompt without its tags, and (name, strength) of each tag; without a number the strength is 1.

    Raises ``SettingsError`` for a tag that is not understood, also for one with a strength for each network.
    """
    found: list[tuple[str, float]] = []
    for tag in _TAG.finditer(prompt):
        name, *numbers = (part.strip() for part in tag[1].split(":"))
        try:
            strengths = [float(number) for number in numbers]
        except ValueError:
            strengths = [0.0, 0.0]
        if not name or len(strengths) > 1 or not all(abs(strength) < 1e6 for strength in strengths):
            raise SettingsError(f"The prompt has {tag[0]!r}, which is not understood; {EXPECTED}.")
        found.append((name, strengths[0] if strengths else 1.0))
    return _TAG.sub("", prompt) if found else prompt, tuple(found)
