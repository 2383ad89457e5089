r"""Emphasis in prompts: which words should count more, or less, and what that does to their features.

There are two dialects in the world, and two ways to use the weights.

**A1111's web UI**: ``(word)`` counts 1.1 times, ``[word]`` 1 / 1.1 times, ``(word:1.3)`` 1.3 times; brackets multiply
where they nest; ``\(`` is a bracket; ``BREAK`` starts a new chunk. Features are multiplied by the weights, and then
scaled so that their mean is what it was.

**ComfyUI**: ``(word)`` counts 1.1 times what is around it, ``(word:1.3)`` counts 1.3 times whatever is around it;
square brackets are text. Features move away from those of the empty prompt, or towards them, by the weight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Emphasis = Literal["a1111", "comfy"]

STRONGER = 1.1


@dataclass(frozen=True)
class Fragment:
    """A piece of a prompt and how much it should count. The text is tokenised by itself.

    ``breaks``: no text, but the end of a chunk.
    """

    text: str
    weight: float = 1.0
    breaks: bool = False


_A1111_PIECES = re.compile(
    r"""
    (?P<escaped>\\[()\[\]\\]) | (?P<lone>\\) | (?P<open>[(\[]) |
    (?P<weighted>:\s*(?P<weight>[+-]?[.\d]+)\s*\)) | (?P<close>[)\]]) | (?P<colon>:) | (?P<text>[^\\()\[\]:]+)
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


def a1111_fragments(prompt: str) -> list[Fragment]:
    """The fragments of a prompt in A1111's dialect. A bracket that is never closed counts to the end."""
    found: list[Fragment] = []
    opened: list[tuple[str, int]] = []  # each bracket that is open and how many fragments there were

    def weigh(bracket: str, factor: float) -> bool:
        """Close the innermost bracket of this kind: everything since counts ``factor`` times."""
        for place in range(len(opened) - 1, -1, -1):
            if opened[place][0] == bracket:
                _, start = opened.pop(place)
                found[start:] = [
                    each if each.breaks else Fragment(each.text, each.weight * factor) for each in found[start:]
                ]
                return True
        return False

    for piece in _A1111_PIECES.finditer(prompt):
        kind, text = piece.lastgroup, piece.group()
        if kind == "escaped":
            found.append(Fragment(text[1]))
        elif kind == "open":
            opened.append((text, len(found)))
        elif piece["weighted"] is not None:
            factor = _number(piece["weight"])
            if factor is None or not weigh("(", factor):
                found.append(Fragment(text))
        elif kind == "close":
            if not weigh(*(("(", STRONGER) if text == ")" else ("[", 1 / STRONGER))):
                found.append(Fragment(text))
        else:
            first, *rest = _BREAK.split(text)
            found.append(Fragment(first))
            for part in rest:
                found += [Fragment("", breaks=True), Fragment(part)]
    while opened:
        bracket = opened[-1][0]
        weigh(bracket, STRONGER if bracket == "(" else 1 / STRONGER)
    return _merged(found)


def comfy_fragments(prompt: str) -> list[Fragment]:
    """The fragments of a prompt in ComfyUI's dialect: ``(text:weight)`` sets a weight, ``(text)`` raises it."""
    hidden = prompt.replace(r"\(", "\0").replace(r"\)", "\1")
    stack: list[list[Fragment]] = [[]]
    for piece in re.findall(r"[()]|[^()]+", hidden):
        if piece == "(":
            stack.append([])
        elif piece == ")" and len(stack) > 1:
            inner = stack.pop()
            stack[-1] += _comfy_group(inner)
        else:
            stack[-1].append(Fragment(piece))
    while len(stack) > 1:  # a bracket that is never closed is text
        inner = stack.pop()
        stack[-1] += [Fragment("("), *inner]
    shown = (Fragment(f.text.replace("\0", "(").replace("\1", ")"), f.weight) for f in stack[0])
    return _merged(shown)


def _comfy_group(inner: list[Fragment]) -> list[Fragment]:
    """What stood between two brackets. An inner weight that was set stays, one that was raised is raised again."""
    last = inner[-1] if inner else Fragment("")
    text, colon, number = last.text.rpartition(":")
    stated = colon and (text or len(inner) > 1) and not isinstance(last, _Set)
    weight = _number(number) if stated else None
    if weight is None:
        return [f if isinstance(f, _Set) else Fragment(f.text, f.weight * STRONGER) for f in inner]
    body = [*inner[:-1], Fragment(text, last.weight)]
    return [f if isinstance(f, _Set) else _Set(f.text, f.weight * weight) for f in body]


class _Set(Fragment):
    """A fragment whose weight no bracket around it changes any more."""


FRAGMENTS: dict[str, Callable[[str], list[Fragment]]] = {"a1111": a1111_fragments, "comfy": comfy_fragments}


def plain(prompt: str, emphasis: Emphasis = "a1111") -> str:
    """The prompt's words without the signs around them."""
    return "".join(" " if fragment.breaks else fragment.text for fragment in FRAGMENTS[emphasis](prompt))


_NOT_UNDERSTOOD = (
    (re.compile(r"\[[^\[\]]*\|[^\[\]]*\]"), "[a|b] (alternation)"),
    (re.compile(r"\[[^\[\]]*:\s*[\d.]+\s*\]"), "[a:b:0.5] (a change of prompt on the way)"),
    (re.compile(r"\bAND\b"), "AND (several prompts at once)"),
)


def notices(prompt: str, emphasis: Emphasis) -> tuple[str, ...]:
    """What of A1111's syntax is taken as ordinary text."""
    if emphasis != "a1111":
        return ()
    seen = [name for pattern, name in _NOT_UNDERSTOOD if pattern.search(prompt)]
    return (f"Taken as ordinary words: {', '.join(seen)}.",) if seen else ()


def multiplied(features: Tensor, weights: Tensor) -> Tensor:
    """A1111's arithmetic: features (n s d) times weights (n s), with the mean of each chunk (s d) restored.

    A mean of 0, which an encoder's last normalisation gives before it has learnt, cannot be restored.
    """
    weighted = features * weights[..., None]
    before, after = (each.float().mean(dim=(1, 2), keepdim=True) for each in (features, weighted))  # (n 1 1)
    return weighted * (before / after).where(after != 0, 1.0).to(features.dtype)


def moved_from(features: Tensor, weights: Tensor, empty: Tensor) -> Tensor:
    """ComfyUI's arithmetic: away from the empty prompt's features (1 s d) by weights (n s)."""
    return (features - empty) * weights[..., None] + empty


def _merged(fragments: Iterable[Fragment]) -> list[Fragment]:
    """Neighbours of one weight as one fragment, without empty ones."""
    merged: list[Fragment] = []
    for each in fragments:
        if each.breaks:
            merged.append(each)
        elif not each.text:
            continue
        elif merged and not merged[-1].breaks and merged[-1].weight == each.weight:
            merged[-1] = Fragment(merged[-1].text + each.text, each.weight)
        else:
            merged.append(Fragment(each.text, each.weight))
    return merged


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e6 else None  # NaN compares false, too
