"""The parts: what goes in and out of text encoder, information creator and decoder. The article's figures 1 to 10."""

from __future__ import annotations

from markupsafe import Markup
from PIL import Image

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element, join, span
from tintype.illustrate.figures.ink import channels, picture, strip
from tintype.illustrate.recording import PartFacts, Recording
from tintype.illustrate.strings import Strings, strings

DEPTHS = 5
"""How far the box can be opened."""

PICTURE_BYTES = 36_000
"""The most that one shown picture takes."""


def arrow(label: str | None = None, *, below: str | None = None, class_: str = "") -> Markup:
    """An arrow to what comes next; it points down where the page is narrow."""
    return div(f"arrow {class_}".strip(), span("what", label), span("shaft", aria_hidden="true"), span("below", below))


def note(text: str) -> Markup:
    """A prompt on a slip of paper."""
    return div("note", element("p", text if text.strip() else "∅"))


def first_sight(recording: Recording, words: Strings | None = None) -> Figure:
    """Words go in, a picture comes out."""
    s = words or strings()
    body = div(
        "flow",
        note(recording.prompt),
        arrow(),
        div("machine", element("strong", "Stable Diffusion"), element("small", recording.model_name)),
        arrow(),
        picture(recording.image, s.text("alt.result", prompt=recording.prompt), class_="result", most=PICTURE_BYTES),
    )
    values = {"prompt": recording.prompt, "seed": recording.seed, "size": say.shape(recording.image.size)}
    return Figure(
        "first-sight", body, s.rich("first_sight.caption", **values), s.text("first_sight.alt", **values), (1,)
    )


def alteration(
    before: Image.Image, prompt: str, after: Image.Image, strength: float, num_steps: int, words: Strings | None = None
) -> Figure:
    """A picture and words go in, an altered picture comes out."""
    s = words or strings()
    given = picture(before, s.text("alteration.before"), class_="result", most=PICTURE_BYTES)
    body = div(
        "flow",
        div("stack", given, note(prompt)),
        arrow(),
        div("machine", element("strong", "Stable Diffusion"), element("small", f"strength {strength:g}")),
        arrow(),
        picture(after, s.text("alt.result", prompt=prompt), class_="result", most=PICTURE_BYTES),
    )
    values = {"prompt": prompt, "strength": f"{strength:g}", "steps": num_steps}
    return Figure(
        "alteration", body, s.rich("alteration.caption", **values), s.text("alteration.alt", **values), (2,), values
    )


