"""The whole system as one drawing, with this model's shapes: our own answer to Figure 3 of the paper (2112.10752)."""

from __future__ import annotations

from markupsafe import Markup

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element
from tintype.illustrate.recording import Recording
from tintype.illustrate.strings import Strings, strings

WIDTH, HEIGHT = 920, 400


def anatomy(recording: Recording, words: Strings | None = None) -> Figure:
    """Pixel space, latent space and conditioning, with the U between, its skips, and where text enters."""
    s = words or strings()
    width, height = recording.image.size
    pixels, latents = say.shape((3, height, width)), say.shape(recording.latents.shape)
    context = "–" if recording.context is None else say.shape(recording.context.shape)
    levels = sorted({layer.level for layer in recording.layers}) or [0, 1]
    attended = {layer.level for layer in recording.layers if layer.kind == "cross-attention"}
    parts = [
        _room(10, 40, 150, 330, "orange", s.text("anatomy.pixels")),
        _room(180, 40, 520, 330, "pink", s.text("anatomy.latents")),
        _room(720, 40, 190, 330, "blue", s.text("anatomy.conditioning")),
        _box(35, 95, 100, 50, "gold", s.text("anatomy.encoder")),
        _box(35, 265, 100, 50, "gold", s.text("anatomy.decoder")),
        _text(85, 80, pixels),
        _text(85, 340, pixels),
        _line(135, 120, 210, 120),
        _text(195, 110, "z"),
        _box(212, 98, 220, 44, "mint", s.text("anatomy.diffusion", steps=recording_times(recording))),
        _line(432, 120, 480, 120),
        _text(505, 124, "z_T  " + latents, "start"),
        _line(660, 130, 660, 190, ""),
        _line(210, 290, 135, 290),
        _text(172, 282, "z"),
        _box(735, 95, 160, 50, "blue", s.text("anatomy.text")),
        _text(815, 165, context),
        _text(815, 185, f"“{_short(recording.prompt)}”", "middle", "prompt"),
    ]
    parts += _unet(levels, attended, latents, s)
    svg = element(
        "svg",
        element("title", s.text("anatomy.alt_short")),
        element("defs", element("marker", element("path", d="M0 0L8 4L0 8z"), id="tip", viewBox="0 0 8 8", refX=7, refY=4,
                                markerWidth=7, markerHeight=7, orient="auto-start-reverse", class_="tip")),
        *parts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="anatomy",
        role="img",
    )  # fmt: skip
    values = {
        "pixels": pixels,
        "latents": latents,
        "context": context,
        "attentions": sum(layer.kind == "cross-attention" for layer in recording.layers),
        "skips": len(recording.skips),
        "steps": len(recording.steps),
    }
    return Figure(
        "anatomy", div("scroll", svg), s.rich("anatomy.caption", **values), s.text("anatomy.alt", **values), (24,), values,
        wide=True,
    )  # fmt: skip


def recording_times(recording: Recording) -> int:
    """How many noise levels the network was taught: one more than the largest that it is told."""
    return max(1000, int(max(step.timestep for step in recording.steps)) + 1)


def _unet(levels: list[int], attended: set[int], latents: str, s: Strings) -> list[Markup]:
    """The U as falling and rising bars, skip lines between, the text's lines to the levels that look at it."""
    n = len(levels)
    left, right, top, bottom = 225, 655, 200, 345
    parts = [_text((left + right) / 2, 352, f"UNet · {latents}", "middle", "label")]
    step_x, step_y = min(34, 150 / n), min(22, 90 / n)
    for index, level in enumerate(levels):
        h = bottom - 25 - top - index * step_y * 1.1
        y = top + index * step_y * 0.75
        colour = "purple" if level in attended else "pink"
        for x in (left + index * step_x, right - 24 - index * step_x):
            parts.append(element("rect", x=f"{x:.0f}", y=f"{y:.0f}", width=24, height=f"{h:.0f}", rx=3, class_=f"bar {colour}"))
        y_skip = y + 9
        parts.append(_line(left + index * step_x + 26, y_skip, right - 26 - index * step_x, y_skip, "skip"))
        if level in attended:
            x = right - 12 - index * step_x
            parts.append(
                element("path", d=f"M735 {208 + 7 * index}H{x:.0f}V{y - 1:.0f}", class_="textline", marker_end="url(#tip)")
            )
    middle = (left + right) / 2
    y = top + n * step_y * 0.75
    parts.append(element("rect", x=f"{middle - 40:.0f}", y=f"{y + 14:.0f}", width=80, height=22, rx=3, class_="bar purple"))
    parts.append(_text(middle, y + 29, "Q K V", "middle", "tiny"))
    parts.append(_line(220, 270, 212, 290, ""))
    return parts


def _room(x: float, y: float, width: float, height: float, colour: str, name: str) -> Markup:
    room = element("rect", x=x, y=y, width=width, height=height, rx=14, class_=f"room {colour}")
    return element("g", room, element("text", name, x=x + 12, y=y - 12, class_=f"room-name {colour}"))


def _box(x: float, y: float, width: float, height: float, colour: str, name: str) -> Markup:
    box = element("rect", x=x, y=y, width=width, height=height, rx=8, class_=f"box {colour}")
    return element("g", box, _text(x + width / 2, y + height / 2 + 5, name, "middle", "label"))


def _text(x: float, y: float, text: str, anchor: str = "middle", class_: str = "") -> Markup:
    return element("text", text, x=f"{x:.0f}", y=f"{y:.0f}", text_anchor=anchor, class_=class_ or None)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str = "flow-line") -> Markup:
    line = {"x1": f"{x1:.0f}", "y1": f"{y1:.0f}", "x2": f"{x2:.0f}", "y2": f"{y2:.0f}"}
    return element("line", **line, class_=class_ or "flow-line", marker_end="url(#tip)")


def _short(prompt: str, most: int = 22) -> str:
    return prompt if len(prompt) <= most else prompt[: most - 1] + "…"
