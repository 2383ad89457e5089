"""The whole system as one drawing, with this model's shapes: our own answer to Figure 3 of the paper (2112.10752)."""

from __future__ import annotations

from markupsafe import Markup

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element
from tintype.illustrate.recording import Recording
from tintype.illustrate.strings import Strings, strings

WIDTH = 980
LEFT, RIGHT = 222, 722
"""Of the U, between the decoder and the conditioning."""

TOP, ROW = 196, 46
SIDE = 116
"""The width of a level's block."""


def anatomy(recording: Recording, words: Strings | None = None) -> Figure:
    """Pixel space, latent space and conditioning, with the U between, its skips, and where text enters."""
    s = words or strings()
    width, height = recording.image.size
    pixels, latents = say.shape((3, height, width)), say.shape(recording.latents.shape)
    context = "–" if recording.context is None else say.shape(recording.context.shape)
    times = max(1000, int(max(step.timestep for step in recording.steps)) + 1)
    bottom = TOP + ROW * (len(_levels(recording)) + 1)
    height_of_rooms = bottom + 40
    parts = [
        _room(8, 34, 158, height_of_rooms, "orange", s.text("anatomy.pixels")),
        _room(182, 34, 580, height_of_rooms, "pink", s.text("anatomy.latents")),
        _room(778, 34, 194, height_of_rooms, "blue", s.text("anatomy.conditioning")),
        _box(28, 74, 118, 50, "gold", s.text("anatomy.encoder")),
        _text(87, 62, pixels),
        _line(146, 99, 218, 99),
        _box(220, 76, 220, 46, "mint", s.text("anatomy.diffusion", steps=times)),
        _text(200, 90, "z"),
        _line(440, 99, 640, 99),
        _text(540, 90, latents),
        _text(656, 103, "z_T", "start", "label"),
        element("path", d=f"M668 112V150H{LEFT + SIDE / 2}V{TOP - 6}", class_="flow-line", marker_end="url(#tip)"),
        _text(450, 143, s.text("opening.loop", steps=len(recording.steps)), "middle", "label"),
        _box(28, bottom - 16, 118, 50, "gold", s.text("anatomy.decoder")),
        _text(87, bottom + 54, pixels),
        element(
            "path",
            d=f"M{RIGHT - SIDE / 2} {TOP - 6}V168H{RIGHT + 22}V{bottom + 52}H200V{bottom + 9}H152",
            class_="flow-line faint",
            marker_end="url(#tip)",
        ),
        _box(796, 74, 158, 50, "blue", s.text("anatomy.text")),
        _text(875, 146, context),
        _text(875, 168, f"“{_short(recording.prompt)}”", "middle", "prompt"),
    ]
    tip = element("path", d="M0 0L8 4L0 8z", class_="tip")
    head = element(
        "marker", tip, id="tip", viewBox="0 0 8 8", refX=7, refY=4, markerWidth=7, markerHeight=7, orient="auto"
    )
    svg = element(
        "svg",
        element("title", s.text("anatomy.alt_short")),
        element("defs", head),
        *parts,
        *_unet(recording, s),
        viewBox=f"0 0 {WIDTH} {height_of_rooms + 44}",
        class_="anatomy",
        role="img",
    )
    values = {
        "pixels": pixels,
        "latents": latents,
        "context": context,
        "attentions": sum(layer.kind == "cross-attention" for layer in recording.layers),
        "skips": len(recording.skips),
        "steps": len(recording.steps),
    }
    caption, alt = s.rich("anatomy.caption", **values), s.text("anatomy.alt", **values)
    return Figure("anatomy", div("scroll", svg), caption, alt, (24,), values, wide=True)


def _levels(recording: Recording) -> list[tuple[str, bool]]:
    """Each level of the U from the finest: the shape of its features, and whether text enters there."""
    found = []
    for level in sorted({layer.level for layer in recording.layers if layer.part == "down"}):
        here = [layer for layer in recording.layers if layer.level == level]
        shapes = [layer.shape for layer in here if layer.kind == "resnet" and layer.part == "down"]
        found.append((say.shape(shapes[0]) if shapes else "", any(layer.kind == "cross-attention" for layer in here)))
    return found or [(say.shape(recording.latents.shape), recording.context is not None)]