def opening(recording: Recording, words: Strings | None = None) -> Figure:
    """The box opened step by step, down to the shapes on every arrow."""
    s = words or strings()
    text, unet, decoder = (recording.part(role) for role in ("text encoder", "unet", "decoder"))
    steps = len(recording.steps)
    depths = [
        element(
            "label",
            element("input", type="radio", name="depth", value=depth, checked=depth == DEPTHS),
            span("", s.text(f"opening.depth{depth}")),
        )
        for depth in range(1, DEPTHS + 1)
    ]
    context, first = recording.context, recording.steps[0].x
    assert context is not None
    tokens = div(
        "tensor blue from-2",
        picture(strip(context, "blue", 48), s.text("alt.context"), class_="strip"),
        _shape_of(context.shape, context),
    )
    noise = div("tensor pink from-3", picture(channels(first), s.text("alt.noise")), _shape_of(first.shape, first))
    done = div(
        "tensor pink from-3",
        picture(channels(recording.latents), s.text("alt.latents")),
        _shape_of(recording.latents.shape, recording.latents),
    )
    loop = div("loop", span("turn", "↻", aria_hidden="true"), s.text("opening.loop", steps=steps))
    width, height = recording.image.size
    body = join(
        [
            element("fieldset", element("legend", s.text("opening.legend")), *depths, class_="choices"),
            div(
                "flow opened",
                note(recording.prompt),
                arrow(below=_deep(s.text("opening.tokens", tokens=text.shape_in[0]))),
                div(
                    "inside",
                    span("inside-name", "Stable Diffusion"),
                    div("part blue", _title(s, "text", text), _facts(s, text)),
                    arrow(class_="from-2"),
                    tokens,
                    arrow(class_="from-2"),
                    div(
                        "stack",
                        noise,
                        arrow(class_="down from-3"),
                        div("part pink", _title(s, "creator", unet), loop, _facts(s, unet)),
                    ),
                    arrow(class_="from-3"),
                    done,
                    arrow(class_="from-3"),
                    div("part gold from-3", _title(s, "decoder", decoder), _facts(s, decoder)),
                ),
                arrow(below=_deep(say.shape((3, height, width)))),
                picture(
                    recording.image,
                    s.text("alt.result", prompt=recording.prompt),
                    class_="result",
                    most=PICTURE_BYTES,
                ),
            ),
        ]
    )
    values = {
        "text_parameters": say.count(text.parameters),
        "unet_parameters": say.count(unet.parameters),
        "decoder_parameters": say.count(decoder.parameters),
        "text_time": say.duration(text.milliseconds),
        "unet_time": say.duration(unet.milliseconds),
        "decoder_time": say.duration(decoder.milliseconds),
        "steps": steps,
        "share": say.percent((unet.milliseconds or 0) / sum(p.milliseconds or 0 for p in (text, unet, decoder))),
        "context": say.shape(context.shape),
        "latents": say.shape(first.shape),
        "pixels": say.shape((3, height, width)),
    }
    facts = [vars(part) for part in recording.parts]
    return Figure(
        "opening",
        body,
        s.rich("opening.caption", **values),
        s.text("opening.alt", **values),
        (3, 4, 5, 6, 7),
        {"parts": facts},
        wide=True,
    )


def _title(s: Strings, key: str, part: PartFacts) -> Markup:
    name = element("strong", s.text(f"opening.{key}"), class_="from-3" if key == "creator" else None)
    return join(
        [
            element("strong", s.text("opening.generator"), class_="only-2") if key == "creator" else None,
            name,
            element("code", part.class_name, class_="from-4"),
        ]
    )


def _facts(s: Strings, part: PartFacts) -> Markup:
    """What a part is made of and what it did."""
    lines = [
        s.rich("facts.parameters", value=say.count(part.parameters)),
        f"{say.size(part.bytes)} {part.dtype}",
        s.rich("facts.time", value=say.duration(part.milliseconds), calls=part.calls),
    ]
    shapes = [say.shape(part.shape_in), element("br"), "→ ", say.shape(part.shape_out)]
    return element(
        "ul", [element("li", line) for line in lines], element("li", shapes, class_="from-5"), class_="facts from-4"
    )


def _shape_of(dims, tensor) -> Markup:
    values = tensor.float()
    spread = f"{values.min():.1f} … {values.max():.1f}"
    return div("from-5", element("b", say.shape(dims)), element("small", spread))


def _deep(text: str) -> Markup:
    return span("from-5", text)


def three_tensors(recording: Recording, words: Strings | None = None) -> Figure:
    """Token vectors and random latents go into diffusion; processed latents come out."""
    s = words or strings()
    context, first = recording.context, recording.steps[0].x
    assert context is not None
    body = div(
        "flow",
        div(
            "stack",
            div(
                "tensor blue",
                picture(strip(context, "blue", 64), s.text("alt.context"), class_="strip"),
                element("b", "1 · " + say.shape(context.shape)),
            ),
            div(
                "tensor pink",
                picture(channels(first), s.text("alt.noise")),
                element("b", "2 · " + say.shape(first.shape)),
            ),
        ),
        arrow(),
        div(
            "part pink",
            element("strong", s.text("three.diffusion")),
            element("small", s.text("opening.loop", steps=len(recording.steps))),
        ),
        arrow(),
        div(
            "tensor pink",
            picture(channels(recording.latents), s.text("alt.latents"), class_="large"),
            element("b", "3 · " + say.shape(recording.latents.shape)),
        ),
    )
    values = {
        "context_numbers": say.count(context.numel()),
        "latent_numbers": say.count(first.numel()),
        "kept": say.percent(abs(_correlation(first, recording.latents))),
    }
    return Figure("three-tensors", body, s.rich("three.caption", **values), s.text("three.alt", **values), (8,), values)


