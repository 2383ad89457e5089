"""Inside the UNet: every layer with what it sees and how far it moves the features. The article's figures 32 to 35."""

from __future__ import annotations

from markupsafe import Markup
from PIL import Image

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.charts import curves
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element, join, span
from tintype.illustrate.figures.ink import Film, channels, picture, strip
from tintype.illustrate.figures.parts import PICTURE_BYTES, arrow
from tintype.illustrate.recording import LayerRecord, Recording
from tintype.illustrate.strings import Strings, strings
from tintype.illustrate.trials import Trials

COLOURS = {
    "resnet": "pink",
    "self-attention": "grey",
    "cross-attention": "purple",
    "transformer": "purple",
    "feed-forward": "grey",
}
FEW = 30
"""Layers that have room for their names."""

MOVERS = ("resnet", "self-attention", "cross-attention", "feed-forward")


def without_text(recording: Recording, trials: Trials, words: Strings | None = None) -> Figure:
    """The UNet without text: latents and an amount go in, noise comes out; and the pictures that it draws alone."""
    s = words or strings()
    step = recording.steps[min(recording.outline_steps[1], len(recording.steps) - 1)]
    noise = step.noise_uncond if step.noise_uncond is not None else step.noise
    unet = recording.part("unet")
    body = join(
        [
            div(
                "flow",
                div(
                    "stack",
                    div(
                        "tensor pink",
                        picture(channels(step.x / (1 + step.sigma**2) ** 0.5), s.text("film.x")),
                        element("small", say.shape(step.x.shape)),
                    ),
                    div(
                        "tensor mint",
                        element("b", f"t = {step.timestep:g}"),
                        element("small", f"σ {say.number(step.sigma)}"),
                    ),
                ),
                arrow(),
                div(
                    "part pink",
                    element("strong", "UNet"),
                    element("code", unet.class_name),
                    element("small", s.text("alone.no_text")),
                ),
                arrow(),
                div(
                    "tensor pink",
                    picture(channels(noise), s.text("film.uncond")),
                    element("small", say.shape(noise.shape)),
                ),
            ),
            div(
                "pair",
                div(
                    "column",
                    picture(trials.unconditional.image, s.text("alone.without"), class_="result", most=PICTURE_BYTES),
                    element("b", s.text("alone.without")),
                ),
                div(
                    "column",
                    picture(trials.same, s.text("alone.with"), class_="result", most=PICTURE_BYTES),
                    element("b", s.text("alone.with")),
                ),
            ),
        ]
    )
    values = {
        "step": step.index + 1,
        "shape": say.shape(step.x.shape),
        "distance": say.number(trials.unconditional.distance),
        "steps": trials.steps,
    }
    return Figure("without-text", body, s.rich("alone.caption", **values), s.text("alone.alt", **values), (32,), values)


def time_embedding(recording: Recording, words: Strings | None = None) -> Figure:
    """The amount of noise as a vector, step by step, which every ResNet block is told."""
    s = words or strings()
    table = recording.time_embeddings
    if table is None:
        return _missing(s, "time-embedding", (33,))
    body = div(
        "embedding time",
        element("ol", [element("li", f"t {step.timestep:g}") for step in recording.steps]),
        picture(strip(table, "mint", 256), s.text("timevec.alt_picture"), class_="strip"),
    )
    blocks = [layer for layer in recording.layers if layer.kind == "resnet"]
    values = {"dim": table.shape[1], "steps": len(table), "blocks": len(blocks)}
    return Figure(
        "time-embedding", body, s.rich("timevec.caption", **values), s.text("timevec.alt", **values), (33,), values
    )


def movers(recording: Recording, words: Strings | None = None) -> Figure:
    """How far ResNet blocks, the picture's look at itself, and the text moved the features, step by step."""
    s = words or strings()
    series = []
    for kind in MOVERS:
        layers = [layer.moved for layer in recording.layers if layer.kind == kind and layer.moved is not None]
        if layers:
            means = [sum(column) / len(layers) for column in zip(*layers, strict=True)]
            series.append((s.text(f"kind.{kind}"), COLOURS[kind] if kind != "feed-forward" else "dashed", means))
    if not series:
        return _missing(s, "movers", (33, 35))
    largest = max(max(values) for _, _, values in series)
    lines = [(label, colour, [v / largest for v in values]) for label, colour, values in series]
    lines.append(("", "none", [1.0] * len(recording.steps)))  # one scale for all
    charts = div(
        "panels",
        [
            div(
                "panel",
                element("h4", label),
                curves([(label, colour, values), lines[-1]], alt=label, height=90, marker=True),
                element("small", f"{say.percent(min(v))} – {say.percent(max(v))}"),
            )
            for (label, colour, values), (_, _, v) in zip(lines[:-1], series, strict=True)
        ],
    )
    text = [layer for layer in recording.layers if layer.kind == "cross-attention" and layer.moved]
    top = max(text, key=lambda layer: sum(layer.moved or ()), default=None)
    values = {"layers": len(recording.layers), "skips": len(recording.skips)}
    numbers = {label: values for label, _, values in series}
    caption = s.rich("movers.caption", **values)
    if top is not None and top.moved is not None:
        values |= {"layer": top.name, "moved": say.percent(sum(top.moved) / len(top.moved))}
        caption += Markup(" ") + s.rich("movers.text", **values)
    return Figure("movers", charts, caption, s.text("movers.alt", **values), (33, 35), numbers, wide=True)


