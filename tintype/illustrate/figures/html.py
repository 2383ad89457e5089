"""HTML as nested calls. Whatever is not ``Markup`` is escaped, so that no prompt becomes part of the page's code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup, escape

VOID = frozenset({"img", "input", "image", "rect", "line", "path", "circle", "polyline", "br"})
"""Elements without contents."""


def element(tag: str, /, *children: Any, **attributes: Any) -> Markup:
    """``<name attribute="value">children</name>``.

    Underscores stand for hyphens and one at the end is dropped (``class_``, ``aria_label``). An attribute that is None
    or False is left out, True is one without a value. Children may be Markup, text, numbers, None, or lists of these.
    """
    parts = [f"<{tag}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = key.rstrip("_").replace("_", "-")
        parts.append(f" {label}" if value is True else f' {label}="{escape(value)}"')
    if tag in VOID:
        return Markup("".join(parts) + ("/>" if tag not in ("img", "input", "br") else ">"))
    parts.append(">")
    return Markup("".join(parts)) + join(children) + Markup(f"</{tag}>")


def join(children: Iterable[Any]) -> Markup:
    """Children one behind the other, escaped where they are not Markup."""
    out = Markup("")
    for child in children:
        if child is None:
            continue
        out += join(child) if isinstance(child, list | tuple) else escape(child)
    return out


def div(class_: str, /, *children: Any, **attributes: Any) -> Markup:
    """A ``div`` of a class."""
    return element("div", *children, class_=class_, **attributes)


def span(class_: str, /, *children: Any, **attributes: Any) -> Markup:
    """A ``span`` of a class."""
    return element("span", *children, class_=class_, **attributes)