def _unet(recording: Recording, s: Strings) -> list[Markup]:
    """The U: a block for each level on the way down and on the way up, skips across, text from the right."""
    levels = _levels(recording)
    inset = min(46, 118 / len(levels))
    parts = []
    for index, (shape, seen) in enumerate(levels):
        y, colour = TOP + index * ROW, "purple" if seen else "pink"
        left, right = LEFT + index * inset, RIGHT - SIDE - index * inset
        for x in (left, right):
            parts += [
                element("rect", x=x, y=y, width=SIDE, height=32, rx=7, class_=f"bar {colour}"),
                _text(x + SIDE / 2, y + 21, shape),
            ]
        parts.append(_line(left + SIDE + 4, y + 16, right - 5, y + 16, "skip"))
        if index == 0:
            parts.append(_text((left + right + SIDE) / 2, y + 10, s.text("anatomy.skip"), "middle", "small"))
        following = inset if index + 1 < len(levels) else (LEFT + RIGHT) / 2 - 75 - left
        parts.append(
            _line(
                left + SIDE / 2 + following / 2, y + 33, left + SIDE / 2 + following / 2, y + ROW - 2, "flow-line thin"
            )
        )
        parts.append(
            _line(
                right + SIDE / 2 - following / 2,
                y + ROW - 1,
                right + SIDE / 2 - following / 2,
                y + 35,
                "flow-line thin",
            )
        )
        if seen:
            parts.append(_line(796, y + 16, right + SIDE + 4, y + 16, "textline"))
            parts.append(element("path", d=f"M875 178V{y + 16}H796", class_="textline bare"))
    y = TOP + len(levels) * ROW
    seen = any(layer.part == "mid" and layer.kind == "cross-attention" for layer in recording.layers)
    x = (LEFT + RIGHT) / 2 - 75
    mid = [layer.shape for layer in recording.layers if layer.part == "mid" and layer.kind == "resnet"]
    parts.append(element("rect", x=x, y=y, width=150, height=32, rx=7, class_=f"bar {'purple' if seen else 'pink'}"))
    parts.append(_text(x + 75, y + 21, say.shape(mid[0]) if mid else ""))
    if seen:
        parts.append(_line(796, y + 16, x + 155, y + 16, "textline"))
        parts.append(element("path", d=f"M875 178V{y + 16}H796", class_="textline bare"))
        parts.append(_text(875, y + 40, s.text("anatomy.enters"), "middle", "small blue"))
    return parts


def _room(x: float, y: float, width: float, height: float, colour: str, name: str) -> Markup:
    room = element("rect", x=x, y=y, width=width, height=height, rx=14, class_=f"room {colour}")
    return element("g", room, element("text", name, x=x + 6, y=y - 11, class_=f"room-name {colour}"))


def _box(x: float, y: float, width: float, height: float, colour: str, name: str) -> Markup:
    box = element("rect", x=x, y=y, width=width, height=height, rx=9, class_=f"box {colour}")
    return element("g", box, _text(x + width / 2, y + height / 2 + 5, name, "middle", "label"))


def _text(x: float, y: float, text: str, anchor: str = "middle", class_: str = "") -> Markup:
    return element("text", text, x=f"{x:.0f}", y=f"{y:.0f}", text_anchor=anchor, class_=class_ or None)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str = "flow-line") -> Markup:
    line = {"x1": f"{x1:.0f}", "y1": f"{y1:.0f}", "x2": f"{x2:.0f}", "y2": f"{y2:.0f}"}
    return element("line", **line, class_=class_, marker_end="url(#tip)")


def _short(prompt: str, most: int = 22) -> str:
    return prompt if len(prompt) <= most else prompt[: most - 1] + "…"