def _missing(s: Strings, name: str, article: tuple[int, ...]) -> Figure:
    return Figure(
        name, element("p", s.rich("inside.none"), class_="said"), s.rich("inside.none"), s.text("inside.none"), article
    )


def layers(recording: Recording, words: Strings | None = None) -> Figure:
    """The U with every layer: choose one to see its features, its shape, and how far it moved what it was given."""
    s = words or strings()
    shown = [layer for layer in recording.layers if layer.thumbnails is not None]
    if not shown:
        return _missing(s, "layers", (33, 35))
    film = _film(shown)
    times = len(recording.feature_steps)
    seeing = [
        n for n, each in enumerate(shown) if each.kind in ("transformer", "cross-attention") and each.part == "up"
    ]
    start = seeing[-1] if seeing else 0
    levels = sorted({layer.level for layer in shown})
    rows = []
    for level in levels:
        sides = []
        for parts in (("in", "time", "down"), ("up", "out")):
            here = [(n, each) for n, each in enumerate(shown) if each.level == level and each.part in parts]
            sides.append(div("layers", [_button(s, film, n, each, times, n == start) for n, each in here]))
        names = {each.name for each in shown if each.level == level and each.part in ("in", "down")}
        skips = sum(source in names for source, _ in recording.skips)
        middle = div(
            "skips", span("skip-arrow", "⟶", aria_hidden="true"), element("small", s.text("layers.skips", number=skips))
        )
        rows.append(div("level", sides[0], middle, sides[1]))
    mid = [(n, each) for n, each in enumerate(shown) if each.part == "mid"]
    rows.append(div("level bottom", div("layers", [_button(s, film, n, each, times, n == start) for n, each in mid])))
    data = {
        "layers": [_facts(s, each) for each in shown],
        "steps": list(recording.feature_steps),
        "start": start,
    }
    picks = element(
        "label",
        s.text("layers.at"),
        " ",
        element(
            "select",
            [
                element("option", f"{s.text('player.step')} {index + 1}", value=n, selected=n == times - 1)
                for n, index in enumerate(recording.feature_steps)
            ],
            data_layer_step=True,
        ),
    )
    facts = _facts(s, shown[start])
    detail = div(
        "detail",
        div("screen", film.window("layers", s.text("layers.features"), frame=start * times + times - 1)),
        div(
            "",
            element("h4", element("code", facts["name"], data_layer="name")),
            element("p", facts["text"], data_layer="text"),
            element("p", facts["numbers"], class_="faint", data_layer="numbers"),
            element("p", picks),
        ),
        aria_live="polite",
    )
    key = div(
        "legend",
        span("ink pink", s.text("kind.resnet")),
        span("ink purple", s.text("layers.text_key")),
        span("ink mint", s.text("layers.time_key")),
    )
    values = {
        "layers": len(recording.layers),
        "resnets": sum(layer.kind == "resnet" for layer in recording.layers),
        "attentions": sum(layer.kind == "cross-attention" for layer in recording.layers),
        "skips": len(recording.skips),
        "step": recording.feature_steps[-1] + 1,
    }
    numbers = {
        "layers": [[each.name, each.kind, list(each.shape), each.parameters, each.moved] for each in recording.layers]
    }
    body = join([detail, div("unet few" if len(shown) <= FEW else "unet", rows), key])
    return Figure(
        "layers",
        body,
        s.rich("layers.caption", **values),
        s.text("layers.alt", **values),
        (33, 35),
        numbers,
        data,
        {"layers": film},
        wide=True,
    )


def _film(shown: list[LayerRecord]) -> Film:
    """All thumbnails of all layers, brought to one size: frame ``layer * times + time``."""
    sizes = [tuple(layer.thumbnails.shape[1:3]) for layer in shown if layer.thumbnails is not None]
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    frames = []
    for layer in shown:
        assert layer.thumbnails is not None
        for each in layer.thumbnails:
            frames.append(Image.fromarray(each.numpy()).resize((width, height), Image.Resampling.NEAREST))
    return Film.of(frames)


def _button(s: Strings, film: Film, number: int, layer: LayerRecord, times: int, chosen: bool) -> Markup:
    label = f"{s.text('kind.' + layer.kind)}: {layer.name}"
    return element(
        "button",
        film.window("layers", label, frame=number * times + times - 1, class_="still"),
        element("small", s.text("short." + layer.kind)),
        type="button",
        class_=f"layer {COLOURS.get(layer.kind, 'plain')} {layer.kind}",
        data_pick_layer=number,
        aria_pressed="true" if chosen else "false",
        aria_label=label,
        title=label,
    )


def _facts(s: Strings, layer: LayerRecord) -> dict[str, str]:
    moved = ""
    if layer.moved is not None:
        mean = sum(layer.moved) / len(layer.moved)
        top = max(range(len(layer.moved)), key=layer.moved.__getitem__)
        moved = s.text("layers.moved", mean=say.percent(mean), most=say.percent(layer.moved[top]), step=top + 1)
    explained = ""
    if layer.explained:
        explained = s.text("layers.explained", share=say.percent(layer.explained[-1]))
    numbers = s.text("layers.numbers", shape=say.shape(layer.shape), parameters=say.count(layer.parameters))
    return {
        "name": layer.name,
        "text": s.text(f"about.{layer.kind}"),
        "numbers": " ".join(filter(None, [numbers, moved, explained])),
    }
