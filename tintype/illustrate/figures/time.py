"""Step by step: the film of a run, where its outline emerges, and the arithmetic of a step. Figures 11-13, 18-20, 30, 34."""

from __future__ import annotations

from math import sqrt

from markupsafe import Markup
from torch import Tensor

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.charts import curves
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element, join, span
from tintype.illustrate.figures.ink import Film, channels, difference, picture, strip
from tintype.illustrate.figures.looks import Looks
from tintype.illustrate.figures.parts import PICTURE_BYTES, arrow
from tintype.illustrate.recording import RecordedStep, Recording
from tintype.illustrate.strings import Strings, strings

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def films(recording: Recording, looks: Looks) -> dict[str, Film]:
    """The sheets that the figures of this part share: one frame a step."""
    steps = recording.steps
    found = {
        "estimate": Film.of(looks.estimates),
        "x": Film.of([channels(_unit(s.x, s.sigma)) for s in steps] + [channels(_unit(steps[-1].x_next, steps[-1].sigma_next))]),
        "belief": Film.of([channels(step.denoised) for step in steps]),
        "noise": Film.of([channels(step.noise, bound=2.5) for step in steps]),
    }  # fmt: skip
    if any(step.equation.fitted for step in steps):
        found["removed"] = Film.of([channels(step.removed) for step in steps])
    if all(step.noise_cond is not None for step in steps):
        found["cond"] = Film.of([channels(_there(step.noise_cond), bound=2.5) for step in steps])
    if all(step.guidance is not None for step in steps):
        found["uncond"] = Film.of([channels(_there(step.noise_uncond), bound=2.5) for step in steps])
        found["guidance"] = Film.of([channels(_there(step.guidance), "purple") for step in steps])
    return found