def _correlation(one, other) -> float:
    a, b = one.float().flatten(), other.float().flatten()
    return float((a - a.mean()) @ (b - b.mean()) / ((a - a.mean()).norm() * (b - b.mean()).norm()))


def two_worlds(recording: Recording, words: Strings | None = None) -> Figure:
    """The information world below, the visual world above: what random and processed latents look like, decoded."""
    s = words or strings()
    noisy = [each for each in recording.decoded if each.of == "noisy"]
    start = noisy[0]
    ends = [
        (s.text("worlds.before"), recording.steps[0].x, start.image),
        (s.text("worlds.after"), recording.latents, recording.image),
    ]
    columns = []
    for label, latents, image in ends:
        columns.append(
            div(
                "column",
                div("tensor pink", picture(channels(latents), label), element("small", say.shape(latents.shape))),
                arrow(s.text("worlds.decode"), class_="gold down"),
                picture(image, label, class_="result", most=PICTURE_BYTES),
                element("b", label),
            )
        )
    body = div(
        "worlds",
        div("sides", span("ink pink", s.text("worlds.information")), span("ink orange", s.text("worlds.visual"))),
        columns[0],
        arrow(s.text("opening.loop", steps=len(recording.steps)), class_="pink"),
        columns[1],
    )
    values = {"steps": len(recording.steps), "sigma": say.number(recording.steps[0].sigma)}
    return Figure("two-worlds", body, s.rich("worlds.caption", **values), s.text("worlds.alt", **values), (9,), values)


def chain(recording: Recording, words: Strings | None = None) -> Figure:
    """The UNet, step after step, with the latents between."""
    s = words or strings()
    chosen = _spread(len(recording.steps), 5)
    links = [div("tensor pink", picture(channels(recording.steps[0].x), s.text("alt.noise")))]
    rows = []
    for before, index in zip([None, *chosen], chosen, strict=False):
        step = recording.steps[index]
        if before is not None and index - before > 1:
            links.append(span("dots", "···", aria_hidden="true"))
        links.append(
            div(
                "part pink small",
                element("strong", "UNet"),
                element("small", s.text("chain.step", step=index + 1)),
                element("small", f"σ {say.number(step.sigma)}", class_="ink mint"),
            )
        )
        alt = s.text("alt.step", step=index + 1)
        links.append(
            div(
                "tensor pink",
                picture(channels(step.x_next), alt),
                element("small", f"‖x‖ {step.x_next.float().norm():.0f}"),
            )
        )
    for step in recording.steps:
        rows.append([step.index, step.sigma, step.timestep, float(step.x.float().norm())])
    values = {
        "steps": len(recording.steps),
        "first": say.number(float(recording.steps[0].x.float().norm())),
        "last": say.number(float(recording.steps[-1].x_next.float().norm())),
    }
    return Figure(
        "chain",
        div("chain", links),
        s.rich("chain.caption", **values),
        s.text("chain.alt", **values),
        (10,),
        {"index, sigma, timestep, norm": rows},
        wide=True,
    )


def _spread(number: int, wanted: int) -> list[int]:
    """Step indices: the first two, the last, and some between."""
    if number <= wanted:
        return list(range(number))
    between = [round(1 + (number - 2) * (i / (wanted - 2)) ** 1.3) for i in range(1, wanted - 2)]
    return sorted({0, 1, *between, number - 1})
