"""The arithmetic of a step: predict, subtract, guide. The article's figures 18 to 20, 30 and 34."""

from __future__ import annotations

from markupsafe import Markup

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element, join, span
from tintype.illustrate.figures.ink import Film, channels, picture, strip
from tintype.illustrate.figures.looks import Looks
from tintype.illustrate.figures.parts import arrow
from tintype.illustrate.figures.time import SUBSCRIPTS, equation, pull, start, subtraction_formula, unit
from tintype.illustrate.recording import RecordedStep, Recording
from tintype.illustrate.strings import Strings, strings


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
            div(
                "labelled",
                picture(strip(context, "blue", 48), s.text("alt.context"), class_="strip"),
                element("small", s.text("predict.text")),
            ),
        ),
        arrow(),
        div("part pink", element("strong", s.text("predict.unet")), element("code", recording.part("unet").class_name)),
        arrow(),
        _screen(s, sheets, "noise", here),
    )
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
        "prediction",
        body,
        s.rich("predict.caption", **values),
        s.text("predict.alt", **values),
        (18, 30),
        values,
        films=used,
    )


def _screen(
    s: Strings, sheets: dict[str, Film], name: str, frame: int, offset: int = 0, label: str | None = None
) -> Markup:
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
            None if fitted else element("p", subtraction_formula(step), class_="formula faint", data_out="subtraction"),
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
            div(
                "labelled",
                picture(channels(unit(step.x, step.sigma)), s.text("alt.step", step=step.index)),
                element("small", f"x{str(step.index + 1).translate(SUBSCRIPTS)}, σ {say.number(step.sigma)}"),
            ),
            span("sign", "−"),
            div(
                "labelled", picture(channels(removed), s.text("film.removed")), element("small", s.text("film.removed"))
            ),
            span("sign", "="),
        ]
    last = chosen[-1]
    pieces += [
        div(
            "labelled",
            picture(channels(unit(last.x_next, last.sigma_next)), s.text("alt.step", step=last.index + 1)),
            element("small", f"x{str(last.index + 2).translate(SUBSCRIPTS)}, σ {say.number(last.sigma_next)}"),
        ),
        arrow(s.text("pyramid.belief"), class_="gold"),
        picture(looks.estimates[last.index], s.text("alt.belief", step=last.index + 1), class_="result", most=40_000),
    ]
    values = {"first": chosen[0].index + 1, "second": last.index + 1, "sigma": say.number(last.sigma_next)}
    return Figure(
        "pyramid",
        div("flow equation", pieces),
        s.rich("pyramid.caption", **values),
        s.text("pyramid.alt", **values),
        (20,),
        values,
        wide=True,
    )


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
    effect = div(
        "flow",
        _screen(s, sheets, "guidance", here),
        element(
            "p", s.rich("guidance.pull"), " ", element("b", say.percent(pull(step)), data_out="pull"), class_="said"
        ),
    )
    pulls = [pull(each) for each in recording.steps]
    most = max(range(len(pulls)), key=pulls.__getitem__)
    values = {
        "scale": f"{recording.guidance_scale:g}",
        "step": here + 1,
        "pull": say.percent(pull(step)),
        "most": most + 1,
        "most_pull": say.percent(pulls[most]),
    }
    used = {name: sheets[name] for name in ("cond", "uncond", "guidance", "noise")}
    return Figure(
        "guidance",
        join([body, effect]),
        s.rich("guidance.caption", **values),
        s.text("guidance.alt", **values),
        (34,),
        values | {"pulls": pulls},
        films=used,
        wide=True,
    )
