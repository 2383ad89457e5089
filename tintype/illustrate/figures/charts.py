"""Curves, bars and matrices as SVG. Colours come from the page's style, by class."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from torch import Tensor

from tintype.illustrate.figures.html import element
from tintype.illustrate.figures.ink import ramp
from tintype.illustrate.figures.numbers import number

WIDTH, HEIGHT = 640, 150


def curves(
    series: Sequence[tuple[str, str, Sequence[float]]],
    *,
    alt: str,
    height: int = HEIGHT,
    band: tuple[int, int] | None = None,
    marker: bool = False,
) -> Markup:
    """Lines of (label, colour, values) over one axis of steps, each scaled to its own largest value.

    ``band`` shades a run of steps; ``marker`` adds a line that the script moves along with the step.
    """
    length = max(len(values) for _, _, values in series)
    left, right, top, bottom = 6, WIDTH - 6, 10, height - 8

    def x(index: float) -> float:
        return left + (right - left) * (index + 0.5) / length

    parts = []
    if band is not None:
        start, end = x(band[0] - 0.5), x(band[1] + 0.5)
        parts.append(element("rect", x=f"{start:.1f}", y=0, width=f"{end - start:.1f}", height=height, class_="band"))
    parts.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    for label, colour, values in series:
        largest = max(map(abs, values)) or 1.0
        points = " ".join(f"{x(i):.1f},{bottom - (bottom - top) * v / largest:.1f}" for i, v in enumerate(values))
        parts.append(element("polyline", points=points, class_=f"curve {colour}", data_label=label))
    if marker:
        parts.append(element("line", x1=x(0), x2=x(0), y1=0, y2=height, class_="marker", data_marker=length))
    return element(
        "svg",
        element("title", alt),
        *parts,
        viewBox=f"0 0 {WIDTH} {height}",
        class_="chart",
        role="img",
        preserveAspectRatio="none",
    )


def bars(rows: Sequence[tuple[str, str, float]], *, digits: int = 3, unit: str = "") -> Markup:
    """Rows of (label, colour, value), each a bar as long as its share of the largest, with its number."""
    largest = max((value for _, _, value in rows), default=0) or 1.0
    lines = []
    for label, colour, value in rows:
        bar = element(
            "svg",
            element("rect", width=f"{100 * value / largest:.2f}", height=10, rx=1.5, class_=f"fill {colour}"),
            viewBox="0 0 100 10",
            preserveAspectRatio="none",
            aria_hidden="true",
        )
        lines.append(
            element(
                "tr", element("th", label, scope="row"), element("td", bar), element("td", number(value, digits) + unit)
            )
        )
    return element("table", element("tbody", lines), class_="bars")


def matrix(
    values: Tensor, rows: Sequence[str], columns: Sequence[str], *, alt: str, ends: tuple[float, float] | None = None
) -> Markup:
    """A small matrix (n m) as a table, its cells coloured in blue from the least to the largest value, or ``ends``."""
    table = values.detach().float()
    least, largest = ends or (float(table.min()), float(table.max()))
    shades = ramp(((table - least) / ((largest - least) or 1)).numpy(), "blue")  # (n m 3)
    show = table.shape[1] <= 14
    head = element("tr", element("td"), [element("th", name, scope="col") for name in columns])
    lines = [head]
    for name, numbers, colours in zip(rows, table.tolist(), shades.tolist(), strict=True):
        cells = [
            element("td", _square(colour), element("span", f"{value:.2f}" if show else "", class_=_ink(colour)))
            for value, colour in zip(numbers, colours, strict=True)
        ]
        lines.append(element("tr", element("th", name, scope="row"), cells))
    return element("table", element("caption", alt, class_="hidden"), element("tbody", lines), class_="matrix")


def _square(colour: Sequence[int]) -> Markup:
    """A cell's ground. An SVG, since the page forbids styles on elements."""
    fill = "rgb({},{},{})".format(*colour)
    return element(
        "svg",
        element("rect", width=1, height=1, fill=fill),
        viewBox="0 0 1 1",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _ink(colour: Sequence[int]) -> str:
    red, green, blue = colour
    return "on-light" if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else "on-dark"