def _there(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def _unit(x: Tensor, sigma: float) -> Tensor:
    """Latents brought to about unit variance, as the network sees them."""
    return x / sqrt(1 + sigma**2)


def start(recording: Recording) -> int:
    """The step that is open at first: the one that ends the outline's emergence."""
    return recording.outline_steps[1]


def player(recording: Recording, looks: Looks, sheets: dict[str, Film], words: Strings | None = None) -> Figure:
    """The picture develops: a slider over all steps with everything that belongs to a step."""
    s = words or strings()
    steps, here = recording.steps, start(recording)
    first, last = recording.outline_steps
    screens = [
        (name, s.text(f"film.{name}"), div("screen", sheets[name].window(name, s.text(f"film.{name}"), frame=here)))
        for name in ("x", "belief", "noise")
    ]
    shares = [step.outline for step in steps]
    chart = curves(
        [("outline", "pink", shares), ("sigma", "mint", [step.sigma for step in steps])],
        alt=s.text("player.chart", first=first + 1, last=last + 1),
        band=(first, last),
        marker=True,
    )
    controls = div(
        "controls",
        element("button", span("", "▶", aria_hidden="true"), type="button", data_play=True, aria_label=s.text("player.play")),
        element(
            "input",
            type="range",
            min=0,
            max=len(steps) - 1,
            value=here,
            step=1,
            data_time=True,
            aria_label=s.text("player.slider"),
        ),
        element("output", f"{here + 1} / {len(steps)}", data_out="step"),
    )
    readings = element(
        "dl",
        [
            div("", element("dt", s.text(f"player.{key}")), element("dd", _reading(steps[here], key), data_out=key))
            for key in ("sigma", "timestep", "outline", "norm")
        ],
        class_="readings",
    )
    body = div(
        "player",
        div("main-screen", sheets["estimate"].window("estimate", s.text("film.estimate"), frame=here),
            element("small", s.text("player.decoded"), data_out="look")),
        div("side", [
            element("div", screen, element("p", element("b", label), element("small", s.text(f"about.{name}"))))
            for name, label, screen in screens
        ]),
        div("track", controls, chart,
            div("legend", span("ink pink", s.text("player.legend_outline")), span("ink mint", s.text("player.legend_sigma")),
                span("band-key", s.text("player.legend_band", first=first + 1, last=last + 1)))),
        readings,
    )  # fmt: skip
    values = {
        "steps": len(steps),
        "first": first + 1,
        "last": last + 1,
        "before": say.percent(steps[first].outline),
        "after": say.percent(steps[last].outline),
        "decoded": len(looks.decoded),
    }
    data = {"steps": [_data(step, looks) for step in steps], "start": here}
    largest = steps[0].sigma
    for facts, step in zip(data["steps"], steps, strict=True):
        facts["gauge"] = round(100 * (step.sigma / largest) ** 0.5, 1)
    rows = [{key: value for key, value in _data(step, looks).items() if key != "look"} for step in steps]
    return Figure(
        "player",
        body,
        s.rich("player.caption", **values),
        s.text("player.alt", **values),
        (12,),
        {"steps": rows, "outline_steps": [first, last]},
        data,
        sheets,
        wide=True,
    )


def _reading(step: RecordedStep, key: str) -> str:
    readings = {
        "sigma": f"{say.number(step.sigma)} → {say.number(step.sigma_next)}",
        "timestep": f"{step.timestep:g}",
        "outline": say.percent(step.outline),
        "norm": say.number(float(step.x.float().norm())),
    }
    return readings[key]


def _data(step: RecordedStep, looks: Looks) -> dict[str, object]:
    """What the script shows of a step."""
    guidance = step.guidance
    found: dict[str, object] = {key: _reading(step, key) for key in ("sigma", "timestep", "outline", "norm")}
    found |= {
        "equation": equation(step),
        "residual": say.number(step.equation.residual, 2),
        "subtraction": _subtraction(step),
        "look": "decoded" if step.index in looks.decoded else "preview",
        "pull": None if guidance is None else say.percent(float(guidance.norm() / _there(step.noise_cond).float().norm())),
    }
    return found


def equation(step: RecordedStep) -> str:
    """``x₁₁ = 0.93 x₁₀ + 0.07 x̂₁₀``, with the terms that the solver has."""
    terms = []
    for term in step.equation.terms:
        index = str(step.index + 1 - term.back).translate(SUBSCRIPTS)
        names = {"x": f"x{index}", "denoised": f"x̂{index}", "denoised again": f"x̂{index}′", "noise": "z"}
        sign = "−" if term.coefficient < 0 else "+"
        terms.append(f"{sign} {abs(term.coefficient):.4f} {names[term.of]}")
    following = str(step.index + 2).translate(SUBSCRIPTS)
    return f"x{following} = " + " ".join(terms).removeprefix("+ ")


def _subtraction(step: RecordedStep) -> str:
    """The same step as a subtraction of noise, where it is exactly that."""
    now, following = (str(step.index + k).translate(SUBSCRIPTS) for k in (1, 2))
    return f"x{following} = x{now} − ({say.number(step.sigma, 4)} − {say.number(step.sigma_next, 4)}) ε{now}"


def rows(recording: Recording, words: Strings | None = None) -> Figure:
    """Chosen steps: the latents above, the decoder's picture of them below."""
    s = words or strings()
    noisy = [each for each in recording.decoded if each.of == "noisy"]
    believed = {each.index: each.image for each in recording.decoded if each.of == "denoised"}
    pairs = [(each.index, _latents(recording, each.index), each.image) for each in noisy]
    if len(pairs) < 4:  # the recorder kept beliefs rather than noisy latents: show those
        pairs = [(index, recording.steps[index].denoised, image) for index, image in believed.items()]
    pairs = [*_thinned(pairs, 7), (len(recording.steps), recording.latents, recording.image)]
    columns = [
        div(
            "column",
            element("b", s.text("rows.step", step=index) if index else s.text("rows.start")),
            picture(channels(latents), s.text("alt.step", step=index)),
            span("down-arrow", "↓", aria_hidden="true"),
            picture(image.resize(_thumb(image), 1), s.text("rows.decoded", step=index), class_="result"),
        )
        for index, latents, image in pairs
    ]
    values = {"shown": len(pairs), "steps": len(recording.steps), "list": ", ".join(str(index) for index, *_ in pairs)}
    return Figure(
        "rows", div("filmstrip", columns), s.rich("rows.caption", **values), s.text("rows.alt", **values), (11,), values,
        wide=True,
    )  # fmt: skip


def _thumb(image) -> tuple[int, int]:
    factor = min(1.0, 128 / max(image.size))
    return round(image.width * factor), round(image.height * factor)


def _latents(recording: Recording, index: int) -> Tensor:
    if index < len(recording.steps):
        step = recording.steps[index]
        return _unit(step.x, step.sigma)
    return recording.latents


def _thinned(items: list, most: int) -> list:
    """At most so many, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def outline(recording: Recording, looks: Looks, words: Strings | None = None) -> Figure:
    """The steps between which the outline emerges, with what each changed in the believed picture."""
    s = words or strings()
    first, last = recording.outline_steps
    first = max(0, min(first, last - 2) if last >= 2 else 0)
    last = min(last, first + 4)
    frames = []
    for index in range(first, last + 1):
        image = looks.estimates[index]
        step = recording.steps[index]
        change = None
        if index > first:
            changed = difference(looks.estimates[index - 1], image)
            change = div("labelled", picture(changed, s.text("outline.change", step=index + 1)),
                         element("small", s.text("outline.difference", before=index, after=index + 1)))  # fmt: skip
        shown = div("labelled", picture(image, s.text("alt.belief", step=index + 1), class_="result", most=40_000),
                    element("small", s.text("outline.share", step=index + 1, share=say.percent(step.outline))))  # fmt: skip
        frames += [change, shown]
    a, b = recording.outline_steps
    values = {
        "first": a + 1,
        "last": b + 1,
        "before": say.percent(recording.steps[a].outline),
        "after": say.percent(recording.steps[b].outline),
        "final": say.percent(recording.steps[-1].outline),
    }
    return Figure(
        "outline", div("filmstrip large", frames), s.rich("outline.caption", **values), s.text("outline.alt", **values),
        (13,), values, wide=True,
    )  # fmt: skip


def gauge(recording: Recording, step: RecordedStep) -> Markup:
    """The amount of noise, in mint; the script fills it along with the step."""
    largest = recording.steps[0].sigma
    share = 100 * (step.sigma / largest) ** 0.5
    return div(
        "gauge",
        element(
            "svg",
            element("rect", width=100, height=8, rx=2, class_="ground"),
            element("rect", width=f"{share:.1f}", height=8, rx=2, class_="fill mint", data_gauge=True),
            viewBox="0 0 100 8",
            preserveAspectRatio="none",
            aria_hidden="true",
        ),
        element("small", span("", f"t = {step.timestep:g}", data_out="t")),
    )


def prediction(recording: Recording, sheets: dict[str, Film], words: Strings | None = None) -> Figure:
    """The trained predictor at one step: noisy latents, an amount and the text go in, the noise in them comes out."""
    s = words or strings()
    here = start(recording)
    step = recording.steps[here]
    context = recording.context
    assert context is not None
    body = div(
        "flow",
        div(
            "stack",
            _screen(s, sheets, "x", here),
            gauge(recording, step),
            div("labelled", picture(strip(context, "blue", 48), s.text("alt.context"), class_="strip"),
                element("small", s.text("predict.text"))),
        ),
        arrow(),
        div("part pink", element("strong", s.text("predict.unet")), element("code", recording.part("unet").class_name)),
        arrow(),
        _screen(s, sheets, "noise", here),
    )  # fmt: skip
    values = {
        "step": here + 1,
        "timestep": f"{step.timestep:g}",
        "sigma": say.number(step.sigma),
        "std": say.number(float(step.noise.std())),
        "prediction": recording.prediction,
        "context": say.shape(context.shape),
    }
    used = {name: sheets[name] for name in ("x", "noise")}
    return Figure(
        "prediction", body, s.rich("predict.caption", **values), s.text("predict.alt", **values), (18, 30), values,
        films=used,
    )  # fmt: skip


def _screen(s: Strings, sheets: dict[str, Film], name: str, frame: int, offset: int = 0, label: str | None = None) -> Markup:
    text = s.text(f"film.{label or name}")
    window = sheets[name].window(name, text, frame=frame + offset, offset=offset)
    return div("labelled", div("screen", window), element("small", text))


def subtraction(recording: Recording, sheets: dict[str, Film], words: Strings | None = None) -> Figure:
    """A step: from the noisy latents a part of the predicted noise is taken away. With its numbers and its residual."""
    s = words or strings()
    here = start(recording)
    step = recording.steps[here]
    fitted = step.equation.fitted
    name = "removed" if fitted else "noise"
    body = join(
        [
            div(
                "flow equation",
                _screen(s, sheets, "x", here),
                span("sign", "−"),
                _screen(s, sheets, name, here, label="removed"),
                span("sign", "="),
                _screen(s, sheets, "x", here, 1, label="x_next"),
            ),
            element("p", equation(step), class_="formula", data_out="equation"),
            None if fitted else element("p", _subtraction(step), class_="formula faint", data_out="subtraction"),
            element(
                "p",
                s.text("step.residual"),
                " ",
                element("b", say.number(step.equation.residual, 2), data_out="residual"),
                class_="formula faint",
            ),
        ]
    )
    values = {
        "step": here + 1,
        "share": say.percent(1 - step.sigma_next / step.sigma),
        "worst": say.number(max(each.equation.residual for each in recording.steps), 2),
        "sampler": recording.settings.sampler,
    }
    caption = s.rich("step.caption_fitted" if fitted else "step.caption", **values)
    used = {each: sheets[each] for each in {"x", name}}
    return Figure("step", body, caption, s.text("step.alt", **values), (19,), values, films=used)


def pyramid(recording: Recording, looks: Looks, words: Strings | None = None) -> Figure:
    """Two such steps one behind the other, and what the model believes the picture is after each."""
    s = words or strings()
    here = min(start(recording), len(recording.steps) - 2)
    pieces: list[Markup] = []
    chosen = recording.steps[max(here, 0) : here + 2]
    for step in chosen:
        removed = step.x - step.x_next
        pieces += [
            div("labelled", picture(channels(_unit(step.x, step.sigma)), s.text("alt.step", step=step.index)),
                element("small", f"x{str(step.index + 1).translate(SUBSCRIPTS)}, σ {say.number(step.sigma)}")),
            span("sign", "−"),
            div("labelled", picture(channels(removed), s.text("film.removed")), element("small", s.text("film.removed"))),
            span("sign", "="),
        ]  # fmt: skip
    last = chosen[-1]
    pieces += [
        div("labelled", picture(channels(_unit(last.x_next, last.sigma_next)), s.text("alt.step", step=last.index + 1)),
            element("small", f"x{str(last.index + 2).translate(SUBSCRIPTS)}, σ {say.number(last.sigma_next)}")),
        arrow(s.text("pyramid.belief"), class_="gold"),
        picture(looks.estimates[last.index], s.text("alt.belief", step=last.index + 1), class_="result", most=40_000),
    ]  # fmt: skip
    values = {"first": chosen[0].index + 1, "second": last.index + 1, "sigma": say.number(last.sigma_next)}
    return Figure(
        "pyramid", div("flow equation", pieces), s.rich("pyramid.caption", **values), s.text("pyramid.alt", **values),
        (20,), values, wide=True,
    )  # fmt: skip


def guidance(recording: Recording, sheets: dict[str, Film], words: Strings | None = None) -> Figure:
    """The noise predicted with the text and without it, and their difference, which guidance multiplies."""
    s = words or strings()
    here = start(recording)
    step = recording.steps[here]
    if step.guidance is None or "guidance" not in sheets:
        body = element("p", s.rich("guidance.none", scale=f"{recording.guidance_scale:g}"), class_="said")
        return Figure("guidance", body, s.rich("guidance.none_caption"), s.text("guidance.none_alt"), (34,))
    body = div(
        "flow equation",
        _screen(s, sheets, "uncond", here),
        span("sign", f"+ {recording.guidance_scale:g} ×"),
        span("bracket", "("),
        _screen(s, sheets, "cond", here),
        span("sign", "−"),
        _screen(s, sheets, "uncond", here),
        span("bracket", ")"),
        span("sign", "="),
        _screen(s, sheets, "noise", here),
    )
    effect = div("flow", _screen(s, sheets, "guidance", here),
                 element("p", s.rich("guidance.pull"), " ", element("b", _data_pull(step), data_out="pull"), class_="said"))  # fmt: skip
    pulls = [float(_there(each.guidance).norm() / _there(each.noise_cond).float().norm()) for each in recording.steps]
    most = max(range(len(pulls)), key=pulls.__getitem__)
    values = {
        "scale": f"{recording.guidance_scale:g}",
        "step": here + 1,
        "pull": _data_pull(step),
        "most": most + 1,
        "most_pull": say.percent(pulls[most]),
    }
    used = {name: sheets[name] for name in ("cond", "uncond", "guidance", "noise")}
    return Figure(
        "guidance", join([body, effect]), s.rich("guidance.caption", **values), s.text("guidance.alt", **values), (34,),
        values | {"pulls": pulls}, films=used, wide=True,
    )  # fmt: skip


def _data_pull(step: RecordedStep) -> str:
    return say.percent(float(_there(step.guidance).norm() / _there(step.noise_cond).float().norm()))
