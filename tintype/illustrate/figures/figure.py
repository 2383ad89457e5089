"""A figure: something drawn from recorded data, with a caption and a description made of the same numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from tintype.illustrate.figures.html import div, element
from tintype.illustrate.figures.ink import Film, sheets


@dataclass(frozen=True)
class Figure:
    """What a figure function gives. In a notebook it shows itself.

    Attributes:
        name: its anchor in the page.
        body: what is drawn, as HTML or SVG.
        caption: what is to be seen, in words and live numbers.
        alt: the same for those who cannot see it.
        article: the figures of "The Illustrated Stable Diffusion" that it draws anew.
        numbers: what ``--json`` writes of it.
        data: what the page's script needs of it.
        films: the sheets of frames that its windows show, by name; figures share them.
        wide: whether it wants the whole width of the page.
    """

    name: str
    body: Markup
    caption: Markup
    alt: str
    article: tuple[int, ...] = ()
    numbers: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    films: dict[str, Film] = field(default_factory=dict)
    wide: bool = False

    def __html__(self) -> str:
        """The figure as a part of the page; templates call this."""
        return element(
            "figure",
            div("drawing", self.body, role="group", aria_label=self.alt),
            element("figcaption", self.caption),
            id=self.name,
            class_="wide" if self.wide else None,
            data_article=" ".join(map(str, self.article)) or None,
        )

    def _repr_html_(self) -> str:
        style = files("tintype.illustrate").joinpath("templates", "figures.css").read_text(encoding="utf-8")
        return str(div("tintype", element("style", Markup(style)), sheets(self.films), self))
